/* The last step of an export: what was written is opened again and compared with what was asked. cmd/output.c
 * calls export_check for every output between writing and renaming (WriteOptions.check).
 *
 * Carriers may say the same model in other numbers: they put the softmax scale into the queries, make the MLP
 * the only expert, repeat key/value heads. What is compared is what no carrier changes. */
#include "surgery/export_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/checkpoint_open.h"
#include "formats/meta.h"
#include "surgery/derope_keys.h"
#include "surgery/export_scale.h"
#include "surgery/model_open.h"
#include "surgery/rope_frequencies.h"

/* ---- numbers ---- */

/* A GGUF stores fractions as fp32, which keeps about seven digits. */
static bool nearly(double a, double b) {
    return fabs(a - b) <= 1e-5 * fabs(a);
}

/* Sets the error for a setting that differs. `layer` is -1 for settings of the whole model. */
static bool differs(Error *e, const char *what, int layer, double asked, double read) {
    char where[32] = "";
    if (layer >= 0) snprintf(where, sizeof where, "layer %d: ", layer);
    return error_set(
        e, ERR_FAILED,
        "what was written is not what was asked, so it was removed: %s%s is %g when it is read again, "
        "and not %g (this is an error of derope)",
        where, what, read, asked);
}

/* ---- specs ---- */

/* The window in tokens, or 0 where it is no shorter than the context and so hides nothing. */
static uint32_t window_of(const LayerSpec *l, uint64_t context) {
    return l->window >= context ? 0 : l->window;
}

/* How position enters a layer. */
static bool same_position(const Model *a, const Model *b, int i, Error *e) {
    const LayerSpec *x = &a->spec.layers[i], *y = &b->spec.layers[i];
    uint64_t context = b->spec.context;
    if (x->position != y->position)
        return error_set(
            e, ERR_FAILED,
            "what was written is not what was asked, so it was removed: layer %d: position is %s when "
            "it is read again, and not %s (this is an error of derope)",
            i, position_name(y->position), position_name(x->position));
    if (window_of(x, context) != window_of(y, context))
        return differs(e, "window", i, window_of(x, context), window_of(y, context));
    if (window_of(x, context) && x->chunked != y->chunked)
        return differs(e, "chunked", i, x->chunked, y->chunked);
    if (x->position == POSITION_NOPE) return true;
    if (x->rotary_dim != y->rotary_dim) return differs(e, "rotary_dim", i, x->rotary_dim, y->rotary_dim);
    if (!nearly(x->rope_base, y->rope_base)) return differs(e, "rope_base", i, x->rope_base, y->rope_base);
    if (x->scaling.kind != y->scaling.kind)
        return differs(e, "the kind of rope scaling", i, x->scaling.kind, y->scaling.kind);
    /* LongRoPE's factor is the ratio of two contexts, one of which set_context changes. */
    bool factor = x->scaling.kind != ROPE_SCALING_NONE && x->scaling.kind != ROPE_SCALING_LONGROPE;
    return !factor || nearly(x->scaling.factor, y->scaling.factor) ||
           differs(e, "the factor of the rope scaling", i, x->scaling.factor, y->scaling.factor);
}

/* The rest of a layer. `scale` is the softmax scale that the output has to state; 0: it is not compared. */
static bool same_layer(const Model *a, const Model *b, int i, double scale, Error *e) {
    const LayerSpec *x = &a->spec.layers[i], *y = &b->spec.layers[i];
    const struct {
        const char *name;
        double asked, read;
    } numbers[] = {{"n_heads", x->n_heads, y->n_heads},
                   {"head_dim", x->head_dim, y->head_dim},
                   {"ffn_dim", x->ffn_dim, y->ffn_dim},
                   {"activation", x->activation, y->activation},
                   {"softcap", x->softcap, y->softcap},
                   {"temperature_scale", x->temperature_scale, y->temperature_scale},
                   {"residual_layout", x->residual_layout, y->residual_layout},
                   {"post_norms", x->post_norms, y->post_norms},
                   /* A plain MLP may be written as the only expert. */
                   {"n_experts", x->n_experts > 1 ? x->n_experts : 0, y->n_experts > 1 ? y->n_experts : 0},
                   {"top_k", x->n_experts > 1 ? x->top_k : 0, y->n_experts > 1 ? y->top_k : 0},
                   {"softmax_scale", scale, scale ? y->softmax_scale : 0}};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
        if (!nearly(numbers[k].asked, numbers[k].read))
            return differs(e, numbers[k].name, i, numbers[k].asked, numbers[k].read);
    return same_position(a, b, i, e);
}

/* Compares all layers and what the whole model has in common. `stated` gives the softmax scale that each
 * layer of the output states; NULL: it is not compared. */
static bool same_spec(const Model *a, const Model *b, const Export *stated, Error *e) {
    const ModelSpec *s = &a->spec, *t = &b->spec;
    const struct {
        const char *name;
        double asked, read;
    } numbers[] = {{"the number of layers", s->n_layers, t->n_layers},
                   {"hidden_size", s->hidden_size, t->hidden_size},
                   {"vocab", s->vocab, t->vocab},
                   {"context", a->new_context ? (double)a->new_context : s->context, t->context},
                   {"norm", s->norm, t->norm},
                   {"norm_eps", s->norm_eps, t->norm_eps},
                   {"embedding_scale", s->embedding_scale, t->embedding_scale},
                   {"residual_scale", s->residual_scale, t->residual_scale},
                   {"logit_scale", s->logit_scale, t->logit_scale},
                   {"logit_softcap", s->logit_softcap, t->logit_softcap}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!nearly(numbers[i].asked, numbers[i].read))
            return differs(e, numbers[i].name, -1, numbers[i].asked, numbers[i].read);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        double scale = stated ? s->layers[i].softmax_scale / export_query_factor(stated, (int)i) : 0;
        if (!same_layer(a, b, (int)i, scale, e)) return false;
    }
    return true;
}

/* ---- the file ---- */

/* Opens what was written. With `keys_alone`, the config.json that travels in a GGUF is not looked at. */
static Checkpoint *reopen(const char *path, bool keys_alone, Error *e) {
    Checkpoint *c = checkpoint_open(path, e);
    if (c && keys_alone) meta_remove(c, DEROPE_CONFIG);
    return c;
}

/* Every tensor of the output has to be there under its name, with its type and shape. */
static bool same_tensors(const Checkpoint *out, const Checkpoint *again, Error *e) {
    for (size_t i = 0; i < out->n_tensors; i++) {
        const Tensor *t = &out->tensors[i], *u = checkpoint_find(again, t->name);
        if (u && u->dtype == t->dtype && u->rank == t->rank &&
            memcmp(u->shape, t->shape, t->rank * sizeof *t->shape) == 0)
            continue;
        return error_set(
            e, ERR_FAILED,
            "what was written is not what was asked, so it was removed: tensor '%s' %s when it is "
            "read again (this is an error of derope)",
            t->name, u ? "has another type or shape" : "is missing");
    }
    return again->n_tensors == out->n_tensors ||
           differs(e, "the number of tensors", -1, (double)out->n_tensors, (double)again->n_tensors);
}

/* Reads the output as a model and compares. A GGUF that can be read with its config.json only is compared in
 * that way alone: some settings (a table of rotary divisors that is not Llama 3's) are read from nowhere
 * else. */
static bool check_model(const Export *x, const char *path, bool keys_alone, Error *e) {
    Error unread = {0};
    bool gguf = x->out->format == FORMAT_GGUF;
    Checkpoint *c = reopen(path, keys_alone, e);
    Model *m = c ? model_open(c, keys_alone ? &unread : e) : NULL;
    bool ok = m ? same_spec(x->m, m, keys_alone || !gguf ? x : NULL, e) : c && keys_alone;
    model_close(m);
    checkpoint_close(c);
    return ok;
}

/* Errors of the readers name the temporary file, so that the place of the output is put before them. */
bool export_check(const Model *asked, const Carrier *carrier, const Checkpoint *out, const char *path,
                  Error *e) {
    /* What export_query_factor needs of an export. */
    Export x = {.m = asked, .carrier = carrier, .out = (Checkpoint *)out, .e = e};
    Checkpoint *again = checkpoint_open(path, e);
    bool ok = again && same_tensors(out, again, e);
    checkpoint_close(again);
    ok = ok && check_model(&x, path, false, e);
    return ok && (out->format != FORMAT_GGUF || check_model(&x, path, true, e));
}

/* derope inspect: shows what a checkpoint is and how position enters in each of its layers. For people it
 * prints the sizes and a strip with one character for each layer; with --json everything that the spec
 * (surgery/spec_json.h), the tensors and the manifest say. No weights are decoded. */
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "formats/checkpoint_open.h"
#include "formats/json.h"
#include "surgery/carriers/carriers.h"
#include "surgery/family.h"
#include "surgery/manifest.h"
#include "surgery/model_open.h"
#include "surgery/rope_frequencies.h"
#include "surgery/spec_json.h"

/* The name of a checkpoint's container. A folder and a single file of the same container have the same
 * name. */
static const char *format_name(const Checkpoint *c) {
    return c->format == FORMAT_GGUF ? "gguf" : c->format == FORMAT_TORCH ? "torch" : "safetensors";
}

/* Appends the role of tensor `*i`, or the roles of all tensors that the source stores in one, joined by "+"
 * ("q+k+v"). Such tensors follow each other in the model; `*i` moves on to the last of them. */
static void roles_of(const Model *m, size_t *i, Buffer *out) {
    const Tensor *origin = m->tensors[*i].origin;
    buffer_printf(out, "%s", role_name(m->tensors[*i].role));
    while (*i + 1 < m->n_tensors && m->tensors[*i + 1].origin == origin)
        buffer_printf(out, "+%s", role_name(m->tensors[++*i].role));
}

/* Describes a tensor of the source: its own name, its role or roles, dtype, shape (outermost dimension first)
 * and size in bytes. */
static json_t *tensor_to_json(const Tensor *t, const char *roles) {
    json_t *shape = json_array();
    for (uint32_t d = 0; d < t->rank; d++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
    return json_pack("{s:s, s:s, s:s, s:o, s:I}", "name", t->name, "role", roles, "dtype",
                     dtype_info(t->dtype)->name, "shape", shape, "bytes", (json_int_t)tensor_bytes(t));
}

/* Lists the tensors as the source stores them. The model binds the experts of a layer as one tensor of one
 * more dimension; where the source has a tensor for each expert, each is listed under its own name. */
static json_t *tensors_to_json(const Model *m) {
    json_t *list = json_array();
    for (size_t i = 0; i < m->n_tensors; i++) {
        const ModelTensor *t = &m->tensors[i];
        Buffer roles = {0};
        /* This may move i on to the last tensor that shares the stored one. */
        roles_of(m, &i, &roles);
        /* How many tensors of the source this entry stands for. */
        uint64_t n = t->row && t->tensor.rank > t->origin->rank ? t->tensor.shape[0] : 1;
        for (uint64_t expert = 0; expert < n; expert++) {
            /* The stored tensor of this expert, found by its name in the source's format. */
            char name[128];
            if (t->row) tensor_name(t->row, t->layer, (int)expert, m->source->format, name);
            const Tensor *source = n > 1 ? checkpoint_find(m->weights, name) : t->origin;
            json_array_append_new(list, tensor_to_json(source, buffer_string(&roles)));
        }
        buffer_free(&roles);
    }
    return list;
}

/* The manifest of a checkpoint that derope wrote, new reference; NULL for any other. */
static json_t *manifest_of(const Model *m) {
    Error ignored = {0};
    return manifest_read(m->source, &ignored);
}

/* Prints everything about the model as one JSON object. If derope wrote the checkpoint, its manifest
 * contributes which passes were applied and which carrier was chosen and why. */
static void print_json(const Model *m) {
    /* Members that are copied from the manifest. */
    static const char *const told[] = {"passes", "carrier", "carrier_says", "carrier_because"};
    json_t *o =
        json_pack("{s:o, s:s, s:s, s:I, s:o, s:O, s:o}", "path", json_text(m->source->path), "format",
                  format_name(m->source), "family", m->family->name, "context", (json_int_t)m->spec.context,
                  "spec", spec_to_json(&m->spec), "notices", m->notices, "tensors", tensors_to_json(m));
    /* What derope recorded when it wrote the checkpoint. */
    json_t *manifest = manifest_of(m);
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (json_object_get(manifest, told[i]))
            json_object_set(o, told[i], json_object_get(manifest, told[i]));
    json_object_set_new(o, "runtimes",
                        carrier_runtimes_of(m->source, json_get_string(manifest, "carrier"), m->family));
    json_decref(manifest);
    cmd_print_json(o);
    json_decref(o);
}

/* ---- for people ---- */

/* Whether two layers treat positions and context in the same way, so that they can share a line: position
 * encoding, window or chunks, rotation (where there is one), softmax scale, attention sinks and attention
 * temperature. */
static bool same_attention(const LayerSpec *a, const LayerSpec *b) {
    return a->position == b->position && a->window == b->window &&
           (a->position == POSITION_NOPE ||
            (a->rope_base == b->rope_base && rope_scaling_equal(&a->scaling, &b->scaling))) &&
           a->softmax_scale == b->softmax_scale && a->sinks == b->sinks && a->chunked == b->chunked &&
           a->temperature_scale == b->temperature_scale;
}

/* Prints one line about a layer: its position encoding, which tokens it attends to, and the parameters of its
 * rotation. */
static void print_layer(const LayerSpec *l) {
    /* Which tokens a query sees: all before it, or those in a window or chunk of so many tokens. */
    char reach[40] = "all tokens before";
    if (l->window)
        snprintf(reach, sizeof reach, "%s of %u", l->chunked ? "its chunk" : "a window", l->window);
    printf("%-7s  sees %-18s", position_name(l->position), reach);
    if (l->position != POSITION_NOPE) printf("  base %g", l->rope_base);
    if (l->position == POSITION_PARTIAL) printf(", %u of %u dimensions", l->rotary_dim, l->head_dim);
    if (l->scaling.kind != ROPE_SCALING_NONE)
        printf(", %s x %g", rope_scaling_name(l->scaling.kind), l->scaling.factor);
    /* Attention temperature tuning, as in Llama 4: queries are scaled up with the position. */
    if (l->temperature_scale) printf("  queries grow from position %g on", l->temperature_floor - 1);
    printf("\n");
}

/* Prints all layers; neighbours that treat positions in the same way share a line. */
static void print_layers(const ModelSpec *s) {
    for (uint32_t i = 0, j; i < s->n_layers; i = j) {
        /* j is the first layer that differs from layer i. */
        for (j = i + 1; j < s->n_layers && same_attention(&s->layers[i], &s->layers[j]);)
            j++;
        char range[32];
        snprintf(range, sizeof range, j == i + 1 ? "layer %u" : "layers %u-%u", i, j - 1);
        printf("  %-14s ", range);
        print_layer(&s->layers[i]);
    }
}

/* Prints one character for each layer, so that a pattern such as three layers with a window and one without
 * is seen at a glance. The line explains the characters itself. */
static void print_strip(const ModelSpec *s) {
    printf("position   ");
    /* R and . become r and , in a layer with a sliding window. */
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const LayerSpec *l = &s->layers[i];
        char c = l->position == POSITION_NOPE ? '.' : l->position == POSITION_PARTIAL ? 'P' : 'R';
        putchar(l->window && c == 'R' ? 'r' : l->window && c == '.' ? ',' : c);
    }
    printf("   R rope, P partial, . none; r and , in a window\n");
}

/* Prints how many experts each token uses and of how many, and in how many layers, if not in all. Nothing for
 * a model without experts. */
static void print_experts(const ModelSpec *s) {
    const LayerSpec *with = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_layers; i++)
        if (s->layers[i].n_experts) with = &s->layers[i], n++;
    if (!with) return;
    printf(", %u of %u experts%s", with->top_k, with->n_experts,
           with->shared_expert ? " and one for all" : "");
    if (n < s->n_layers) printf(" in %u layers", n);
}

/* Prints the structure of a layer in one line: norms, residual layout, MLP, and norms and caps in attention.
 * Layer 0 stands for all, because the supported families do not mix structures. */
static void print_block(const ModelSpec *s) {
    static const char *const norms[] = {"", " normed per head", " normed over all heads",
                                        " normed per head, without a weight"};
    const LayerSpec *l = &s->layers[0];
    printf("block      %s%s %s%s, %s", s->norm == NORM_LAYER ? "LayerNorm" : "RMSNorm",
           s->unit_offset_norm ? " of 1 + weight" : "",
           !l->post_norms    ? "before"
           : l->no_pre_norms ? "after"
                             : "before and after",
           l->residual_layout == RESIDUAL_SEQUENTIAL ? " attention, then the MLP"
           : l->residual_layout == RESIDUAL_PARALLEL_SHARED_NORM
               ? " attention and MLP side by side, one norm for both"
               : " attention and MLP side by side",
           l->no_gate ? activation_info(l->activation)->mlp : activation_info(l->activation)->gated_mlp);
    /* Norms on queries and keys, and caps, only where the model has them. */
    print_experts(s);
    if (l->q_norm != QK_NORM_NONE)
        printf(", queries%s%s", l->k_norm == l->q_norm ? " and keys" : "", norms[l->q_norm]);
    if (l->k_norm != QK_NORM_NONE && l->k_norm != l->q_norm) printf(", keys%s", norms[l->k_norm]);
    if (l->softcap > 0) printf(", scores capped at %g", l->softcap);
    if (s->logit_softcap > 0) printf(", logits capped at %g", s->logit_softcap);
    printf("\n");
}

/* Prints how many tensors there are of each dtype. */
static void print_types(const Model *m) {
    printf("tensors    %zu:", m->source->n_tensors);
    /* In the order of the table of dtypes. */
    for (int t = 0; t < DTYPE_COUNT; t++) {
        size_t n = 0;
        for (size_t i = 0; i < m->source->n_tensors; i++)
            n += m->source->tensors[i].dtype == (DType)t;
        if (n) printf(" %zu %s", n, dtype_info((DType)t)->name);
    }
    printf("\n");
}

/* Prints the names of the tested runtimes that run the checkpoint as intended (surgery/runtimes.h). `carrier`
 * is what the manifest says, or NULL. */
static void print_runtimes(const Model *m, const char *carrier) {
    json_t *list = carrier_runtimes_of(m->source, carrier, m->family), *row;
    Buffer names = {0};
    size_t i;
    json_array_foreach(list, i, row) if (json_is_true(json_object_get(row, "runs")))
        buffer_printf(&names, "%s%s", names.size ? ", " : "", json_get_string(row, "runtime"));
    printf("runtimes   %s\n", names.size ? buffer_string(&names) : "none of those tested (--json says why)");
    buffer_free(&names);
    json_decref(list);
}

/* Prints the stock architecture (carrier) that an output of derope was written as, which of its settings
 * expresses the surgery, and why each preferred carrier was rejected. The runtimes follow for every
 * checkpoint. */
static void print_carrier(const Model *m) {
    json_t *manifest = manifest_of(m);
    const char *name = json_get_string(manifest, "carrier"),
               *says = json_get_string(manifest, "carrier_says"), *other;
    json_t *why;
    if (name) printf("carrier    %s%s%s\n", name, says ? ": " : "", says ? says : "");
    json_object_foreach(json_object_get(manifest, "carrier_because"), other, why)
        printf("           not %s: %s\n", other, json_is_string(why) ? json_string_value(why) : "");
    print_runtimes(m, name);
    json_decref(manifest);
}

/* Prints the model for people: first where it is from and how large it is, then how it treats positions, and
 * last the notices of reading it. */
static void print_text(const Model *m) {
    const ModelSpec *s = &m->spec;
    const LayerSpec *l = &s->layers[0];
    uint64_t params = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        params += tensor_elems(&m->tensors[i].tensor);
    /* What it is and how large. */
    printf("%s\n", m->source->path);
    printf("format     %s\nfamily     %s, %.1fM parameters\n", format_name(m->source), m->family->name,
           (double)params / 1e6);
    printf("size       %u layers, hidden size %u, %u heads over %u kv heads of %u, ffn %u, vocabulary %u%s\n",
           s->n_layers, s->hidden_size, l->n_heads, l->n_kv_heads, l->head_dim, l->ffn_dim, s->vocab,
           s->tied_head ? ", tied head" : "");
    print_block(s);
    printf("context    %u\n", s->context);
    print_types(m);
    print_carrier(m);
    /* How position enters, first as a strip and then in words. */
    print_strip(s);
    print_layers(s);
    for (size_t i = 0; i < json_array_size(m->notices); i++)
        printf("note: %s\n", json_string_value(json_array_get(m->notices, i)));
}

/* The function of the verb (cmd/verb.h). */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    JsonArguments a = {.json = false};
    if (!command_line_parse(self, argc, argv, &a, operands_take, e)) return false;
    if (a.operands.n != 1) return cmd_usage(e, "one model is needed (derope inspect --help)");
    /* Open, print in the form that was asked for, close. */
    Checkpoint *source = checkpoint_open(a.operands.list[0], e);
    Model *m = source ? model_open(source, e) : NULL;
    if (m && a.json) print_json(m);
    if (m && !a.json) print_text(m);
    bool ok = m != NULL;
    model_close(m);
    checkpoint_close(source);
    return ok;
}

const Verb verb_inspect = {
    .name = "inspect",
    .summary = "show format, architecture, sizes and the position encoding of each layer",
    .operands = "MODEL",
    .about = VERB_MODEL_IS "\n\n--json prints .format, .family, .context, .spec (sizes; "
                           ".spec.layers[i].position is \"rope\", \"partial\" or "
                           "\"nope\", .window a number of tokens or null, .rope the base, rotary_dim and "
                           "scaling), .tensors[] (name, role, "
                           "dtype, shape, bytes) and .runtimes[] (runtime, runs, why); and, if derope made "
                           "it, .passes, .carrier, .carrier_says "
                           "and .carrier_because: which stock "
                           "architecture carries it, how, and why those preferred could not.",
    .groups = json_arguments_groups,
    .examples = "  derope inspect model.gguf --json | jq '.spec.layers[].position'\n",
    .run = run,
};

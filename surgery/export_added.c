#include "surgery/export_added.h"

#include "surgery/carriers/carriers.h"
#include "surgery/export_tensors.h"
#include "surgery/model_traits.h"
#include "surgery/rope_frequencies.h"

/* A vector of `n` equal numbers. */
static Tensor constant_vector(Export *x, const char *name, uint64_t n, float value) {
    float *v = arena_alloc(&x->out->arena, n * sizeof *v);
    for (uint64_t i = 0; i < n; i++)
        v[i] = value;
    Tensor t = tensor_over(&x->out->arena, name, DTYPE_F32, 1, &n, v);
    t.status = TENSOR_NEW;
    return t;
}

/* ---- rope tables ---- */

static void add_table(Export *x, const char *name, const double *values, uint64_t n) {
    float *v = arena_alloc(&x->out->arena, n * sizeof *v);
    for (uint64_t i = 0; i < n; i++)
        v[i] = (float)values[i];
    Tensor t = tensor_over(&x->out->arena, name, DTYPE_F32, 1, &n, v);
    t.status = TENSOR_NEW;
    checkpoint_add_tensor(x->out, &t);
}

/* Llama 3's scaling: rope_freqs.weight [rotary_dim / 2], by which llama.cpp divides each inverse frequency.
 */
static void add_llama3_table(Export *x, const LayerSpec *l) {
    const Tensor *there = checkpoint_find(x->m->source, "rope_freqs.weight");
    if (there && rope_scaling_equal(&l->scaling, &x->m->source_spec.layers[0].scaling)) {
        checkpoint_add_tensor(x->out, there); /* unchanged: the source's own bytes */
        return;
    }
    uint64_t n = l->rotary_dim / 2;
    double scaled[4096], divisors[4096]; /* a spec's rotary_dim is at most 8192 */
    LayerSpec unscaled = *l;
    unscaled.scaling = (RopeScaling){0};
    rope_frequencies(&x->m->spec, l, 0, scaled);
    rope_frequencies(&x->m->spec, &unscaled, 0, divisors);
    for (uint64_t i = 0; i < n; i++)
        divisors[i] /= scaled[i];
    add_table(x, "rope_freqs.weight", divisors, n);
}

void export_add_rope_tables(Export *x) {
    const LayerSpec *l = NULL;
    if (!model_has_one_rotation(x->m, &l) || !l) return;
    if (l->scaling.kind == ROPE_SCALING_LLAMA3) add_llama3_table(x, l);
    if (l->scaling.kind != ROPE_SCALING_LONGROPE) return;
    add_table(x, "rope_factors_long.weight", l->scaling.long_factors, l->scaling.n_factors);
    add_table(x, "rope_factors_short.weight", l->scaling.short_factors, l->scaling.n_factors);
}

/* ---- what carriers need ---- */

static bool add_sinks(Export *x, int layer) {
    const LayerSpec *l = &x->m->spec.layers[layer];
    if (!x->carrier->needs_sinks || l->sinks) return true;
    char name[128];
    model_tensor_name(x->m, ROLE_SINKS, layer, FORMAT_HF, name);
    /* exp(-1e4) is 0 in fp32: the softmax denominator stays what it was. */
    return export_add_tensor(x, ROLE_SINKS, layer, constant_vector(x, name, l->n_heads, -1e4f));
}

static bool add_router(Export *x, int layer) {
    if (!x->carrier->needs_router || x->m->spec.layers[layer].n_experts) return true;
    /* [1, hidden_size] of zeros: a softmax over one expert is 1, whatever the logit. */
    uint64_t n = x->m->spec.hidden_size;
    Tensor router = constant_vector(x, "router", n, 0);
    router.rank = 2;
    router.shape[0] = 1;
    router.shape[1] = n;
    return export_add_tensor(x, ROLE_ROUTER, layer, router);
}

static bool add_o_bias(Export *x, int layer) {
    const LayerSpec *l = &x->m->spec.layers[layer];
    bool biased = l->q_bias || l->k_bias || l->v_bias;
    if (x->out->format != FORMAT_HF || !biased || l->o_bias || !carrier_needs_o_bias(x->carrier, x->m))
        return true;
    char name[128];
    model_tensor_name(x->m, ROLE_O_BIAS, layer, FORMAT_HF, name);
    return export_add_tensor(x, ROLE_O_BIAS, layer, constant_vector(x, name, x->m->spec.hidden_size, 0));
}

bool export_add_carrier_tensors(Export *x) {
    for (uint32_t i = 0; i < x->m->spec.n_layers; i++)
        if (!add_sinks(x, (int)i) || !add_router(x, (int)i) || !add_o_bias(x, (int)i)) return false;
    return true;
}

bool export_add_tied_head(Export *x) {
    const ModelTensor *embed = export_find(x, ROLE_EMBED, -1);
    bool own = !x->carrier->tensors,
         wanted = x->carrier->needs_head || (own && (x->m->family->gguf.quirks & GGUF_NEEDS_HEAD));
    if (x->out->format != FORMAT_GGUF || !wanted || !x->m->spec.tied_head || !embed) return true;
    return export_add_tensor(x, ROLE_HEAD, -1, embed->tensor);
}

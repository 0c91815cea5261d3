/* Tensors that an output has and the model does not. There are two kinds: tables of rotary divisors, in which
 * GGUF states Llama 3's scaling and LongRoPE, and neutral tensors (attention sinks, a router, a bias of
 * zeros) that a borrowed architecture demands and that change no result. export.c calls these functions
 * around the model's own tensors. */
#include "surgery/export_added.h"

#include "surgery/carriers/carriers.h"
#include "surgery/export_mix.h"
#include "surgery/export_tensors.h"
#include "surgery/model_traits.h"
#include "surgery/rope_frequencies.h"

/* A vector of `n` equal numbers in F32, in the memory of the output. */
static Tensor constant_vector(Export *x, const char *name, uint64_t n, float value) {
    float *v = arena_alloc(&x->out->arena, n * sizeof *v);
    for (uint64_t i = 0; i < n; i++)
        v[i] = value;
    Tensor t = tensor_over(&x->out->arena, name, DTYPE_F32, 1, &n, v);
    t.status = TENSOR_NEW;
    return t;
}

/* ---- rope tables ---- */

/* Adds a vector of `n` numbers, rounded to F32. llama.cpp finds tables by these names. */
static void add_table(Export *x, const char *name, const double *values, uint64_t n) {
    float *v = arena_alloc(&x->out->arena, n * sizeof *v);
    for (uint64_t i = 0; i < n; i++)
        v[i] = (float)values[i];
    Tensor t = tensor_over(&x->out->arena, name, DTYPE_F32, 1, &n, v);
    t.status = TENSOR_NEW;
    checkpoint_add_tensor(x->out, &t);
}

/* Llama 3's scaling: rope_freqs.weight [rotary_dim / 2], by which llama.cpp divides each inverse frequency.
 * The divisors are the ratio of the unscaled to the scaled frequencies. Where the source is a GGUF with the
 * same scaling, its own table is copied, so that its bytes stay. */
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

/* One table serves all layers, so layers that rotate have to agree; a carrier that writes such a model has
 * checked that before. */
void export_add_rope_tables(Export *x) {
    const LayerSpec *l = NULL;
    if (!model_has_one_rotation(x->m, &l) || !l) return;
    if (l->scaling.kind == ROPE_SCALING_LLAMA3) add_llama3_table(x, l);
    if (l->scaling.kind != ROPE_SCALING_LONGROPE) return;
    add_table(x, "rope_factors_long.weight", l->scaling.long_factors, l->scaling.n_factors);
    add_table(x, "rope_factors_short.weight", l->scaling.short_factors, l->scaling.n_factors);
}

/* ---- what carriers need ---- */

/* Some architectures have attention sinks in every layer. A model without sinks gets one for each head that
 * does nothing. */
static bool add_sinks(Export *x, int layer) {
    const LayerSpec *l = &x->m->spec.layers[layer];
    if (!x->carrier->needs_sinks || l->sinks) return true;
    char name[128];
    model_tensor_name(x->m, ROLE_SINKS, layer, FORMAT_HF, name);
    /* exp(-1e4) is 0 in fp32: the softmax denominator stays what it was. */
    return export_add_tensor(x, ROLE_SINKS, layer, constant_vector(x, name, l->n_heads, -1e4f));
}

/* An architecture whose MLP is always a mixture gets the model's MLP as its only expert, and a router for it.
 */
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

/* In some transformers classes one key switches the biases of q, k, v and o together. If the model has biases
 * on q, k or v only, o gets a bias of zeros. */
static bool add_o_bias(Export *x, int layer) {
    const LayerSpec *l = &x->m->spec.layers[layer];
    bool biased = l->q_bias || l->k_bias || l->v_bias;
    if (x->out->format != FORMAT_HF || !biased || l->o_bias || !carrier_needs_o_bias(x->carrier, x->m))
        return true;
    char name[128];
    model_tensor_name(x->m, ROLE_O_BIAS, layer, FORMAT_HF, name);
    return export_add_tensor(x, ROLE_O_BIAS, layer, constant_vector(x, name, x->m->spec.hidden_size, 0));
}

/* A layer's added tensors are appended behind the model's own, layer by layer. */
bool export_add_carrier_tensors(Export *x) {
    for (uint32_t i = 0; i < x->m->spec.n_layers; i++)
        if (!add_sinks(x, (int)i) || !add_router(x, (int)i) || !add_o_bias(x, (int)i)) return false;
    return true;
}

bool export_add_tied_head(Export *x) {
    if (!export_repeats_head(x)) return true;
    Tensor head = export_find(x, ROLE_EMBED, -1)->tensor;
    export_mix_head(x, &head);
    return export_add_tensor(x, ROLE_HEAD, -1, head);
}

/* Groups of GGUF keys: rotation, windows and multipliers. Which family or carrier needs which of them is
 * decided by the hooks in surgery/families/ and surgery/carriers/, which call these functions; single keys
 * are written by arch_keys.c. What llama.cpp makes of the keys is in its src/llama-model.cpp and src/models/.
 */
#include "surgery/arch_write.h"

#include "surgery/model_traits.h"
#include "surgery/rope_frequencies.h"

/* The two numbers of LongRoPE that are keys. Its tables of divisors are tensors, which export_tensors.c
 * writes. */
static void set_longrope(Checkpoint *out, const RopeScaling *r) {
    arch_set_u32(out, "rope.scaling.original_context_length", (uint32_t)r->original_context);
    arch_set_f32(out, "rope.scaling.attn_factor",
                 r->attention_factor > 0 ? r->attention_factor : rope_default_attention_factor(r));
}

/* Writes base, rotated dimensions and scaling. rope.dimension_count is left alone where it says the same, and
 * becomes head_dim where nothing rotates, which is also what llama.cpp takes where the key is absent; such an
 * output turns rotation off in another way. */
void arch_set_rope(const Model *m, Checkpoint *out, const LayerSpec *l) {
    static const char *const scaling_keys[] = {
        "rope.scaling.type",           "rope.scaling.factor",
        "rope.scale_linear",           "rope.scaling.original_context_length",
        "rope.scaling.attn_factor",    "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow", "rope.scaling.yarn_attn_factor"};
    const RopeScaling *r = &l->scaling;
    uint64_t dim;
    arch_set_f32(out, "rope.freq_base", l->rope_base);
    if (!arch_get_u64(out, "rope.dimension_count", &dim) || dim != l->rotary_dim)
        arch_set_u32(out, "rope.dimension_count", l->rotary_dim ? l->rotary_dim : l->head_dim);
    /* llama3 and LongRoPE are tables of divisors in tensors; with these keys they would be scaled twice. */
    if (r->kind != ROPE_SCALING_LINEAR && r->kind != ROPE_SCALING_YARN) {
        for (size_t i = 0; i < sizeof scaling_keys / sizeof *scaling_keys; i++)
            arch_remove(out, scaling_keys[i]);
        if (r->kind == ROPE_SCALING_LONGROPE) set_longrope(out, r);
        return;
    }
    arch_set_string(out, "rope.scaling.type", rope_scaling_name(r->kind));
    arch_set_f32(out, "rope.scaling.factor", r->factor);
    if (r->kind != ROPE_SCALING_YARN) return;
    /* A scaling without a stated original context counts from the model's own. */
    double original = r->original_context > 0 ? r->original_context : m->spec.context;
    arch_set_u32(out, "rope.scaling.original_context_length", (uint32_t)original);
    arch_set_f32(out, "rope.scaling.yarn_beta_fast", r->beta_fast);
    arch_set_f32(out, "rope.scaling.yarn_beta_slow", r->beta_slow);
    /* llama.cpp multiplies attn_factor by the usual attention factor, which config.json's key replaces. */
    if (r->attention_factor > 0 || arch_find(out, "rope.scaling.attn_factor"))
        arch_set_f32(out, "rope.scaling.attn_factor",
                     r->attention_factor > 0 ? r->attention_factor / rope_default_attention_factor(r) : 1);
}

/* Whether llama.cpp can rotate like this. Its rotary embedding (ggml_rope_ext) has parameters for linear
 * scaling and YaRN; other scalings are divisors in tensors. Nothing there depends on the length of the text,
 * so dynamic NTK cannot be expressed. */
bool arch_can_scale_rope(const Model *m, char *why, size_t size) {
    const LayerSpec *l = NULL;
    if (!model_has_one_main_rotation(m, &l))
        return refuse_because(why, size, "supports only one rope base for all layers");
    if (l && l->scaling.kind == ROPE_SCALING_DYNAMIC)
        return refuse_because(why, size, "has no dynamic NTK scaling");
    if (l && l->scaling.kind == ROPE_SCALING_YARN &&
        (l->scaling.beta_fast != 32 || l->scaling.beta_slow != 1 ||
         (!l->scaling.truncate && !(m->family->gguf.quirks & GGUF_ROUNDED_YARN))))
        return refuse_because(why, size, "computes YaRN's ramp by itself, from 32 turns to 1");
    return true;
}

/* One flag for each layer: true for a layer with a window. */
void arch_set_window_pattern(const Model *m, Checkpoint *out) {
    uint32_t n = m->spec.n_layers, window = model_window(m);
    uint8_t *windowed = arena_alloc(&out->arena, n);
    for (uint32_t i = 0; i < n; i++)
        windowed[i] = m->spec.layers[i].window != 0;
    if (!window) windowed[0] = 1;
    arch_set_u32(out, "attention.sliding_window", window ? window : GGUF_NO_WINDOW);
    arch_set_array(out, "attention.sliding_window_pattern", META_BOOL, windowed, n);
}

/* A key that the source had would go on giving layers a window. */
void arch_remove_windows(Checkpoint *out) {
    arch_remove(out, "attention.sliding_window");
    arch_remove(out, "attention.sliding_window_pattern");
    arch_remove(out, "rope.freq_base_swa");
}

/* Granite's multipliers. llama.cpp divides logits by logit_scale here, while the spec has the factor that
 * they are multiplied by. */
void arch_set_multipliers(const Model *m, Checkpoint *out) {
    arch_set_f32(out, "embedding_scale", m->spec.embedding_scale);
    arch_set_f32(out, "residual_scale", m->spec.residual_scale);
    arch_set_f32(out, "logit_scale", 1 / m->spec.logit_scale);
    arch_set_f32(out, "attention.scale", m->spec.layers[0].softmax_scale);
}

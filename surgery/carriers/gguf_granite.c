/* GGUF carriers of Granite's two architectures, "granite" and "granite_swa", whose keys say which layers
 * rotate. Their block is Llama's with multipliers, so they can express models of every family with such a
 * block. The same architectures are read by surgery/families/granite.c, and this file writes what that one
 * reads. */
#include "surgery/arch_write.h"
#include "surgery/carrier.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* ---- granite: no rotation in any layer ----
 *
 * llama.cpp's architecture "granite" (src/models/granite.cpp) takes rope.scaling.finetuned = false for "this
 * model has no rotary embeddings". It has a key for the softmax scale, and multipliers, which are 1 here. */

/* Carrier.can: no layer rotates and none has a window that hides anything. Multipliers and the softmax scale
 * have keys and may be anything; sinks and norms on queries and keys do not exist in this architecture. */
static bool granite_can(const Model *m, char *why, size_t size) {
    if (!model_has_standard_dense_layers(m, why, size)) return false;
    if (!model_all_layers(m, layer_is_nope))
        return refuse_because(why, size, "rotates in all layers or in none");
    if (!model_all_layers(m, layer_is_global)) return refuse_because(why, size, "has no windows");
    if (!model_has_one_softmax_scale(m))
        return refuse_because(why, size, "supports only one softmax scale for all layers");
    if (model_has_sinks(m)) return refuse_because(why, size, "has no attention sinks");
    if (model_has_qk_norm(m)) return refuse_because(why, size, "has no norms on queries and keys");
    return true;
}

/* Carrier.write_gguf: llama.cpp requires the keys of rotation, so they are written without a scaling although
 * nothing is computed from them. */
static void granite_write(const Model *m, Checkpoint *out) {
    LayerSpec l = m->spec.layers[0];
    l.scaling = (RopeScaling){0};
    l.rotary_dim = l.head_dim;
    arch_set_rope(m, out, &l);
    arch_set_bool(out, "rope.scaling.finetuned", false);
    arch_set_multipliers(m, out);
}

const Carrier carrier_gguf_granite = {
    .name = "granite",
    .format = FORMAT_GGUF,
    .says = "rope.scaling.finetuned = false means no rotation at all",
    .tensors = llama_tensors,
    .since = "2025-05",
    .holds_scale = true,
    .interleaved = RULE_ALWAYS,
    .can = granite_can,
    .write_gguf = granite_write,
    .arch = "granite",
};

/* ---- granite_swa: rotation and windows per layer ----
 *
 * The architecture has two lists: attention.rope_pattern, with 1 for each layer that rotates, and
 * attention.sliding_window_pattern. Attention sinks cannot be left out. */

/* Carrier.can: Llama's block with or without experts, one window size, one softmax scale, and a rope scaling
 * that llama.cpp has for this architecture. llama.cpp also refuses a model in which no layer rotates, or in
 * which every layer has a window: it prepares an input tensor for each case, and fails if no layer reads it.
 */
static bool swa_can(const Model *m, char *why, size_t size) {
    /* The block, with experts or without. */
    bool block = model_moe_layer(m)->n_experts
                     ? model_has_standard_layers(m, why, size) && model_has_uniform_experts(m, why, size)
                     : model_has_standard_dense_layers(m, why, size);
    if (!block || !arch_can_scale_rope(m, why, size)) return false;
    /* The rotation of each layer. */
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->position == POSITION_PARTIAL) return refuse_because(why, size, "rotates whole heads only");
        if (l->scaling.kind == ROPE_SCALING_LLAMA3)
            return refuse_because(why, size, "has no Llama 3 frequency bands");
        if (l->scaling.kind == ROPE_SCALING_LONGROPE) return refuse_because(why, size, "has no LongRoPE");
    }
    /* Window, softmax scale and norms. */
    if (!model_has_one_window_size(m, why, size)) return false;
    if (!model_has_one_softmax_scale(m))
        return refuse_because(why, size, "supports only one softmax scale for all layers");
    if (model_has_qk_norm(m)) return refuse_because(why, size, "has no norms on queries and keys");
    /* At least one layer has to read the positions, and one the mask without a window. */
    if (model_all_layers(m, layer_is_nope)) return refuse_because(why, size, "needs a layer that rotates");
    if (!model_layer_by_window(m, false))
        return refuse_because(why, size, "needs a layer without a window (--sliding-window 0:LAYERS)");
    return true;
}

/* Carrier.write_gguf: rope base and scaling are those of the first layer that rotates, with which all others
 * agree. The two patterns have an entry for each layer; the multipliers are written as Granite has them. */
static void swa_write(const Model *m, Checkpoint *out) {
    const LayerSpec *rotating = NULL;
    model_has_one_rotation(m, &rotating);
    LayerSpec l = rotating ? *rotating : m->spec.layers[0];
    if (!rotating) l.rotary_dim = l.head_dim;
    arch_set_rope(m, out, &l);
    /* 1 for each layer that rotates. */
    uint32_t n = m->spec.n_layers, *rotates = arena_alloc(&out->arena, n * sizeof *rotates);
    for (uint32_t i = 0; i < n; i++)
        rotates[i] = m->spec.layers[i].position != POSITION_NOPE;
    arch_set_window_pattern(m, out);
    arch_set_array(out, "attention.rope_pattern", META_U32, rotates, n);
    arch_set_multipliers(m, out);
}

const Carrier carrier_gguf_granite_swa = {
    .name = "granite_swa",
    .format = FORMAT_GGUF,
    .says = "attention.rope_pattern and attention.sliding_window_pattern say it of each layer",
    .tensors = granite_swa_tensors,
    .since = "2026-09",
    .holds_scale = true,
    .needs_sinks = true,
    .interleaved = RULE_ALWAYS,
    .can = swa_can,
    .write_gguf = swa_write,
    .arch = "granite_swa",
};

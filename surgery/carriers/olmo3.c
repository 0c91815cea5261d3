/* The HF carrier olmo3, for blocks with norms after attention and MLP (OLMo 2 and 3). transformers 5's class
 * has a rope scaling for layers without a window that is separate from that of the others, because
 * rope_parameters has a mapping for each type of layer. A scaling by 1e30 there turns off the rotation of
 * exactly the layers without a window. */
#include "formats/json.h"
#include "surgery/carrier.h"
#include "surgery/config_write.h"
#include "surgery/families/families.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"
#include "surgery/rope_frequencies.h"

/* Whether the block is OLMo 2's and OLMo 3's: no norm before attention and MLP, but one after each; RMSNorms
 * over all queries and all keys; SwiGLU; no multipliers. */
static bool block(const Model *m, char *why, size_t size) {
    /* Norms first, then the parts of each layer. */
    if (m->spec.norm != NORM_RMS) return refuse_because(why, size, "supports RMSNorm only");
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (!l->no_pre_norms || !l->post_norms || l->residual_layout != RESIDUAL_SEQUENTIAL)
            return refuse_because(why, size, "requires norms after attention and after the MLP");
        if (l->q_norm != QK_NORM_FULL || l->k_norm != QK_NORM_FULL)
            return refuse_because(why, size, "requires norms over all queries and over all keys");
        if (l->no_gate || l->activation != ACT_SILU || l->n_experts || l->mlp_bias)
            return refuse_because(why, size, "supports SwiGLU only, without experts and biases");
    }
    if (m->spec.unit_offset_norm)
        return refuse_because(why, size, "multiplies by the weight of a norm, and not by 1 + the weight");
    return model_has_no_multipliers(m) ||
           refuse_because(why, size, "has no embedding, residual and logit multipliers");
}

/* Carrier.can: layers with a window always rotate, without a scaling. Of the others either all rotate, by one
 * base and scaling, or none does. */
static bool can(const Model *m, char *why, size_t size) {
    /* The first layer without a window, with which all others of that kind are compared. */
    const LayerSpec *global = NULL;
    if (!block(m, why, size)) return false;
    if (!model_has_one_window_size(m, why, size)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->window && (l->position != POSITION_ROPE || l->scaling.kind != ROPE_SCALING_NONE))
            return refuse_because(why, size, "rotates in layers with a window, unscaled");
        if (l->window) continue;
        if (!global) global = l;
        if (l->position != global->position || (l->position == POSITION_ROPE && !layer_rope_equal(l, global)))
            return refuse_because(why, size,
                                  "rotates in all layers without a window alike, or in none of them");
    }
    return true;
}

/* Carrier.write_hf: the rotation is stated twice, in rope_scaling for older releases and in rope_parameters
 * for each type of layer, because transformers 5 otherwise loses rope_theta for one of the two types. */
static void write(const Model *m, json_t *config) {
    /* The class, and the rotation as older releases read it. */
    const Family *olmo3 = family_by_model_type("olmo3");
    const LayerSpec *windowed = model_layer_by_window(m, true);
    LayerSpec global = *model_scaled_layer(m);
    config_leave_family(m->family, config);
    config_set_class(config, "Olmo3ForCausalLM", "olmo3");
    /* If the layers without a window do not rotate, their angles are divided by 1e30. */
    if (global.position == POSITION_NOPE) global.scaling = rope_scaling_to_zero(ROPE_SCALING_LINEAR);
    config_set_rope(olmo3, config, &global, 0);
    config_set_layer_types(m, config, 4096);
    /* rope_parameters: the mapping for layers without a window repeats rope_scaling; that for layers with a
     * window only has the base. */
    const json_t *scaling = json_object_get(config, "rope_scaling");
    json_t *of_global =
        json_is_object(scaling) ? json_copy((json_t *)scaling) : json_pack("{s:s}", "rope_type", "default");
    json_object_set_new(of_global, "rope_theta", json_real(global.rope_base));
    json_object_set_new(config, "rope_parameters",
                        json_pack("{s:o, s:{s:s, s:f}}", "full_attention", of_global, "sliding_attention",
                                  "rope_type", "default", "rope_theta",
                                  windowed ? windowed->rope_base : global.rope_base));
    /* Settings whose defaults need not be the model's. */
    json_object_set_new(config, "num_key_value_heads", json_integer(global.n_kv_heads));
    json_object_set_new(config, "tie_word_embeddings", json_boolean(m->spec.tied_head));
    config_set_token_ids(config);
}

const Carrier carrier_hf_olmo3 = {
    .name = "olmo3",
    .format = FORMAT_HF,
    .says = "rope_parameters scales layers without a window apart from the others, by 1e30 where they do not "
            "rotate",
    .tensors = sandwich_tensors,
    .since = "5.0",
    .needs_o_bias = RULE_ALWAYS,
    .can = can,
    .write_hf = write,
};

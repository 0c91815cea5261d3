/* HF carriers of three classes whose keys say of each layer whether it rotates and whether it has a window:
 * SmolLM3, Granite SWA and Granite MoE SWA. Their block is Llama's, so they can express models of every
 * family with such a block. The configurations that they write are read back by surgery/families/smollm3.c
 * and granite.c. */
#include "formats/json.h"
#include "surgery/carrier.h"
#include "surgery/config_write.h"
#include "surgery/families/families.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"
#include "surgery/rope_frequencies.h"

/* ---- smollm3: rotation and windows per layer, in transformers 4 and 5 ----
 *
 * SmolLM3's class (transformers' modeling_smollm3.py) is Llama's with two lists: no_rope_layers, which has 1
 * for each layer that rotates, and layer_types. */

/* Carrier.can of "smollm3": one rope base for all layers, rotation of whole heads, and nothing that Llama's
 * block lacks (multipliers, sinks, norms on queries and keys). */
static bool smollm3_can(const Model *m, char *why, size_t size) {
    if (!model_has_standard_dense_layers(m, why, size)) return false;
    if (!model_has_one_rotation(m, NULL))
        return refuse_because(why, size, "supports only one rope base for all layers");
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].position == POSITION_PARTIAL)
            return refuse_because(why, size, "rotates whole heads only");
    if (!model_has_one_window_size(m, why, size)) return false;
    if (!model_has_no_multipliers(m))
        return refuse_because(why, size, "has no embedding, residual and logit multipliers");
    if (model_has_sinks(m)) return refuse_because(why, size, "has no attention sinks");
    if (model_has_qk_norm(m)) return refuse_because(why, size, "has no norms on queries and keys");
    return true;
}

/* Carrier.write_hf of "smollm3". `config` starts as a copy of the source's, so keys that this class or its
 * readers would understand differently are removed first. Then all keys follow whose defaults need not be the
 * model's. */
static void smollm3_write(const Model *m, json_t *config) {
    static const char *const foreign[] = {
        "max_window_layers",   "no_rope_layer_interval", "pretraining_tp",       "rope_interleaved",
        "is_llama_config",     "partial_rotary_factor",  "embedding_multiplier", "logits_scaling",
        "residual_multiplier", "attention_multiplier",   "layer_rope_theta"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        json_object_del(config, foreign[i]);
    config_leave_family(m->family, config);
    /* The class and its rotation. `l` is NULL if no layer rotates; then only the base is stated. */
    const LayerSpec *l = NULL, *any = &m->spec.layers[0];
    model_has_one_rotation(m, &l);
    config_set_class(config, "SmolLM3ForCausalLM", "smollm3");
    config_set_rope(family_by_model_type("smollm3"), config, l, model_scaled_layer(m)->rope_base);
    config_set_no_rope_layers(m, config);
    config_set_layer_types(m, config, 0);
    json_object_set_new(config, "use_sliding_window", json_boolean(model_window(m) != 0));
    /* The shape of attention and which linear layers have biases, in which all layers agree. */
    json_object_set_new(config, "head_dim", json_integer(any->head_dim));
    json_object_set_new(config, "num_key_value_heads", json_integer(any->n_kv_heads));
    json_object_set_new(config, "attention_bias",
                        json_boolean(any->q_bias || any->k_bias || any->v_bias || any->o_bias));
    json_object_set_new(config, "mlp_bias", json_boolean(any->mlp_bias));
    json_object_set_new(config, "tie_word_embeddings", json_boolean(m->spec.tied_head));
    if (!json_object_get(config, "rms_norm_eps"))
        json_object_set_new(config, "rms_norm_eps", json_real(m->spec.norm_eps));
    config_set_token_ids(config);
}

const Carrier carrier_hf_smollm3 = {
    .name = "smollm3",
    .format = FORMAT_HF,
    .says = "no_rope_layers and layer_types say of each layer whether it rotates and whether it has a window",
    .tensors = llama_tensors,
    .since = "4.53",
    .needs_o_bias = RULE_ALWAYS,
    .can = smollm3_can,
    .write_hf = smollm3_write,
};

/* ---- granite_swa: a rope base per layer, multipliers and sinks; transformers 5 only ----
 *
 * Granite SWA's class (modeling_granite_swa.py) has a list layer_rope_theta, of which 0 is a layer without
 * rotation, so layers may have different bases; a key for the softmax scale; and attention sinks, which
 * cannot be left out. */

/* Whether attention is what both kinds of Granite SWA can express: rope bases may differ between layers, but
 * rope scaling, window size and softmax scale are one for all. */
static bool swa_attention(const Model *m, char *why, size_t size) {
    const LayerSpec *first = NULL;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->position == POSITION_PARTIAL) return refuse_because(why, size, "rotates whole heads only");
        if (l->position == POSITION_NOPE) continue;
        if (!first) first = l;
        if (!rope_scaling_equal(&l->scaling, &first->scaling))
            return refuse_because(why, size, "supports only one rope scaling for all layers");
    }
    if (!model_has_one_window_size(m, why, size)) return false;
    if (!model_has_one_softmax_scale(m))
        return refuse_because(why, size, "supports only one softmax scale for all layers");
    if (model_has_qk_norm(m)) return refuse_because(why, size, "has no norms on queries and keys");
    return true;
}

/* Carrier.can of "granite_swa": no layer has experts; models with experts are left to "granitemoe_swa". */
static bool swa_can(const Model *m, char *why, size_t size) {
    return model_has_standard_dense_layers(m, why, size) && swa_attention(m, why, size);
}

/* Carrier.write_hf of "granite_swa": the settings of SmolLM3's class, because both derive from Llama's; then
 * no_rope_layers is replaced by layer_rope_theta (0 for layers without rotation) and the multipliers are
 * added. */
static void swa_write(const Model *m, json_t *config) {
    smollm3_write(m, config);
    json_object_del(config, "no_rope_layers");
    json_object_del(config, "use_sliding_window");
    config_set_class(config, "GraniteSWAForCausalLM", "granite_swa");
    json_t *bases = json_array();
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        json_array_append_new(
            bases, json_real(m->spec.layers[i].position == POSITION_NOPE ? 0 : m->spec.layers[i].rope_base));
    json_object_set_new(config, "layer_rope_theta", bases);
    if (!model_window(m))
        json_object_set_new(config, "sliding_window",
                            json_integer(128)); /* has to be there, though no layer uses it */
    config_set_multipliers(m, config);
}

const Carrier carrier_hf_granite_swa = {
    .name = "granite_swa",
    .format = FORMAT_HF,
    .says = "a layer_rope_theta of 0 is a layer without rotation, layer_types says which have a window",
    .tensors = llama_tensors,
    .since = "5.15",
    .holds_scale = true,
    .needs_sinks = true,
    .needs_o_bias = RULE_ALWAYS,
    .can = swa_can,
    .write_hf = swa_write,
};

/* ---- granitemoe_swa: granite_swa with experts in every layer ---- */

/* Carrier.can of "granitemoe_swa": every layer has the same number of experts and no shared expert. */
static bool moe_swa_can(const Model *m, char *why, size_t size) {
    return model_has_standard_layers(m, why, size) && model_has_uniform_experts(m, why, size) &&
           swa_attention(m, why, size);
}

/* Carrier.write_hf of "granitemoe_swa": intermediate_size is the width of an expert in this class, and
 * shared_intermediate_size 0 states that there is no shared expert. */
static void moe_swa_write(const Model *m, json_t *config) {
    swa_write(m, config);
    config_set_class(config, "GraniteMoeSWAForCausalLM", "granitemoe_swa");
    json_object_set_new(config, "intermediate_size", json_integer(m->spec.layers[0].ffn_dim));
    json_object_set_new(config, "shared_intermediate_size", json_integer(0));
    config_set_experts(m, config, "num_local_experts");
}

const Carrier carrier_hf_granitemoe_swa = {
    .name = "granitemoe_swa",
    .format = FORMAT_HF,
    .says = "a layer_rope_theta of 0 is a layer without rotation, layer_types says which have a window",
    .tensors = granite_swa_tensors,
    .since = "5.15",
    .holds_scale = true,
    .needs_sinks = true,
    .needs_o_bias = RULE_ALWAYS,
    .can = moe_swa_can,
    .write_hf = moe_swa_write,
};

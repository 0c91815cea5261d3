/* Keys of class, rotation, windows, experts and multipliers for a config.json. Which of them a class needs is
 * decided by the hooks in surgery/families/ and surgery/carriers/. The keys are the legacy ones, which
 * transformers 4 and 5 both read. */
#include "surgery/config_write.h"

#include <math.h>

#include "formats/json.h"
#include "surgery/config_read.h"
#include "surgery/model_traits.h"
#include "surgery/rope_frequencies.h"

/* ---- which class ---- */

/* Both keys name the class: AutoModel goes by model_type, other programs by architectures. */
void config_set_class(json_t *config, const char *architecture, const char *model_type) {
    json_object_set_new(config, "architectures", json_pack("[s]", architecture));
    json_object_set_new(config, "model_type", json_string(model_type));
}

/* Null keeps a key from falling back to the default of the class, which may lie outside a small vocabulary.
 */
void config_set_token_ids(json_t *config) {
    static const char *const keys[] = {"bos_token_id", "eos_token_id", "pad_token_id"};
    for (int i = 0; i < 3; i++)
        if (!json_object_get(config, keys[i])) json_object_set_new(config, keys[i], json_null());
}

/* A key that moves to its usual name keeps its value; where both are there, the family's own counted. */
void config_leave_family(const Family *f, json_t *config) {
    for (const char *const *key = f->hf.private_keys; key && *key; key++)
        json_object_del(config, *key);
    for (const KeyName *k = f->hf.keys; k && k->usual; k++) {
        json_t *value = json_object_get(config, k->own);
        if (!value) continue;
        json_object_set(config, k->usual, value);
        json_object_del(config, k->own);
    }
}

/* ---- rotation ---- */

/* A JSON list of n numbers, each in the shortest form that reads back the same (formats/json.h). */
static json_t *number_list(const double *values, uint32_t n) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(list, json_real(values[i]));
    return list;
}

/* partial_rotary_factor, the part of a head that rotates. Classes compute (int)(head_dim * factor), so a
 * quotient that was rounded down would lose a dimension; the next larger double does not. */
static double rotary_factor(uint32_t rotary_dim, uint32_t head_dim) {
    double factor = (double)rotary_dim / head_dim;
    return (uint32_t)(head_dim * factor) < rotary_dim ? nextafter(factor, 2) : factor;
}

/* The value of rope_scaling for LongRoPE; also sets original_max_position_embeddings beside it. A class that
 * knows no other scaling (Phi-3) accepts exactly the keys type, short_factor and long_factor in transformers
 * 4, so `factor`, which transformers 5 reads, is only stated where it is not the ratio of the contexts. For
 * other classes the attention factor is stated, because transformers 4 and 5 compute different ones from
 * `factor`.
 */
static json_t *longrope_mapping(const Family *f, json_t *config, const RopeScaling *r) {
    bool only_longrope = f->hf.rope_scalings == 1u << ROPE_SCALING_LONGROPE;
    json_t *o = json_pack("{s:s, s:o, s:o}", only_longrope ? "type" : "rope_type", "longrope", "short_factor",
                          number_list(r->short_factors, r->n_factors), "long_factor",
                          number_list(r->long_factors, r->n_factors));
    json_object_set_new(config, "original_max_position_embeddings",
                        json_integer((json_int_t)r->original_context));
    double ratio =
        json_number_value(json_object_get(config, "max_position_embeddings")) / r->original_context;
    if (only_longrope && r->factor != ratio) json_object_set_new(o, "factor", json_real(r->factor));
    if (only_longrope) return o;
    double attention = r->attention_factor > 0 ? r->attention_factor : rope_default_attention_factor(r);
    json_object_set_new(o, "factor", json_real(r->factor));
    json_object_set_new(o, "attention_factor", json_real(attention));
    return o;
}

/* The value of rope_scaling for linear, dynamic, YaRN and llama3. A key is written only where its kind reads
 * it, because transformers warns about others. OLMo 2 checks for the older name of the type. The context
 * before scaling may also stand beside rope_scaling, as Phi-3 has it; transformers 5 prefers that one, so it
 * is made equal. */
static json_t *scaling_mapping(const Family *f, json_t *config, const RopeScaling *r) {
    const char *type_key = f->hf.quirks & HF_OLD_ROPE_TYPE_KEY ? "type" : "rope_type";
    json_t *o = json_pack("{s:s, s:f}", type_key, rope_scaling_name(r->kind), "factor", r->factor);
    if (r->kind == ROPE_SCALING_YARN || r->kind == ROPE_SCALING_LLAMA3) {
        static const char key[] = "original_max_position_embeddings";
        json_object_set_new(o, key, json_integer((json_int_t)r->original_context));
        if (json_object_get(config, key))
            json_object_set_new(config, key, json_integer((json_int_t)r->original_context));
    }
    if (r->kind == ROPE_SCALING_LLAMA3) {
        json_object_set_new(o, "low_freq_factor", json_real(r->low_freq_factor));
        json_object_set_new(o, "high_freq_factor", json_real(r->high_freq_factor));
    }
    if (r->kind == ROPE_SCALING_YARN) {
        json_object_set_new(o, "beta_fast", json_real(r->beta_fast));
        json_object_set_new(o, "beta_slow", json_real(r->beta_slow));
        if (r->attention_factor > 0)
            json_object_set_new(o, "attention_factor", json_real(r->attention_factor));
        if (!r->truncate) json_object_set_new(o, "truncate", json_false());
    }
    return o;
}

/* Writes rope_theta, rope_scaling and, where it is needed, partial_rotary_factor. rope_parameters, which
 * transformers 5 writes, is removed: it would contradict the legacy keys. partial_rotary_factor is written
 * where part of a head rotates, or where the class would otherwise rotate a part by default. */
void config_set_rope(const Family *f, json_t *config, const LayerSpec *l, double base_if_none) {
    json_object_del(config, "rope_parameters");
    json_object_set_new(config, config_key(f, "rope_theta"), json_real(l ? l->rope_base : base_if_none));
    if (l && l->position != POSITION_NOPE && (l->position == POSITION_PARTIAL || f->rotary_part))
        json_object_set_new(config, config_key(f, "partial_rotary_factor"),
                            json_real(rotary_factor(l->rotary_dim, l->head_dim)));
    const RopeScaling *r = l ? &l->scaling : NULL;
    bool none = !r || r->kind == ROPE_SCALING_NONE, by_default = f->hf.quirks & HF_SCALED_BY_DEFAULT;
    json_t *mapping = none ? by_default ? json_pack("{s:s}", "rope_type", "default") : json_null()
                      : r->kind == ROPE_SCALING_LONGROPE ? longrope_mapping(f, config, r)
                                                         : scaling_mapping(f, config, r);
    json_object_set_new(config, "rope_scaling", mapping);
}

/* The list has 1 for layers that rotate, as transformers reads it. */
void config_set_no_rope_layers(const Model *m, json_t *config) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        json_array_append_new(list, json_integer(m->spec.layers[i].position != POSITION_NOPE));
    json_object_set_new(config, "no_rope_layers", list);
}

/* Some classes read sliding_window even if no layer has one, and stop at null; they give a number for
 * `if_none`. */
void config_set_layer_types(const Model *m, json_t *config, uint32_t if_none) {
    uint32_t window = model_window(m);
    json_t *types = json_array();
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        json_array_append_new(types,
                              json_string(m->spec.layers[i].window ? "sliding_attention" : "full_attention"));
    json_object_set_new(config, "layer_types", types);
    if (!window) window = if_none;
    json_object_set_new(config, "sliding_window", window ? json_integer(window) : json_null());
}

/* ---- the block ---- */

/* The first layer with experts stands for all: architectures have one number. */
void config_set_experts(const Model *m, json_t *config, const char *key) {
    const LayerSpec *l = model_moe_layer(m);
    json_object_set_new(config, key, json_integer(l->n_experts));
    json_object_set_new(config, "num_experts_per_tok", json_integer(l->top_k));
}

/* logits_scaling divides, while the spec has the factor that logits are multiplied by. */
void config_set_multipliers(const Model *m, json_t *config) {
    json_object_set_new(config, "embedding_multiplier", json_real(m->spec.embedding_scale));
    json_object_set_new(config, "residual_multiplier", json_real(m->spec.residual_scale));
    json_object_set_new(config, "logits_scaling", json_real(1 / m->spec.logit_scale));
    json_object_set_new(config, "attention_multiplier", json_real(m->spec.layers[0].softmax_scale));
}

/* The spec as JSON, for `inspect --json`, the manifest's layers, the key of a training state, and the tests.
 * Only writing is needed: a spec is always read from a checkpoint. */
#include "surgery/spec_json.h"

/* The rotation of one layer. Numbers of a scaling appear only where its kind uses them. */
static json_t *rope_to_json(const LayerSpec *l) {
    json_t *o = json_pack("{s:f, s:i, s:s}", "base", l->rope_base, "rotary_dim", (int)l->rotary_dim,
                          "scaling", rope_scaling_name(l->scaling.kind));
    const RopeScaling *r = &l->scaling;
    if (r->kind != ROPE_SCALING_NONE) json_object_set_new(o, "factor", json_real(r->factor));
    if (r->kind == ROPE_SCALING_YARN || r->kind == ROPE_SCALING_LLAMA3 || r->kind == ROPE_SCALING_LONGROPE)
        json_object_set_new(o, "original_context", json_real(r->original_context));
    if (r->kind == ROPE_SCALING_LLAMA3) {
        json_object_set_new(o, "low_freq_factor", json_real(r->low_freq_factor));
        json_object_set_new(o, "high_freq_factor", json_real(r->high_freq_factor));
    }
    /* An attention factor of 0 stands for the default of YaRN's formula and is not printed. */
    if (r->kind == ROPE_SCALING_YARN) {
        json_object_set_new(o, "truncate", json_boolean(r->truncate));
        json_object_set_new(o, "beta_fast", json_real(r->beta_fast));
        json_object_set_new(o, "beta_slow", json_real(r->beta_slow));
        if (r->attention_factor > 0)
            json_object_set_new(o, "attention_factor", json_real(r->attention_factor));
    }
    return o;
}

/* One layer. Keys keep their names once published: manifests of earlier versions are compared with them. Rare
 * features (a shared expert, chunks, attention temperature) appear only where they are used; a window of 0 is
 * null. */
static json_t *layer_to_json(const LayerSpec *l) {
    static const char *const norms[] = {"none", "head", "full", "unit"};       /* by QkNorm */
    static const char *const layouts[] = {"sequential", "parallel", "shared"}; /* by ResidualLayout */
    json_t *o = json_pack(
        "{s:s, s:o, s:i, s:i, s:i, s:f, s:b, s:b, s:b, s:s, s:b, s:i}", "position",
        position_name(l->position), "window", l->window ? json_integer(l->window) : json_null(), "heads",
        (int)l->n_heads, "kv_heads", (int)l->n_kv_heads, "head_dim", (int)l->head_dim, "softmax_scale",
        l->softmax_scale, "qkv_bias", l->q_bias || l->k_bias || l->v_bias, "o_bias", l->o_bias, "mlp_bias",
        l->mlp_bias, "q_norm", norms[l->q_norm], "sinks", l->sinks, "ffn_dim", (int)l->ffn_dim);
    /* The block: norms, order of attention and MLP, activation. */
    json_object_set_new(o, "k_norm", json_string(norms[l->k_norm]));
    json_object_set_new(o, "residual_layout", json_string(layouts[l->residual_layout]));
    json_object_set_new(o, "pre_norms", json_boolean(!l->no_pre_norms));
    json_object_set_new(o, "post_norms", json_boolean(l->post_norms));
    json_object_set_new(o, "activation", json_string(activation_info(l->activation)->name));
    json_object_set_new(o, "gated", json_boolean(!l->no_gate));
    json_object_set_new(o, "experts", json_integer(l->n_experts));
    /* Members that only some models need. */
    if (l->n_experts) json_object_set_new(o, "experts_used", json_integer(l->top_k));
    if (l->shared_expert) json_object_set_new(o, "shared_expert", json_true());
    if (l->chunked) json_object_set_new(o, "chunked", json_true());
    if (l->temperature_scale)
        json_object_set_new(
            o, "attention_temperature",
            json_pack("{s:f, s:f}", "scale", l->temperature_scale, "length", l->temperature_floor));
    json_object_set_new(o, "softcap", l->softcap > 0 ? json_real(l->softcap) : json_null());
    if (l->position != POSITION_NOPE) json_object_set_new(o, "rope", rope_to_json(l));
    return o;
}

/* The members that describe the whole model come before the list of layers, so that a person sees them first.
 */
json_t *spec_to_json(const ModelSpec *s) {
    json_t *layers = json_array();
    for (uint32_t i = 0; i < s->n_layers; i++)
        json_array_append_new(layers, layer_to_json(&s->layers[i]));
    json_t *o = json_pack("{s:i, s:i, s:i, s:I, s:f, s:b, s:f, s:f, s:f}", "n_layers", (int)s->n_layers,
                          "hidden_size", (int)s->hidden_size, "vocab", (int)s->vocab, "context",
                          (json_int_t)s->context, "norm_eps", s->norm_eps, "tied_head", s->tied_head,
                          "embedding_scale", s->embedding_scale, "residual_scale", s->residual_scale,
                          "logit_scale", s->logit_scale);
    json_object_set_new(o, "norm", json_string(s->norm == NORM_LAYER ? "layer" : "rms"));
    json_object_set_new(o, "unit_offset_norm", json_boolean(s->unit_offset_norm));
    json_object_set_new(o, "logit_softcap", s->logit_softcap > 0 ? json_real(s->logit_softcap) : json_null());
    json_object_set_new(o, "layers", layers);
    return o;
}

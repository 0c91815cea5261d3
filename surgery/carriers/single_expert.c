/* OLMoE; with one expert, a carrier of norms over all queries and all keys: its router has no choice, so the
 * expert is the MLP. llama.cpp's wants keys normed at full width: key/value heads are repeated, which leaves
 * their mean square as it was. */
#include <string.h>

#include "formats/json.h"
#include "formats/meta.h"
#include "formats/tensor_views.h"
#include "surgery/carrier.h"

static bool can(const Model *m, char *why, size_t size) {
    const LayerSpec *l = &m->spec.layers[0];
    bool own = strcmp(m->family->name, "olmoe") == 0;
    if (!(own ? llama_layers : llama_block)(m, why, size)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].q_norm != QK_NORM_FULL || m->spec.layers[i].k_norm != QK_NORM_FULL)
            return cannot(why, size, "has norms over all queries and over all keys");
    if (!all_layers(m, layer_is_global)) return cannot(why, size, "has no windows");
    if (!all_layers(m, layer_is_nope) && !all_layers(m, layer_rotates))
        return cannot(why, size, "rotates in all layers or in none");
    if (!one_rotation(m, NULL)) return cannot(why, size, "has one rope base for all layers");
    if (!plain_multipliers(m)) return cannot(why, size, "has no embedding, residual and logit multipliers");
    if (has_sinks(m)) return cannot(why, size, "has no attention sinks");
    if (l->mlp_bias) return cannot(why, size, "has no biases in the MLP");
    return l->n_heads * l->head_dim == m->spec.hidden_size ||
           cannot(why, size, "has heads that make up the width");
}

/* Without rotation: angles divided by 1e30. */
static LayerSpec rotation(const Model *m) {
    LayerSpec l = m->spec.layers[0];
    if (l.position != POSITION_NOPE) return l;
    l.rotary_dim = l.head_dim;
    l.scaling = rope_stopped(ROPE_SCALING_LINEAR);
    return l;
}

static void write_hf(const Model *m, json_t *config) {
    static const char *const foreign[] = {"head_dim",       "mlp_bias",           "pretraining_tp",
                                          "sliding_window", "use_sliding_window", "max_window_layers",
                                          "layer_types"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        json_object_del(config, foreign[i]);
    config_leave_family(m->family, config);
    config_set_class(config, "OlmoeForCausalLM", "olmoe");
    LayerSpec l = rotation(m);
    config_set_rope(family_by_model_type("olmoe"), config, &l, 0);
    json_object_set_new(config, "num_key_value_heads", json_integer(l.n_kv_heads));
    json_object_set_new(config, "attention_bias", json_boolean(l.q_bias || l.k_bias || l.v_bias || l.o_bias));
    json_object_set_new(config, "tie_word_embeddings", json_boolean(m->spec.tied_head));
    json_object_set_new(config, "num_experts", json_integer(l.n_experts ? l.n_experts : 1));
    json_object_set_new(config, "num_experts_per_tok", json_integer(l.n_experts ? l.top_k : 1));
    json_object_set_new(config, "norm_topk_prob",
                        json_boolean(l.n_experts > 1 && l.routing == ROUTING_OF_CHOSEN));
    json_object_set_new(config, "output_router_logits", json_false());
    config_set_token_ids(config);
}

const Carrier carrier_hf_olmoe = {
    .name = "olmoe",
    .format = FORMAT_HF,
    .says = "one expert is the MLP, norms are over all queries and keys, a rope scaling by 1e30 stops the "
            "rotation",
    .runtimes = "transformers >= 4.45, 5.x",
    .tensors = olmoe_tensors,
    .needs_router = true,
    .needs_o_bias = always,
    .can = can,
    .write_hf = write_hf,
};

/* ---- GGUF ---- */

static bool can_gguf(const Model *m, char *why, size_t size) {
    const LayerSpec *l = &m->spec.layers[0];
    if (l->o_bias) return cannot(why, size, "has no bias after attention");
    if (l->n_experts > 1 && l->routing != ROUTING_OF_ALL)
        return cannot(why, size, "weights experts by a softmax over all");
    return can(m, why, size);
}

static bool is_kv(TensorRole role) {
    return role == ROLE_K || role == ROLE_V || role == ROLE_K_BIAS || role == ROLE_V_BIAS ||
           role == ROLE_K_NORM;
}

static bool repeat_heads(const LayerSpec *l, Arena *a, Tensor *t, Error *e) {
    uint64_t d = l->head_dim, n = l->n_heads * d, group = l->n_heads / l->n_kv_heads;
    if (group == 1) return true;
    if (!tensor_split_rows(a, t, e)) return false;
    uint32_t *index = arena_alloc(a, n * sizeof *index);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t from = i / d / group * d + i % d;
        index[i] = t->row_index ? t->row_index[from] : (uint32_t)from;
    }
    t->row_index = index;
    t->n_rows = t->shape[0] = n;
    return true;
}

static bool adapt(const Model *m, Arena *a, TensorRole role, int layer, Tensor *t, Error *e) {
    return !is_kv(role) || repeat_heads(&m->spec.layers[layer], a, t, e);
}

static void write_gguf(const Model *m, Checkpoint *out) {
    char key[128];
    LayerSpec l = rotation(m);
    gguf_set_rope(m, out, &l);
    meta_set_u32(out, arch_key(key, out, "attention.head_count_kv"), l.n_heads);
    if (!l.n_experts) {
        meta_set_u32(out, arch_key(key, out, "expert_count"), 1);
        meta_set_u32(out, arch_key(key, out, "expert_used_count"), 1);
    }
}

static const char *arch(const Model *m) {
    (void)m;
    return "olmoe";
}

const Carrier carrier_gguf_olmoe = {
    .name = "olmoe",
    .format = FORMAT_GGUF,
    .says = "one expert is the MLP, norms are over all queries and keys, rope.scaling.factor 1e30 stops the "
            "rotation",
    .runtimes = "llama.cpp (autumn 2024 and later)",
    .tensors = olmoe_tensors,
    .needs_router = true,
    .needs_head = true,
    .repeats_kv = true,
    .can = can_gguf,
    .write_gguf = write_gguf,
    .arch = arch,
    .adapt = adapt,
};

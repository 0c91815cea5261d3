/* The carriers olmoe of both formats. OLMoE (arXiv 2409.02060) is Llama's block with experts and with
 * RMSNorms over all queries and over all keys. With a single expert, which the router always chooses, it is
 * the only stock architecture that has such norms and a plain MLP behind pre-norms. It therefore carries the
 * models that DroPE trained with qk_norm.
 *
 * llama.cpp's architecture normalizes keys at full width and so requires as many key/value heads as query
 * heads. The GGUF carrier repeats the heads; that does not change the mean square, so the norm gives the same
 * values. */
#include "formats/json.h"
#include "formats/tensor_views.h"
#include "surgery/arch_write.h"
#include "surgery/carrier.h"
#include "surgery/config_write.h"
#include "surgery/families/families.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"
#include "surgery/rope_frequencies.h"

/* Carrier.can of the HF carrier, and a part of the GGUF one: OLMoE's class has no windows, no multipliers and
 * no attention sinks, and its heads together have hidden_size dimensions. All layers rotate alike or none
 * does. A model of another family has to have plain MLPs, each of which becomes the single expert. */
static bool can(const Model *m, char *why, size_t size) {
    const LayerSpec *l = &m->spec.layers[0];
    bool own = m->family->tensors == olmoe_tensors;
    /* The block. */
    if (!(own ? model_has_standard_layers : model_has_standard_dense_layers)(m, why, size)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].q_norm != QK_NORM_FULL || m->spec.layers[i].k_norm != QK_NORM_FULL)
            return refuse_because(why, size, "requires norms over all queries and over all keys");
    /* Windows and rotation. */
    if (!model_all_layers(m, layer_is_global)) return refuse_because(why, size, "has no windows");
    if (!model_all_layers(m, layer_is_nope) && !model_all_layers(m, layer_rotates))
        return refuse_because(why, size, "rotates in all layers or in none");
    if (!model_has_one_rotation(m, NULL))
        return refuse_because(why, size, "supports only one rope base for all layers");
    /* Whatever else the class lacks. */
    if (!model_has_no_multipliers(m))
        return refuse_because(why, size, "has no embedding, residual and logit multipliers");
    if (model_has_sinks(m)) return refuse_because(why, size, "has no attention sinks");
    if (l->mlp_bias) return refuse_because(why, size, "has no biases in the MLP");
    return l->n_heads * l->head_dim == m->spec.hidden_size ||
           refuse_because(why, size, "requires n_heads * head_dim to be the hidden size");
}

/* The layer that stands for the rotation in the output: the model's own if it rotates, otherwise one whose
 * angles are divided by 1e30, because the class has no key to turn the rotation off. */
static LayerSpec rotation(const Model *m) {
    LayerSpec l = m->spec.layers[0];
    if (l.position != POSITION_NOPE) return l;
    l.rotary_dim = l.head_dim;
    l.scaling = rope_scaling_to_zero(ROPE_SCALING_LINEAR);
    return l;
}

/* Carrier.write_hf: removes keys that would mean something else to this class, then writes the class, the
 * rotation, the shape of attention and the experts. A plain MLP is a single expert, of which one is used.
 * norm_topk_prob is irrelevant for one expert and written as false. */
static void write_hf(const Model *m, json_t *config) {
    static const char *const foreign[] = {"head_dim",       "mlp_bias",           "pretraining_tp",
                                          "sliding_window", "use_sliding_window", "max_window_layers",
                                          "layer_types"};
    /* Remove what the class would understand differently. */
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        json_object_del(config, foreign[i]);
    config_leave_family(m->family, config);
    config_set_class(config, "OlmoeForCausalLM", "olmoe");
    /* The rotation, which divides all angles by 1e30 if no layer rotates. */
    LayerSpec l = rotation(m);
    config_set_rope(family_by_model_type("olmoe"), config, &l, 0);
    json_object_set_new(config, "num_key_value_heads", json_integer(l.n_kv_heads));
    json_object_set_new(config, "attention_bias", json_boolean(l.q_bias || l.k_bias || l.v_bias || l.o_bias));
    json_object_set_new(config, "tie_word_embeddings", json_boolean(m->spec.tied_head));
    /* The experts. */
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
    .since = "4.45",
    .tensors = olmoe_tensors,
    .needs_router = true,
    .needs_o_bias = RULE_ALWAYS,
    .can = can,
    .write_hf = write_hf,
};

/* ---- GGUF ---- */

/* Carrier.can of the GGUF carrier: llama.cpp takes routing weights from a softmax over all experts and does
 * not normalize them. For a single expert both give 1. */
static bool can_gguf(const Model *m, char *why, size_t size) {
    const LayerSpec *l = &m->spec.layers[0];
    if (l->o_bias) return refuse_because(why, size, "has no bias after attention");
    if (l->n_experts > 1 && l->routing != ROUTING_OF_ALL)
        return refuse_because(why, size, "weights experts by a softmax over all");
    return can(m, why, size);
}

/* True for tensors that have rows or elements for each key/value head. */
static bool is_kv(TensorRole role) {
    return role == ROLE_K || role == ROLE_V || role == ROLE_K_BIAS || role == ROLE_V_BIAS ||
           role == ROLE_K_NORM;
}

/* Gives every query head its own copy of its key/value head by an index of rows: row i of head h comes from
 * key/value head h / group. No values are copied until the tensor is written. `t` is [n_kv_heads * head_dim,
 * ...] before and [n_heads * head_dim, ...] after. */
static bool repeat_heads(const LayerSpec *l, Arena *a, Tensor *t, Error *e) {
    uint64_t d = l->head_dim, n = l->n_heads * d, group = l->n_heads / l->n_kv_heads;
    if (group == 1) return true;
    if (!tensor_split_rows(a, t, e)) return false;
    /* A tensor may already be a view with an index of rows, in which case the two are composed. */
    uint32_t *index = arena_alloc(a, n * sizeof *index);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t from = i / d / group * d + i % d;
        index[i] = t->row_index ? t->row_index[from] : (uint32_t)from;
    }
    t->row_index = index;
    t->n_rows = t->shape[0] = n;
    return true;
}

/* Carrier.adapt: called for every tensor when it is written. */
static bool adapt(const Model *m, Arena *a, TensorRole role, int layer, Tensor *t, Error *e) {
    return !is_kv(role) || repeat_heads(&m->spec.layers[layer], a, t, e);
}

/* Carrier.write_gguf: there are as many key/value heads as query heads after `adapt`. A plain MLP is stated
 * as one expert, of which one is used. */
static void write_gguf(const Model *m, Checkpoint *out) {
    LayerSpec l = rotation(m);
    arch_set_rope(m, out, &l);
    /* The heads that `repeat_heads` makes. */
    arch_set_u32(out, "attention.head_count_kv", l.n_heads);
    if (!l.n_experts) {
        arch_set_u32(out, "expert_count", 1);
        arch_set_u32(out, "expert_used_count", 1);
    }
}

const Carrier carrier_gguf_olmoe = {
    .name = "olmoe",
    .format = FORMAT_GGUF,
    .says = "one expert is the MLP, norms are over all queries and keys, rope.scaling.factor 1e30 stops the "
            "rotation",
    .since = "2024-09",
    .tensors = olmoe_tensors,
    .needs_router = true,
    .needs_head = true,
    .repeats_kv = true,
    .can = can_gguf,
    .write_gguf = write_gguf,
    .arch = "olmoe",
    .adapt = adapt,
};

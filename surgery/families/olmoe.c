/* OLMoE (arXiv 2409.02060; transformers' modeling_olmoe.py): Llama's block with RMSNorms over all queries and
 * over all keys, and experts in every layer. Changed models are written by the carriers olmoe of both formats
 * in surgery/carriers/single_expert.c, which also express models of other families as an OLMoE with one
 * expert. */
#include "formats/json.h"
#include "surgery/config_read.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* HfClass.read: the experts, and whether the routing weights of the chosen experts are normalized to a sum of
 * 1 (norm_topk_prob). That equals a softmax over the chosen experts; otherwise the softmax is over all of
 * them. clip_qkv, which clips q, k and v to a range, is not in the spec, so a model that sets it is refused.
 */
static bool read_config(Model *m, const json_t *config, Error *e) {
    const json_t *clip = json_object_get(config, "clip_qkv");
    if (clip && !json_is_null(clip)) return error_set(e, ERR_INPUT, "config.json: clip_qkv is not supported");
    bool among_chosen = false;
    if (!config_read_bool(config, "norm_topk_prob", &among_chosen, e)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].routing = among_chosen ? ROUTING_OF_CHOSEN : ROUTING_OF_ALL;
    return config_read_experts(m, config, "num_experts", e);
}

static const KeyName second_names[] = {{"num_experts", "num_local_experts"}, {NULL, NULL}};

/* The default of norm_topk_prob is false: a softmax over all experts. */
const Family family_olmoe = {
    .name = "olmoe",
    .tensors = olmoe_tensors,
    .model = {.norm_eps = 1e-5, .context = 4096},
    .layer = {.rope_base = 10000,
              .q_norm = QK_NORM_FULL,
              .k_norm = QK_NORM_FULL,
              .n_experts = 64,
              .top_k = 8,
              .routing = ROUTING_OF_ALL},
    .hf = {.model_type = "olmoe",
           .since = "4.45",
           .architecture = "OlmoeForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY,
           .second_names = second_names,
           .reads = "clip_qkv num_experts num_experts_per_tok norm_topk_prob",
           .carrier = "olmoe",
           .read = read_config},
    .gguf = {.arch = "olmoe", .since = "2024-09", .carrier = "olmoe"},
};

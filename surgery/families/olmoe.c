/* OLMoE (arXiv 2409.02060; transformers' modeling_olmoe.py): Llama's block with norms over all queries and
 * over all keys, and experts in every layer. Its carriers, which also express other models, are in
 * surgery/carriers/single_expert.c. */
#include "formats/json.h"
#include "surgery/config_read.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* norm_topk_prob says whether the weights of the chosen experts add up to 1, which is a softmax over the
 * chosen. */
static bool read_config(Model *m, const json_t *config, Error *e) {
    const json_t *clip = json_object_get(config, "clip_qkv");
    if (clip && !json_is_null(clip)) return error_set(e, ERR_INPUT, "config.json: clip_qkv is not supported");
    bool among_chosen = false;
    if (!config_read_bool(config, "norm_topk_prob", &among_chosen, e)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].routing = among_chosen ? ROUTING_OF_CHOSEN : ROUTING_OF_ALL;
    return config_read_experts(m, config, "num_experts", e);
}

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
           .carrier = "olmoe",
           .read = read_config},
    .gguf = {.arch = "olmoe", .since = "2024-09", .carrier = "olmoe"},
};

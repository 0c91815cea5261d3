/* Mixtral (arXiv 2401.04088; transformers' modeling_mixtral.py): Mistral's block with experts in every layer.
 * Each token passes through two of them, with routing weights from a softmax over these two. llama.cpp runs
 * it under the architecture "llama", where the key expert_count distinguishes it; family_by_gguf_arch finds
 * this family by that. */
#include "formats/json.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* In HF's files each expert has a tensor of its own (%e); in a GGUF all experts of a layer lie in one. */
#define OF_EXPERT(role, hf, gguf)                                                                            \
    TENSOR_OF_EXPERTS(role, "model.layers.%d.block_sparse_moe.experts.%e." hf ".weight",                     \
                      "blk.%d." gguf "_exps.weight")

/* Mixtral keeps the names of Llama's original code: w1 is gate, w3 is up and w2 is down. */
static const TensorName tensors[] = {
    EMBED_AND_HEAD,
    INPUT_NORM,
    ATTENTION_TENSORS,
    POST_ATTENTION_FFN_NORM,
    TENSOR(ROLE_ROUTER, "model.layers.%d.block_sparse_moe.gate.weight", "blk.%d.ffn_gate_inp.weight"),
    OF_EXPERT(ROLE_GATE, "w1", "ffn_gate"),
    OF_EXPERT(ROLE_UP, "w3", "ffn_up"),
    OF_EXPERT(ROLE_DOWN, "w2", "ffn_down"),
    FINAL_NORM,
    TENSORS_END,
};

/* HfClass.read: one window for all layers, or none if sliding_window is null, as in the published models; and
 * the number of experts. */
static bool read_config(Model *m, const json_t *config, Error *e) {
    /* 0 if the key is absent. */
    uint32_t window = 0;
    if (!config_read_window(config, "sliding_window", &window, e)) return false;
    spec_set_windows(&m->spec, window, 0);
    return config_read_experts(m, config, "num_local_experts", e);
}

/* HfClass.write: called only where layers changed, or where there is no config.json to keep because the
 * source is a GGUF. Without a window the key is written as null. */
static void write_config(const Model *m, json_t *config) {
    uint32_t window = m->spec.layers[0].window;
    json_object_set_new(config, "sliding_window", window ? json_integer(window) : json_null());
    config_set_experts(m, config, "num_local_experts");
}

static const KeyName second_names[] = {{"num_local_experts", "num_experts"}, {NULL, NULL}};

/* llama.cpp's "llama" has no windows, so a model becomes a GGUF only if its window hides nothing. */
const Family family_mixtral = {
    .name = "mixtral",
    .tensors = tensors,
    .model = {.norm_eps = 1e-5, .context = 131072},
    .layer = {.rope_base = 1000000, .n_kv_heads = 8, .n_experts = 8, .top_k = 2},
    .hf = {.model_type = "mixtral",
           .since = "4.36",
           .architecture = "MixtralForCausalLM",
           .second_names = second_names,
           .reads = "sliding_window num_local_experts num_experts_per_tok",
           .read = read_config,
           .can = model_has_one_window,
           .write = write_config},
    .gguf = {.arch = "llama",
             .since = "2023-12",
             .quirks = GGUF_INTERLEAVED_ROPE,
             .rope_scalings = 1u << ROPE_SCALING_LLAMA3},
};

/* Llama (arXiv 2302.13971; transformers' modeling_llama.py) and the many models that are published in its
 * shape, such as SmolLM, TinyLlama and Yi. Mistral (arXiv 2310.06825) adds a window to all layers, Ministral
 * to some of them. Other families are described by how they differ from this block: RMSNorm before attention
 * and before a SwiGLU MLP, one after the other, and rotation of whole heads in every layer. */
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* transformers pairs row i of a head with row i + head_dim/2 when it rotates; llama.cpp's "llama" pairs rows
 * 2i and 2i+1, so q and k are permuted on conversion (GGUF_INTERLEAVED_ROPE). */
const Family family_llama = {
    .name = "llama",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 2048},
    .layer = {.rope_base = 10000},
    .hf = {.model_type = "llama",
           .since = "4.28",
           .architecture = "LlamaForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY | HF_MLP_BIAS_KEY},
    .gguf = {.arch = "llama",
             .since = "2023-08",
             .quirks = GGUF_INTERLEAVED_ROPE,
             .rope_scalings = 1u << ROPE_SCALING_LLAMA3},
};

/* HfClass.read of Mistral: all layers have the window. Llama has no such hook: transformers ignores the key
 * sliding_window in a Llama's configuration, and so does derope. */
static bool read_mistral(Model *m, const json_t *config, Error *e) {
    /* the default of MistralConfig */
    uint32_t window = 4096;
    if (!config_read_window(config, "sliding_window", &window, e)) return false;
    spec_set_windows(&m->spec, window, 0);
    return true;
}

/* llama.cpp runs Mistral as "llama", and a GGUF does not distinguish the two, so both have the name "llama".
 * This constant exists for the defaults and the window of Mistral's configuration class. */
const Family family_mistral = {
    .name = "llama",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 131072},
    .layer = {.rope_base = 10000, .n_kv_heads = 8},
    .hf = {.model_type = "mistral",
           .since = "4.34",
           .architecture = "MistralForCausalLM",
           .reads = "sliding_window",
           .quirks = HF_HEAD_DIM_KEY,
           .read = read_mistral},
    .gguf = {.arch = "llama",
             .since = "2023-10",
             .quirks = GGUF_INTERLEAVED_ROPE,
             .rope_scalings = 1u << ROPE_SCALING_LLAMA3},
};

/* HfClass.read of Ministral: Mistral's window, except in layers that layer_types lists as "full_attention".
 */
static bool read_ministral(Model *m, const json_t *config, Error *e) {
    return read_mistral(m, config, e) && config_read_layer_types(m, config, m->spec.layers[0].window, e);
}

/* HfClass.write of Ministral: layer_types, and sliding_window, which becomes null if no layer has a window.
 */
static void write_ministral(const Model *m, json_t *config) {
    config_set_layer_types(m, config, 0);
}

const Family family_ministral = {
    .name = "ministral",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 131072},
    .layer = {.rope_base = 10000, .n_kv_heads = 8},
    .hf = {.model_type = "ministral",
           .since = "4.57",
           .architecture = "MinistralForCausalLM",
           .reads = "sliding_window layer_types",
           .quirks = HF_HEAD_DIM_KEY,
           .read = read_ministral,
           .can = model_has_one_window_size,
           .write = write_ministral},
    .gguf = {.arch = "llama",
             .since = "2023-10",
             .quirks = GGUF_INTERLEAVED_ROPE,
             .rope_scalings = 1u << ROPE_SCALING_LLAMA3},
};

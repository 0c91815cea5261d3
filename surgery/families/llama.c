/* Llama (arXiv 2302.13971; transformers' modeling_llama.py) and what is published in its shape: SmolLM,
 * TinyLlama, Yi and others. Mistral (arXiv 2310.06825) adds a window to all layers, Ministral to some. */
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

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

/* All layers have the window. A key of that name in a Llama's configuration is ignored, as transformers
 * ignores it. */
static bool read_mistral(Model *m, const json_t *config, Error *e) {
    uint32_t window = 4096;
    if (!config_read_window(config, "sliding_window", &window, e)) return false;
    spec_set_windows(&m->spec, window, 0);
    return true;
}

/* llama.cpp runs it as "llama", and a GGUF does not tell the two apart, so they have one name; the class has
 * defaults of its own. */
const Family family_mistral = {
    .name = "llama",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 131072},
    .layer = {.rope_base = 10000, .n_kv_heads = 8},
    .hf = {.model_type = "mistral",
           .since = "4.34",
           .architecture = "MistralForCausalLM",
           .quirks = HF_HEAD_DIM_KEY,
           .read = read_mistral},
    .gguf = {.arch = "llama",
             .since = "2023-10",
             .quirks = GGUF_INTERLEAVED_ROPE,
             .rope_scalings = 1u << ROPE_SCALING_LLAMA3},
};

/* layer_types may take the window away from some layers. */
static bool read_ministral(Model *m, const json_t *config, Error *e) {
    return read_mistral(m, config, e) && config_read_layer_types(m, config, m->spec.layers[0].window, e);
}

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
           .quirks = HF_HEAD_DIM_KEY,
           .read = read_ministral,
           .can = model_has_one_window_size,
           .write = write_ministral},
    .gguf = {.arch = "llama",
             .since = "2023-10",
             .quirks = GGUF_INTERLEAVED_ROPE,
             .rope_scalings = 1u << ROPE_SCALING_LLAMA3},
};

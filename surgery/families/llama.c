/* Llama, and what is published in its shape: SmolLM, TinyLlama, Yi, ...; Mistral, which adds a window; and
 * Ministral, which may have it in some layers only. */

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

/* A window in every layer; a Llama config's key of that name is ignored everywhere. */
static bool read_mistral(Model *m, const json_t *config, Error *e) {
    uint32_t window = 4096;
    if (!config_read_window(config, "sliding_window", &window, e)) return false;
    spec_set_windows(&m->spec, window, 0);
    return true;
}

/* The same family under another model type, which has defaults of its own. */
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

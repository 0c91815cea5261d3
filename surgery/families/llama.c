/* Llama, and what is published in its shape: SmolLM, TinyLlama, Yi, ...; Mistral, which adds a window; and
 * Ministral, which may have it in some layers only. */
#include "surgery/carrier.h"
#include "surgery/families/tensors.h"

const TensorName llama_tensors[] = {
    EMBED_AND_HEAD, INPUT_NORM, ATTENTION_TENSORS, POST_ATTENTION_FFN_NORM,
    MLP_TENSORS,    FINAL_NORM, TENSORS_END,
};

const Family family_llama = {
    .name = "llama",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 2048},
    .layer = {.rope_base = 10000},
    .hf = {.model_type = "llama",
           .architecture = "LlamaForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY | HF_MLP_BIAS_KEY},
    .gguf = {.arch = "llama", .quirks = GGUF_INTERLEAVED_ROPE, .rope_scalings = 1u << ROPE_SCALING_LLAMA3},
};

/* A window in every layer; a Llama config's key of that name is ignored everywhere. */
static bool read_mistral(Model *m, const json_t *config, Error *e) {
    uint32_t window = 4096;
    if (!config_window(config, "sliding_window", &window, e)) return false;
    set_window_pattern(m, window, 0);
    return true;
}

/* The same family under another model type, which has defaults of its own. */
const Family family_mistral = {
    .name = "llama",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 131072},
    .layer = {.rope_base = 10000, .n_kv_heads = 8},
    .hf = {.model_type = "mistral",
           .architecture = "MistralForCausalLM",
           .quirks = HF_HEAD_DIM_KEY,
           .read = read_mistral},
    .gguf = {.arch = "llama", .quirks = GGUF_INTERLEAVED_ROPE, .rope_scalings = 1u << ROPE_SCALING_LLAMA3},
};

static bool read_ministral(Model *m, const json_t *config, Error *e) {
    return read_mistral(m, config, e) && read_layer_types(m, config, m->spec.layers[0].window, e);
}

static void write_ministral(const Model *m, json_t *config) {
    write_layer_types(m, config, 0);
}

const Family family_ministral = {
    .name = "ministral",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 131072},
    .layer = {.rope_base = 10000, .n_kv_heads = 8},
    .hf = {.model_type = "ministral",
           .architecture = "MinistralForCausalLM",
           .quirks = HF_HEAD_DIM_KEY,
           .read = read_ministral,
           .can = one_window_size,
           .write = write_ministral},
    .gguf = {.arch = "llama", .quirks = GGUF_INTERLEAVED_ROPE, .rope_scalings = 1u << ROPE_SCALING_LLAMA3},
};

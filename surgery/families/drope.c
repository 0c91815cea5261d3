/* Checkpoints of DroPE's own code (arXiv 2512.12167): Llama or Qwen2 under a model type of its own, in which
 * no layer rotates, the softmax scale may differ from 1/sqrt(head_dim), and RMSNorms may have been added on
 * queries, keys or both. transformers can load them only with trust_remote_code, so this file only reads
 * them; every output is written for a stock class (HF_CUSTOM_CODE). */
#include <math.h>
#include <string.h>

#include "formats/json.h"
#include "surgery/config_read.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* HfClass.read of both families: drops the rotation of every layer, and applies attention_type, which says
 * which norms were added (over all heads together, QK_NORM_FULL), and softmax_scale, which replaces
 * 1/sqrt(head_dim). */
static bool read_config(Model *m, const json_t *config, Error *e) {
    static const struct {
        const char *name;
        QkNorm q, k;
    } types[] = {{"nope", QK_NORM_NONE, QK_NORM_NONE},
                 {"qk_norm_nope", QK_NORM_FULL, QK_NORM_FULL},
                 {"q_norm_nope", QK_NORM_FULL, QK_NORM_NONE},
                 {"k_norm_nope", QK_NORM_NONE, QK_NORM_FULL}};
    /* The kind of attention. Without the key it is "nope", the first in the table. */
    const char *type = json_get_string(config, "attention_type");
    double scale = m->spec.layers[0].softmax_scale;
    size_t kind = 0;
    while (type && kind < 4 && strcmp(types[kind].name, type) != 0)
        kind++;
    if (kind == 4)
        return error_set(e, ERR_INPUT,
                         "config.json: attention_type '%.40s' is not one of nope, qk_norm_nope, q_norm_nope, "
                         "k_norm_nope",
                         type);
    /* The softmax scale, which has to be positive. NaN fails this test as well. */
    if (!config_read_real(config, "softmax_scale", &scale, e)) return false;
    if (!(scale > 0)) return error_set(e, ERR_INPUT, "config.json: softmax_scale is %g", scale);
    /* All layers are alike. */
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        layer_drop_rope(&m->spec.layers[i]);
        m->spec.layers[i].softmax_scale = scale;
        m->spec.layers[i].q_norm = types[kind].q;
        m->spec.layers[i].k_norm = types[kind].k;
    }
    return true;
}

/* Keys that only DroPE's classes read. Outputs are written for stock classes and must not keep them
 * (config_leave_family). */
static const char *const private_keys[] = {"attention_type", "softmax_scale", NULL};

/* Both families have the name of the stock family that they derive from, because outputs are written as that
 * one (family_stock). */
const Family family_llama_drope = {
    .name = "llama",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 2048},
    .layer = {.rope_base = 10000},
    .hf = {.model_type = "llama_drope",
           .private_keys = private_keys,
           .reads = "attention_type softmax_scale",
           .quirks = HF_ATTENTION_BIAS_KEY | HF_MLP_BIAS_KEY | HF_CUSTOM_CODE,
           .read = read_config},
    .gguf = {.arch = "llama", .since = "2023-08", .quirks = GGUF_INTERLEAVED_ROPE},
};

/* Defaults of Qwen2's class. */
const Family family_qwen2_drope = {
    .name = "qwen2",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 32768},
    .layer = {.rope_base = 10000, .n_kv_heads = 32, .q_bias = true, .k_bias = true, .v_bias = true},
    .hf = {.model_type = "qwen2_drope",
           .private_keys = private_keys,
           .reads = "attention_type softmax_scale",
           .ignores = "use_sliding_window sliding_window max_window_layers",
           .quirks = HF_CUSTOM_CODE,
           .read = read_config},
    .gguf = {.arch = "qwen2", .since = "2024-01"},
};

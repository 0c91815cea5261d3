/* Gemma 1, 2, 3 (text): embeddings times sqrt(width), norms that multiply by 1 + weight, GeGLU. From 2 on norms
 * after attention and MLP too, and windows in between; 2 has soft caps, 3 has norms of queries and keys and a
 * rope base of its own in the windowed layers. */
#include <math.h>

#include "formats/json.h"
#include "surgery/family.h"

static const TensorName sandwich_tensors[] = {
    TENSOR(ROLE_EMBED, "model.embed_tokens.weight", "token_embd.weight"),
    TENSOR(ROLE_ATTN_NORM, "model.layers.%d.input_layernorm.weight", "blk.%d.attn_norm.weight"),
    TENSOR(ROLE_Q, "model.layers.%d.self_attn.q_proj.weight", "blk.%d.attn_q.weight"),
    TENSOR(ROLE_K, "model.layers.%d.self_attn.k_proj.weight", "blk.%d.attn_k.weight"),
    TENSOR(ROLE_V, "model.layers.%d.self_attn.v_proj.weight", "blk.%d.attn_v.weight"),
    TENSOR(ROLE_O, "model.layers.%d.self_attn.o_proj.weight", "blk.%d.attn_output.weight"),
    TENSOR(ROLE_Q_NORM, "model.layers.%d.self_attn.q_norm.weight", "blk.%d.attn_q_norm.weight"),
    TENSOR(ROLE_K_NORM, "model.layers.%d.self_attn.k_norm.weight", "blk.%d.attn_k_norm.weight"),
    TENSOR(ROLE_ATTN_POST_NORM, "model.layers.%d.post_attention_layernorm.weight",
           "blk.%d.post_attention_norm.weight"),
    TENSOR(ROLE_FFN_NORM, "model.layers.%d.pre_feedforward_layernorm.weight", "blk.%d.ffn_norm.weight"),
    TENSOR(ROLE_GATE, "model.layers.%d.mlp.gate_proj.weight", "blk.%d.ffn_gate.weight"),
    TENSOR(ROLE_UP, "model.layers.%d.mlp.up_proj.weight", "blk.%d.ffn_up.weight"),
    TENSOR(ROLE_DOWN, "model.layers.%d.mlp.down_proj.weight", "blk.%d.ffn_down.weight"),
    TENSOR(ROLE_FFN_POST_NORM, "model.layers.%d.post_feedforward_layernorm.weight",
           "blk.%d.post_ffw_norm.weight"),
    TENSOR(ROLE_FINAL_NORM, "model.norm.weight", "output_norm.weight"),
    TENSOR(ROLE_HEAD, "lm_head.weight", "output.weight"),
    TENSORS_END,
};

static bool scale_embeddings(Model *m) {
    m->spec.embedding_scale = sqrt(m->spec.width);
    return true;
}

static bool read_config(Model *m, const json_t *config, Error *e) {
    (void)config, (void)e;
    return scale_embeddings(m);
}

static bool read_gguf(Model *m, const Checkpoint *c, Error *e) {
    (void)c, (void)e;
    return scale_embeddings(m);
}

static bool read_softcaps(Model *m, const json_t *config, double attention, double logits, Error *e) {
    double scalar = 256;
    const json_t *a = json_object_get(config, "attn_logit_softcapping"),
                 *l = json_object_get(config, "final_logit_softcapping");
    if (json_is_null(a)) attention = 0;
    if (json_is_null(l)) logits = 0;
    if (!config_real(config, "attn_logit_softcapping", &attention, e) ||
        !config_real(config, "final_logit_softcapping", &logits, e) ||
        !config_real(config, "query_pre_attn_scalar", &scalar, e))
        return false;
    if (!(scalar > 0) || attention < 0 || logits < 0)
        return error_set(e, ERR_INPUT, "config.json: query_pre_attn_scalar %g, soft caps %g and %g", scalar,
                         attention, logits);
    m->spec.logit_softcap = logits;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        m->spec.layers[i].softcap = attention;
        m->spec.layers[i].softmax_scale = 1 / sqrt(scalar);
    }
    return scale_embeddings(m);
}

static bool read_windows(Model *m, const json_t *config, uint64_t every, Error *e) {
    uint32_t window = 4096;
    json_get_u64(config, "sliding_window_pattern", &every);
    if (!config_window(config, "sliding_window", &window, e)) return false;
    set_window_pattern(m, window, every);
    return read_layer_types(m, config, window, e);
}

static bool read_config2(Model *m, const json_t *config, Error *e) {
    return read_softcaps(m, config, 50, 30, e) && read_windows(m, config, 2, e);
}

/* Windowed layers rotate by a base of their own, unscaled. */
static bool read_config3(Model *m, const json_t *config, Error *e) {
    double local = 10000;
    if (!read_softcaps(m, config, 0, 0, e) || !read_windows(m, config, 6, e) ||
        !config_real(config, "rope_local_base_freq", &local, e))
        return false;
    if (!(local > 0)) return error_set(e, ERR_INPUT, "config.json: rope_local_base_freq is %g", local);
    bool per_type = json_is_object(json_object_get(json_object_get(config, "rope_parameters"), "sliding_attention"));
    for (uint32_t i = 0; i < m->spec.n_layers && !per_type; i++) {
        LayerSpec *l = &m->spec.layers[i];
        if (!l->window) continue;
        l->rope_base = local;
        l->scaling = (RopeScaling){0};
    }
    return true;
}

/* llama.cpp knows the 27B models by their number of layers, and scales those by the width. */
static double gguf_softmax_scale(const ModelSpec *s, uint32_t layers_of_27b) {
    const LayerSpec *l = &s->layers[0];
    return 1 / sqrt(s->n_layers == layers_of_27b ? s->width / l->n_heads : l->head_dim);
}

static bool read_gguf_windows(Model *m, const Checkpoint *c, uint32_t window, uint64_t every, uint32_t layers_of_27b,
                              Error *e) {
    char key[128];
    uint64_t stated;
    if (meta_u64(c, arch_key(key, c, "attention.sliding_window"), &stated)) window = (uint32_t)stated;
    double scale = gguf_softmax_scale(&m->spec, layers_of_27b);
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].softmax_scale = scale;
    if (window) set_window_pattern(m, window, every);
    return arch_real(c, "final_logit_softcapping", &m->spec.logit_softcap, e) && scale_embeddings(m);
}

static bool read_gguf2(Model *m, const Checkpoint *c, Error *e) {
    double cap = 50;
    m->spec.logit_softcap = 30;
    if (!arch_real(c, "attn_logit_softcapping", &cap, e) || !read_gguf_windows(m, c, 4096, 2, 46, e)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].softcap = cap;
    return true;
}

static bool read_gguf3(Model *m, const Checkpoint *c, Error *e) {
    double local = 10000;
    if (!read_gguf_windows(m, c, 0, 6, 62, e) || !arch_real(c, "rope.freq_base_swa", &local, e)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        LayerSpec *l = &m->spec.layers[i];
        if (!l->window) continue;
        l->rope_base = local;
        l->scaling = (RopeScaling){0};
    }
    return true;
}

const Family family_gemma = {
    .name = "gemma",
    .model_types = (const char *const[]){"gemma", NULL},
    .gguf_archs = (const char *const[]){"gemma", NULL},
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 8192, .tied_head = true, .norm_of_one = true},
    .layer = {.rope_base = 10000, .n_kv_heads = 16, .head_dim = 256, .activation = ACT_GELU_TANH},
    .attention_bias_key = true,
    .read_config = read_config,
    .read_gguf = read_gguf,
};

static const KeyName gemma_keys[] = {{"hidden_act", "hidden_activation"}, {NULL, NULL}};

const Family family_gemma2 = {
    .name = "gemma2",
    .model_types = (const char *const[]){"gemma2", NULL},
    .gguf_archs = (const char *const[]){"gemma2", NULL},
    .tensors = sandwich_tensors,
    .keys = gemma_keys,
    .model = {.norm_eps = 1e-6, .context = 8192, .tied_head = true, .norm_of_one = true},
    .layer = {.rope_base = 10000,
              .n_kv_heads = 4,
              .head_dim = 256,
              .activation = ACT_GELU_TANH,
              .post_norms = true},
    .attention_bias_key = true,
    .read_config = read_config2,
    .read_gguf = read_gguf2,
};

const Family family_gemma3 = {
    .name = "gemma3_text",
    .model_types = (const char *const[]){"gemma3_text", NULL},
    .gguf_archs = (const char *const[]){"gemma3", NULL},
    .tensors = sandwich_tensors,
    .keys = gemma_keys,
    .model = {.norm_eps = 1e-6, .context = 131072, .tied_head = true, .norm_of_one = true},
    .layer = {.rope_base = 1000000,
              .n_kv_heads = 4,
              .head_dim = 256,
              .activation = ACT_GELU_TANH,
              .post_norms = true,
              .qk_norm = QK_NORM_HEAD},
    .attention_bias_key = true,
    .read_config = read_config3,
    .read_gguf = read_gguf3,
};

/* Families with LayerNorm instead of RMSNorm, most of them with biases and with rotation of only a part of
 * each head: GPT-NeoX and Pythia (arXiv 2204.06745), StableLM 2 (arXiv 2402.17834) and Falcon (arXiv
 * 2311.16867), after transformers' modeling_gpt_neox.py, modeling_stablelm.py and modeling_falcon.py. In all
 * three, attention and MLP may be in parallel, behind one norm or two; each reader finds out which from its
 * format. */
#include <math.h>

#include "formats/json.h"
#include "surgery/arch_keys.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* ---- GPT-NeoX: attention and MLP side by side, each behind its own norm; q, k, v per head ---- */

/* HF's tensor has q, k and v of one head (of one group of heads in Falcon) after each other, then those of
 * the next; llama.cpp's has all of q, all of k, all of v. `kind` is ".weight" or ".bias". */
#define HEADWISE_QKV(hf, kind, q, k, v)                                                                      \
    TENSOR_FUSED(q, hf kind, FUSED_QKV_GROUPS, "blk.%d.attn_qkv" kind, FUSED_QKV),                           \
        TENSOR_FUSED(k, hf kind, FUSED_QKV_GROUPS, "blk.%d.attn_qkv" kind, FUSED_QKV),                       \
        TENSOR_FUSED(v, hf kind, FUSED_QKV_GROUPS, "blk.%d.attn_qkv" kind, FUSED_QKV)
/* The tensors of a block without its norms: attention's names begin with `hf`, those of the MLP with `mlp`.
 * GPT-NeoX and Falcon share them. */
#define HEADWISE_BLOCK(hf, mlp)                                                                              \
    HEADWISE_QKV(hf ".query_key_value", ".weight", ROLE_Q, ROLE_K, ROLE_V),                                  \
        HEADWISE_QKV(hf ".query_key_value", ".bias", ROLE_Q_BIAS, ROLE_K_BIAS, ROLE_V_BIAS),                 \
        WITH_BIAS(ROLE_O, ROLE_O_BIAS, hf ".dense", "blk.%d.attn_output"),                                   \
        WITH_BIAS(ROLE_UP, ROLE_UP_BIAS, mlp ".dense_h_to_4h", "blk.%d.ffn_up"),                             \
        WITH_BIAS(ROLE_DOWN, ROLE_DOWN_BIAS, mlp ".dense_4h_to_h", "blk.%d.ffn_down")

/* embed_in and embed_out are never tied in GPT-NeoX's published models. */
static const TensorName neox_tensors[] = {
    TENSOR(ROLE_EMBED, "gpt_neox.embed_in.weight", "token_embd.weight"),
    WITH_BIAS(ROLE_ATTN_NORM, ROLE_ATTN_NORM_BIAS, "gpt_neox.layers.%d.input_layernorm", "blk.%d.attn_norm"),
    WITH_BIAS(ROLE_FFN_NORM, ROLE_FFN_NORM_BIAS, "gpt_neox.layers.%d.post_attention_layernorm",
              "blk.%d.ffn_norm"),
    HEADWISE_BLOCK("gpt_neox.layers.%d.attention", "gpt_neox.layers.%d.mlp"),
    WITH_BIAS(ROLE_FINAL_NORM, ROLE_FINAL_NORM_BIAS, "gpt_neox.final_layer_norm", "output_norm"),
    TENSOR(ROLE_HEAD, "embed_out.weight", "output.weight"),
    TENSORS_END,
};

/* GPT-NeoX's own names for the rope base and for the fraction of head_dim that rotates. */
static const KeyName neox_keys[] = {
    {"rope_theta", "rotary_emb_base"}, {"partial_rotary_factor", "rotary_pct"}, {NULL, NULL}};

/* Sets the residual layout of every layer; in these families it is one for the whole model. */
static void set_residual_layout(Model *m, ResidualLayout residual_layout) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].residual_layout = residual_layout;
}

/* HfClass.read of GPT-NeoX: use_parallel_residual, which is true by default, says that attention and MLP both
 * read the layer's input, each behind its own norm. */
static bool read_neox(Model *m, const json_t *config, Error *e) {
    (void)e;
    bool parallel = true;
    json_get_bool(config, "use_parallel_residual", &parallel);
    set_residual_layout(m, parallel ? RESIDUAL_PARALLEL : RESIDUAL_SEQUENTIAL);
    return true;
}

/* GgufArch.read of GPT-NeoX: llama.cpp has no default for use_parallel_residual and requires the key. */
static bool read_neox_gguf(Model *m, const Checkpoint *c, Error *e) {
    bool parallel;
    if (!arch_get_bool(c, "use_parallel_residual", &parallel))
        return arch_error(e, c, "use_parallel_residual", " is missing");
    set_residual_layout(m, parallel ? RESIDUAL_PARALLEL : RESIDUAL_SEQUENTIAL);
    return true;
}

/* True if attention and MLP are in parallel, with one norm or with two. */
static bool is_parallel(const Model *m) {
    return m->spec.layers[0].residual_layout != RESIDUAL_SEQUENTIAL;
}

/* GgufArch.can of GPT-NeoX: llama.cpp requires the biases of attention, and has no windows. */
static bool neox_gguf_can(const Model *m, char *why, size_t size) {
    if (!m->spec.layers[0].q_bias) return refuse_because(why, size, "needs biases in attention");
    return model_all_layers(m, layer_is_global) || refuse_because(why, size, "has no windows per layer");
}

/* HfClass.write of GPT-NeoX, and a part of StableLM's. */
static void write_parallel(const Model *m, json_t *config) {
    json_object_set_new(config, "use_parallel_residual", json_boolean(is_parallel(m)));
}

/* GgufArch.write of both, where the key has the same name. */
static void write_gguf_parallel(const Model *m, Checkpoint *out) {
    arch_set_bool(out, "use_parallel_residual", is_parallel(m));
}

/* rotary_pct defaults to 0.25, which Pythia has. */
const Family family_gpt_neox = {
    .name = "gpt_neox",
    .tensors = neox_tensors,
    .model = {.norm = NORM_LAYER, .norm_bias = true, .norm_eps = 1e-5, .context = 2048},
    .layer = {.rope_base = 10000,
              .residual_layout = RESIDUAL_PARALLEL,
              .activation = ACT_GELU,
              .no_gate = true,
              .q_bias = true,
              .k_bias = true,
              .v_bias = true,
              .o_bias = true,
              .mlp_bias = true},
    .rotary_part = 0.25,
    .hf = {.model_type = "gpt_neox",
           .since = "4.20",
           .architecture = "GPTNeoXForCausalLM",
           .keys = neox_keys,
           .reads = "use_parallel_residual",
           .quirks = HF_PARTIAL_ROTARY_KEY | HF_ATTENTION_BIAS_KEY | HF_OWN_HEAD_DIM,
           .read = read_neox,
           .write = write_parallel},
    .gguf = {.arch = "gptneox",
             .since = "2024-05",
             .quirks = GGUF_NEEDS_HEAD,
             .read = read_neox_gguf,
             .can = neox_gguf_can,
             .write = write_gguf_parallel},
};

/* ---- StableLM 2 ---- */

/* HfClass.read of StableLM: biases of q, k and v, and the residual layout, which in parallel has one norm for
 * both branches. StableLM 2 12B has a LayerNorm with weights of its own for every head (qk_layernorm), which
 * the spec cannot state, so it is refused. */
static bool read_stablelm(Model *m, const json_t *config, Error *e) {
    bool bias = false, parallel = false, qk_norm = false;
    json_get_bool(config, "use_qkv_bias", &bias);
    json_get_bool(config, "use_parallel_residual", &parallel);
    json_get_bool(config, "qk_layernorm", &qk_norm);
    if (qk_norm)
        return error_set(e, ERR_INPUT,
                         "config.json: qk_layernorm: a norm of its own for every head is not supported");
    set_residual_layout(m, parallel ? RESIDUAL_PARALLEL_SHARED_NORM : RESIDUAL_SEQUENTIAL);
    /* Biases are the same in all layers. */
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        LayerSpec *l = &m->spec.layers[i];
        l->q_bias = l->k_bias = l->v_bias = bias;
    }
    return true;
}

/* GgufArch.read of StableLM: llama.cpp does not read use_parallel_residual here but looks whether there is a
 * norm in front of the MLP; without one the branches are in parallel and share attention's norm. */
static bool read_stablelm_gguf(Model *m, const Checkpoint *c, Error *e) {
    (void)e;
    set_residual_layout(m, checkpoint_find(c, "blk.0.ffn_norm.weight") ? RESIDUAL_SEQUENTIAL
                                                                       : RESIDUAL_PARALLEL_SHARED_NORM);
    return true;
}

/* HfClass.write of StableLM: the layout, and whether q, k and v have biases. */
static void write_stablelm(const Model *m, json_t *config) {
    write_parallel(m, config);
    json_object_set_new(config, "use_qkv_bias", json_boolean(m->spec.layers[0].q_bias));
}

/* The table is Llama's: its rows have biases for the LayerNorms, and the gate that GPT-NeoX lacks. */
const Family family_stablelm = {
    .name = "stablelm",
    .tensors = llama_tensors,
    .model = {.norm = NORM_LAYER, .norm_bias = true, .norm_eps = 1e-5, .context = 4096},
    .layer = {.rope_base = 10000, .n_kv_heads = 32},
    .rotary_part = 0.25,
    .hf = {.model_type = "stablelm",
           .since = "4.38",
           .architecture = "StableLmForCausalLM",
           .reads = "use_qkv_bias qk_layernorm use_parallel_residual",
           .quirks = HF_PARTIAL_ROTARY_KEY | HF_NO_O_BIAS | HF_OWN_HEAD_DIM,
           .read = read_stablelm,
           .write = write_stablelm},
    .gguf = {.arch = "stablelm",
             .since = "2024-01",
             .quirks = GGUF_NEEDS_HEAD,
             .read = read_stablelm_gguf,
             .write = write_gguf_parallel},
};

/* ---- Falcon (those that rotate): one or two norms in front of parallel branches ---- */

/* The name of the norm in front of attention depends on the layout. With two norms (Falcon 40B), HF has
 * ln_attn and ln_mlp, which llama.cpp calls attn_norm_2 and attn_norm; with one norm (7B), HF has
 * input_layernorm, which is llama.cpp's attn_norm. post_attention_layernorm belongs to the sequential layout,
 * which llama.cpp lacks. */
static const TensorName falcon_tensors[] = {
    TENSOR(ROLE_EMBED, "transformer.word_embeddings.weight", "token_embd.weight"),
    WITH_BIAS(ROLE_ATTN_NORM, ROLE_ATTN_NORM_BIAS, "transformer.h.%d.ln_attn", "blk.%d.attn_norm_2"),
    WITH_BIAS(ROLE_FFN_NORM, ROLE_FFN_NORM_BIAS, "transformer.h.%d.ln_mlp", "blk.%d.attn_norm"),
    WITH_BIAS(ROLE_ATTN_NORM, ROLE_ATTN_NORM_BIAS, "transformer.h.%d.input_layernorm", "blk.%d.attn_norm"),
    TENSOR(ROLE_FFN_NORM, "transformer.h.%d.post_attention_layernorm.weight", ""),
    TENSOR(ROLE_FFN_NORM_BIAS, "transformer.h.%d.post_attention_layernorm.bias", ""),
    HEADWISE_BLOCK("transformer.h.%d.self_attention", "transformer.h.%d.mlp"),
    WITH_BIAS(ROLE_FINAL_NORM, ROLE_FINAL_NORM_BIAS, "transformer.ln_f", "output_norm"),
    TENSOR(ROLE_HEAD, "lm_head.weight", "output.weight"),
    TENSORS_END,
};

/* Falcon's own names for common keys. */
static const KeyName falcon_keys[] = {{"layer_norm_eps", "layer_norm_epsilon"},
                                      {"hidden_act", "activation"},
                                      {"num_key_value_heads", "num_kv_heads"},
                                      {"intermediate_size", "ffn_hidden_size"},
                                      {NULL, NULL}};

/* Keys that transformers' class computes from others, so that it fails where a file has them. */
static const KeyLimit falcon_limits[] = {{"rotary", NAN, "transformers fails on this key (alibi says it)"},
                                         {"head_dim", NAN, "transformers fails on this key"},
                                         {NULL, 0, NULL}};

/* An older name of the width. */
static const KeyName falcon_second_names[] = {{"hidden_size", "n_embed"}, {NULL, NULL}};

/* HfClass.read of Falcon. The older decoder has one key/value head (multi_query) or as many as query heads;
 * the newer one (new_decoder_architecture) has groups of heads, and one or two norms in front of its parallel
 * branches. Models that use ALiBi instead of rotation are refused. */
static bool read_falcon(Model *m, const json_t *config, Error *e) {
    bool alibi = false, grouped = false, multi_query = true, parallel = true, bias = false;
    uint64_t norms = 0;
    json_get_bool(config, "alibi", &alibi);
    json_get_bool(config, "new_decoder_architecture", &grouped);
    json_get_bool(config, "multi_query", &multi_query);
    json_get_bool(config, "parallel_attn", &parallel);
    json_get_bool(config, "bias", &bias);
    json_get_u64(config, "num_ln_in_parallel_attn", &norms);
    /* ALiBi adds to the scores by distance, so there is no rotation that derope could drop. */
    if (alibi)
        return error_set(e, ERR_INPUT, "config.json: alibi: positions by ALiBi have no rotation to drop");
    /* The newer decoder has two norms unless told otherwise, the older one only if told so. */
    bool two = grouped ? norms != 1 : norms == 2;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        LayerSpec *l = &m->spec.layers[i];
        if (!grouped) l->n_kv_heads = multi_query ? 1 : l->n_heads;
        l->residual_layout = !(parallel || grouped) ? RESIDUAL_SEQUENTIAL
                             : two                  ? RESIDUAL_PARALLEL
                                                    : RESIDUAL_PARALLEL_SHARED_NORM;
        l->q_bias = l->k_bias = l->v_bias = l->o_bias = l->mlp_bias = bias;
    }
    return true;
}

/* GgufArch.read of Falcon: llama.cpp looks whether the file has a second norm, and applies the branches in
 * parallel either way. */
static bool read_falcon_gguf(Model *m, const Checkpoint *c, Error *e) {
    (void)e;
    set_residual_layout(m, checkpoint_find(c, "blk.0.attn_norm_2.weight") ? RESIDUAL_PARALLEL
                                                                          : RESIDUAL_PARALLEL_SHARED_NORM);
    return true;
}

/* HfClass.write of Falcon, for sources that are GGUFs; an existing config.json stays as it is. The newer
 * decoder can express every Falcon with parallel branches, so its keys are written. The class has no key
 * head_dim but takes hidden_size / n_heads. */
static void write_falcon(const Model *m, json_t *config) {
    if (m->config) return;
    bool two = m->spec.layers[0].residual_layout == RESIDUAL_PARALLEL;
    json_object_del(config, "head_dim"); /* its class has no such key: the width divided by the heads */
    json_object_set_new(config, "new_decoder_architecture", json_true());
    json_object_set_new(config, "num_ln_in_parallel_attn", json_integer(two ? 2 : 1));
    json_object_set_new(config, "parallel_attn", json_true());
    json_object_set_new(config, "alibi", json_false());
    json_object_set_new(config, "bias", json_boolean(m->spec.layers[0].q_bias));
}

/* GgufArch.can of Falcon: llama.cpp computes parallel branches only, and has no biases and no windows. */
static bool falcon_gguf_can(const Model *m, char *why, size_t size) {
    const LayerSpec *l = &m->spec.layers[0];
    if (!is_parallel(m)) return refuse_because(why, size, "requires attention and MLP side by side");
    if (l->q_bias || l->mlp_bias) return refuse_because(why, size, "has no biases");
    return model_all_layers(m, layer_is_global) || refuse_because(why, size, "has no windows per layer");
}

/* intermediate_size defaults to 4 * hidden_size (HF_FFN_DEFAULT_4X). q, k and v have no biases in the
 * published models. */
const Family family_falcon = {
    .name = "falcon",
    .tensors = falcon_tensors,
    .model = {.norm = NORM_LAYER, .norm_bias = true, .norm_eps = 1e-5, .context = 2048, .tied_head = true},
    .layer = {.rope_base = 10000,
              .residual_layout = RESIDUAL_PARALLEL_SHARED_NORM,
              .activation = ACT_GELU,
              .no_gate = true},
    .hf = {.model_type = "falcon",
           .since = "4.31",
           .architecture = "FalconForCausalLM",
           .keys = falcon_keys,
           .second_names = falcon_second_names,
           .limits = falcon_limits,
           .reads = "alibi new_decoder_architecture multi_query parallel_attn bias num_ln_in_parallel_attn",
           .quirks = HF_FFN_DEFAULT_4X | HF_OWN_HEAD_DIM,
           .read = read_falcon,
           .write = write_falcon},
    .gguf = {.arch = "falcon", .since = "2023-08", .read = read_falcon_gguf, .can = falcon_gguf_can},
};

/* Two blocks of different kinds. Phi-2 (transformers' modeling_phi.py) has attention and MLP in parallel
 * behind one LayerNorm, biases everywhere, and rotates half of the dimensions of each head. Phi-3, 3.5 and 4
 * (modeling_phi3.py, arXiv 2404.14219) have Llama's block with q, k and v fused in one tensor and gate and up
 * in another, a window, and LongRoPE in the models with a long context. */
#include "formats/json.h"
#include "surgery/arch_keys.h"
#include "surgery/config_read.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* There is no row for a gate, because the MLP is fc2(gelu(fc1(x))). attention's output projection is called
 * "dense" and the last norm "final_layernorm". */
static const TensorName phi_tensors[] = {
    EMBED_AND_HEAD,
    INPUT_NORM,
    QKV_TENSORS,
    WITH_BIAS(ROLE_O, ROLE_O_BIAS, "model.layers.%d.self_attn.dense", "blk.%d.attn_output"),
    WITH_BIAS(ROLE_UP, ROLE_UP_BIAS, "model.layers.%d.mlp.fc1", "blk.%d.ffn_up"),
    WITH_BIAS(ROLE_DOWN, ROLE_DOWN_BIAS, "model.layers.%d.mlp.fc2", "blk.%d.ffn_down"),
    WITH_BIAS(ROLE_FINAL_NORM, ROLE_FINAL_NORM_BIAS, "model.final_layernorm", "output_norm"),
    TENSORS_END,
};

/* HfClass.read of Phi-2: refuses qk_layernorm. Its norms of queries and keys are LayerNorms with biases,
 * whereas the spec knows RMSNorms only; no published Phi-2 has them. */
static bool read_phi(Model *m, const json_t *config, Error *e) {
    (void)m;
    /* The key is absent in the published configurations. */
    bool qk_norm = false;
    json_get_bool(config, "qk_layernorm", &qk_norm);
    return !qk_norm || error_set(e, ERR_INPUT,
                                 "config.json: qk_layernorm: norms of queries and keys are not "
                                 "supported in this family");
}

/* The LM head has a bias as well (head_bias). partial_rotary_factor defaults to 0.5; the published Phi-2 has
 * 0.4. */
const Family family_phi = {
    .name = "phi",
    .tensors = phi_tensors,
    .model = {.norm = NORM_LAYER, .norm_bias = true, .norm_eps = 1e-5, .context = 2048, .head_bias = true},
    .layer = {.rope_base = 10000,
              .residual_layout = RESIDUAL_PARALLEL_SHARED_NORM,
              .activation = ACT_GELU_TANH,
              .no_gate = true,
              .q_bias = true,
              .k_bias = true,
              .v_bias = true,
              .o_bias = true,
              .mlp_bias = true},
    .rotary_part = 0.5,
    .hf = {.model_type = "phi",
           .since = "4.36",
           .architecture = "PhiForCausalLM",
           .reads = "qk_layernorm",
           .quirks = HF_PARTIAL_ROTARY_KEY,
           .read = read_phi},
    .gguf = {.arch = "phi2", .since = "2023-12", .quirks = GGUF_NEEDS_HEAD},
};

/* q, k and v are rows of one tensor [(n_heads + 2 * n_kv_heads) * head_dim, hidden_size] in both formats. */
#define PHI3_QKV(role)                                                                                       \
    TENSOR_FUSED(role, "model.layers.%d.self_attn.qkv_proj.weight", FUSED_QKV, "blk.%d.attn_qkv.weight",     \
                 FUSED_QKV)
/* gate and up are rows of one tensor [2 * ffn_dim, hidden_size]. llama.cpp has no name of its own for it and
 * keeps it as ffn_up. */
#define PHI3_GATE_UP(role)                                                                                   \
    TENSOR_FUSED(role, "model.layers.%d.mlp.gate_up_proj.weight", FUSED_GATE_UP, "blk.%d.ffn_up.weight",     \
                 FUSED_GATE_UP)

static const TensorName phi3_tensors[] = {
    EMBED_AND_HEAD,
    INPUT_NORM,
    PHI3_QKV(ROLE_Q),
    PHI3_QKV(ROLE_K),
    PHI3_QKV(ROLE_V),
    TENSOR(ROLE_O, "model.layers.%d.self_attn.o_proj.weight", "blk.%d.attn_output.weight"),
    POST_ATTENTION_FFN_NORM,
    PHI3_GATE_UP(ROLE_GATE),
    PHI3_GATE_UP(ROLE_UP),
    TENSOR(ROLE_DOWN, "model.layers.%d.mlp.down_proj.weight", "blk.%d.ffn_down.weight"),
    FINAL_NORM,
    TENSORS_END,
};

/* HfClass.read of Phi-3: one window for all layers, or none if sliding_window is null or absent. */
static bool read_phi3(Model *m, const json_t *config, Error *e) {
    uint32_t window = 0;
    if (!config_read_window(config, "sliding_window", &window, e)) return false;
    spec_set_windows(&m->spec, window, 0);
    return true;
}

/* HfClass.write of Phi-3: the window, and the context before scaling. original_max_position_embeddings has to
 * be stated even without LongRoPE: Phi3Config's default is 4096, whereas a model without scaling was trained
 * on its whole context. */
static void write_phi3(const Model *m, json_t *config) {
    uint32_t window = m->spec.layers[0].window;
    json_object_set_new(config, "sliding_window", window ? json_integer(window) : json_null());
    if (m->spec.layers[0].scaling.kind != ROPE_SCALING_LONGROPE)
        json_object_set_new(config, "original_max_position_embeddings", json_integer(m->spec.context));
}

/* GgufArch.can of Phi-3: llama.cpp reads the key of the window but then computes full attention, so a model
 * whose window hides part of its context would give other logits there. It is refused with advice how to drop
 * the window. */
static bool phi3_gguf_can(const Model *m, char *why, size_t size) {
    if (!model_all_layers(m, layer_is_global))
        return refuse_because(why, size, "ignores Phi-3's window (--sliding-window 0:all drops it)");
    return model_has_one_window(m, why, size);
}

/* GgufArch.write of Phi-3: a window of 0 tells llama.cpp that there is none. Where the key is absent,
 * llama.cpp may assume one for models that it recognizes by their context length. */
static void write_phi3_gguf(const Model *m, Checkpoint *out) {
    (void)m;
    arch_set_u32(out, "attention.sliding_window", 0);
}

/* LongRoPE is the only rope scaling of this class; its two tables of factors are tensors in a GGUF. */
const Family family_phi3 = {
    .name = "phi3",
    .tensors = phi3_tensors,
    .model = {.norm_eps = 1e-5, .context = 4096},
    .layer = {.rope_base = 10000},
    .hf = {.model_type = "phi3",
           .since = "4.41",
           .architecture = "Phi3ForCausalLM",
           .quirks = HF_PARTIAL_ROTARY_KEY,
           .rope_scalings = 1u << ROPE_SCALING_LONGROPE,
           .original_context = 4096,
           .reads = "sliding_window",
           .read = read_phi3,
           .can = model_has_one_window,
           .write = write_phi3},
    .gguf = {.arch = "phi3",
             .since = "2024-04",
             .rope_scalings = 1u << ROPE_SCALING_LONGROPE,
             .can = phi3_gguf_can,
             .write = write_phi3_gguf},
};

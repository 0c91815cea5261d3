/* Small checkpoints in memory whose tensors have the common Llama-like names, as HF or as GGUF. Tests of
 * families and carriers give the settings that make one family or another of them. Nothing is written to a
 * disk. */
#ifndef DEROPE_TESTS_SMALL_MODEL_H
#define DEROPE_TESTS_SMALL_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "formats/checkpoint.h"
#include "formats/meta.h"
#include "surgery/family.h"
#include "surgery/model_open.h"

/* 4 layers of width 16: 4 heads of 4 dimensions over 2 key/value heads */
enum { LAYERS = 4, WIDTH = 16, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 4, FFN = 24, VOCAB = 10 };

#define SMALL_SIZES                                                                                          \
    "\"num_hidden_layers\": 4, \"hidden_size\": 16, \"num_attention_heads\": 4, \"num_key_value_heads\": "   \
    "2, "                                                                                                    \
    "\"intermediate_size\": 24, \"vocab_size\": 10, \"max_position_embeddings\": 64"

/* Flags for the tensors that only some families have. TIED leaves out the output head. */
enum { QKV_BIAS = 1, O_BIAS = 2, MLP_BIAS = 4, SINKS = 8, TIED = 16 };

typedef struct SmallTensor {
    const char *hf,
        *gguf; /* its name in either format, of a layer without the prefix that has the layer's number */
    int needs; /* the flag without which it is left out; 0: it is always there */
    uint64_t rows, cols; /* shape (rows, cols); rows 0: a vector (cols) */
} SmallTensor;

static const SmallTensor small_outer[] = {
    {"model.embed_tokens.weight", "token_embd.weight", 0, VOCAB, WIDTH},
    {"model.norm.weight", "output_norm.weight", 0, 0, WIDTH},
    {"lm_head.weight", "output.weight", 0, VOCAB, WIDTH},
};

static const SmallTensor small_layer[] = {
    {"input_layernorm.weight", "attn_norm.weight", 0, 0, WIDTH},
    {"self_attn.q_proj.weight", "attn_q.weight", 0, HEADS *HEAD_DIM, WIDTH},
    {"self_attn.k_proj.weight", "attn_k.weight", 0, KV_HEADS *HEAD_DIM, WIDTH},
    {"self_attn.v_proj.weight", "attn_v.weight", 0, KV_HEADS *HEAD_DIM, WIDTH},
    {"self_attn.o_proj.weight", "attn_output.weight", 0, WIDTH, HEADS *HEAD_DIM},
    {"self_attn.q_proj.bias", "attn_q.bias", QKV_BIAS, 0, HEADS *HEAD_DIM},
    {"self_attn.k_proj.bias", "attn_k.bias", QKV_BIAS, 0, KV_HEADS *HEAD_DIM},
    {"self_attn.v_proj.bias", "attn_v.bias", QKV_BIAS, 0, KV_HEADS *HEAD_DIM},
    {"self_attn.o_proj.bias", "attn_output.bias", O_BIAS, 0, WIDTH},
    {"self_attn.sinks", "attn_sinks.weight", SINKS, 0, HEADS},
    {"post_attention_layernorm.weight", "ffn_norm.weight", 0, 0, WIDTH},
    {"mlp.gate_proj.weight", "ffn_gate.weight", 0, FFN, WIDTH},
    {"mlp.up_proj.weight", "ffn_up.weight", 0, FFN, WIDTH},
    {"mlp.down_proj.weight", "ffn_down.weight", 0, WIDTH, FFN},
    {"mlp.gate_proj.bias", "ffn_gate.bias", MLP_BIAS, 0, FFN},
    {"mlp.up_proj.bias", "ffn_up.bias", MLP_BIAS, 0, FFN},
    {"mlp.down_proj.bias", "ffn_down.bias", MLP_BIAS, 0, WIDTH},
};

/* Adds an F32 tensor whose element i is i, so that a test sees which element has moved where. */
static inline void small_add(Checkpoint *c, const char *name, uint64_t rows, uint64_t cols) {
    uint64_t shape[2] = {rows ? rows : cols, cols}, n = (rows ? rows : 1) * cols;
    float *v = arena_alloc(&c->arena, n * sizeof *v);
    for (uint64_t i = 0; i < n; i++)
        v[i] = (float)i;
    Tensor t = tensor_over(&c->arena, name, DTYPE_F32, rows ? 2 : 1, shape, v);
    checkpoint_add_tensor(c, &t);
}

/* Adds all tensors that `flags` ask for, except the one that is called `without`. */
static inline void small_add_all(Checkpoint *c, int flags, const char *without) {
    bool gguf = c->format == FORMAT_GGUF;
    for (size_t i = 0; i < sizeof small_outer / sizeof *small_outer - ((flags & TIED) != 0); i++) {
        const SmallTensor *t = &small_outer[i];
        if (strcmp(t->hf, without) != 0) small_add(c, gguf ? t->gguf : t->hf, t->rows, t->cols);
    }
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < sizeof small_layer / sizeof *small_layer; i++) {
            const SmallTensor *t = &small_layer[i];
            char name[100];
            snprintf(name, sizeof name, gguf ? "blk.%d.%s" : "model.layers.%d.%s", layer,
                     gguf ? t->gguf : t->hf);
            if ((t->needs & flags) == t->needs && strcmp(name, without) != 0)
                small_add(c, name, t->rows, t->cols);
        }
}

/* An HF checkpoint. `config` is the rest of its config.json after SMALL_SIZES, such as "\"model_type\":
 * \"llama\"". */
static inline Checkpoint *small_hf_without(const char *config, int flags, const char *without) {
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    char text[2000];
    snprintf(text, sizeof text, "{" SMALL_SIZES ", %s}", config);
    c->path = "small";
    checkpoint_set_file(c, "config.json", text, strlen(text));
    small_add_all(c, flags, without);
    return c;
}

static inline Checkpoint *small_hf(const char *config, int flags) {
    return small_hf_without(config, flags, "");
}

/* The key ARCHITECTURE.suffix of a GGUF; valid until the next call. */
static inline const char *small_key(const Checkpoint *c, const char *suffix) {
    static char key[128];
    snprintf(key, sizeof key, "%.60s.%.60s", meta_string(c, "general.architecture", NULL), suffix);
    return key;
}

/* A GGUF checkpoint with the keys that every architecture needs. */
static inline Checkpoint *small_gguf(const char *arch, int flags) {
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    c->path = "small.gguf";
    meta_set_string(c, "general.architecture", arch, strlen(arch));
    meta_set_u32(c, small_key(c, "block_count"), LAYERS);
    meta_set_u32(c, small_key(c, "context_length"), 64);
    meta_set_u32(c, small_key(c, "embedding_length"), WIDTH);
    meta_set_u32(c, small_key(c, "feed_forward_length"), FFN);
    meta_set_u32(c, small_key(c, "attention.head_count"), HEADS);
    meta_set_u32(c, small_key(c, "attention.head_count_kv"), KV_HEADS);
    meta_set_f32(c, small_key(c, "attention.layer_norm_rms_epsilon"), 1e-5f);
    small_add_all(c, flags, "");
    return c;
}

/* Opens a checkpoint that must be a model. */
static inline Model *small_open(Checkpoint *c) {
    Error e = {0};
    Model *m = model_open(c, &e);
    if (!m) fail_msg("%s", e.message);
    return m;
}

/* Closes the model and the checkpoint that it was opened from. */
static inline void small_close(Model *m) {
    Checkpoint *c = m->source;
    model_close(m);
    checkpoint_close(c);
}

/* The checkpoint is refused as a model with ERR_INPUT and exactly this message. Closes it. */
static inline void assert_no_model(Checkpoint *c, const char *message) {
    Error e = {0};
    Model *m = model_open(c, &e);
    if (m) fail_msg("accepted, though: %s", message);
    assert_string_equal(e.message, message);
    assert_int_equal(e.code, ERR_INPUT);
    checkpoint_close(c);
}

#endif

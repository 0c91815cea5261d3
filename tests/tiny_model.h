/* A Llama of four tiny layers, written as an HF folder under scratch(), and the derope binary run on it. */
#ifndef DEROPE_TESTS_TINY_MODEL_H
#define DEROPE_TESTS_TINY_MODEL_H

#include "formats/floats.h"
#include "formats/hf_write.h"
#include "surgery/model.h"
#include "tests/scratch.h"

enum { TINY_VOCAB = 40, TINY_WIDTH = 16, TINY_FFN = 24, TINY_LAYERS = 4, TINY_KV = 8, TINY_HEAD_DIM = 4 };

static const char tiny_config[] =
    "{\"architectures\": [\"LlamaForCausalLM\"],  \"model_type\": \"llama\", \"hidden_size\": 16,\n"
    " \"intermediate_size\": 24, \"num_hidden_layers\": 4, \"num_attention_heads\": 4,\n"
    " \"num_key_value_heads\": 2, \"vocab_size\": 40, \"max_position_embeddings\": 64,\n"
    " \"rope_theta\": 5000.0, \"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\",\n"
    " \"bos_token_id\": 1, \"eos_token_id\": 2, \"tie_word_embeddings\": true, \"torch_dtype\": "
    "\"bfloat16\"}";

/* Adds a bf16 tensor (rows, cols), or a vector where `rows` is 0. The values come from a generator that is
 * seeded by the tensor's position, lie in [-1, 1) and are exact in bf16, so a conversion to F32 and back
 * changes nothing. */
static inline void tiny_tensor(Checkpoint *c, const char *name, uint64_t rows, uint64_t cols) {
    uint64_t shape[2] = {rows ? rows : cols, cols}, n = (rows ? rows : 1) * cols;
    uint16_t *v = arena_alloc(&c->arena, n * sizeof *v);
    uint32_t seed = (uint32_t)c->n_tensors * 7919 + 1;
    for (uint64_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        v[i] = f32_to_bf16((float)(seed >> 24) / 128 - 1);
    }
    Tensor t = tensor_over(&c->arena, name, DTYPE_BF16, rows ? 2 : 1, shape, v);
    checkpoint_add_tensor(c, &t);
}

/* Adds the tensors of one layer; `biases` adds those of the query, key and value projections, which Qwen 2
 * has. */
static inline void tiny_layer(Checkpoint *c, int layer, bool biases) {
    static const struct {
        const char *name;
        int rows, cols;
    } rows[] = {{"input_layernorm.weight", 0, TINY_WIDTH},
                {"mlp.down_proj.weight", TINY_WIDTH, TINY_FFN},
                {"mlp.gate_proj.weight", TINY_FFN, TINY_WIDTH},
                {"mlp.up_proj.weight", TINY_FFN, TINY_WIDTH},
                {"post_attention_layernorm.weight", 0, TINY_WIDTH},
                {"self_attn.k_proj.weight", TINY_KV, TINY_WIDTH},
                {"self_attn.o_proj.weight", TINY_WIDTH, TINY_WIDTH},
                {"self_attn.q_proj.weight", TINY_WIDTH, TINY_WIDTH},
                {"self_attn.v_proj.weight", TINY_KV, TINY_WIDTH},
                {"self_attn.q_proj.bias", 0, TINY_WIDTH},
                {"self_attn.k_proj.bias", 0, TINY_KV},
                {"self_attn.v_proj.bias", 0, TINY_KV}};
    char name[100];
    for (size_t i = 0; i < (biases ? 12u : 9u); i++) {
        snprintf(name, sizeof name, "model.layers.%d.%s", layer, rows[i].name);
        tiny_tensor(c, name, (uint64_t)rows[i].rows, (uint64_t)rows[i].cols);
    }
}

/* The model in memory, for tests that add to it before they write it. */
static inline Checkpoint *tiny_checkpoint(const char *config, bool biases) {
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    tiny_tensor(c, "model.embed_tokens.weight", TINY_VOCAB, TINY_WIDTH);
    for (int i = 0; i < TINY_LAYERS; i++)
        tiny_layer(c, i, biases);
    tiny_tensor(c, "model.norm.weight", 0, TINY_WIDTH);
    checkpoint_set_file(c, "config.json", config, strlen(config));
    return c;
}

/* Writes the checkpoint as an HF folder to scratch()/name, closes it, and returns the path. What an earlier
 * test has left there is removed: the folder has no manifest, so derope would not replace it. */
static inline const char *tiny_write(Checkpoint *c, const char *name) {
    Error e = {0};
    WriteOptions o = {0};
    const char *path = scratch_path(name);
    nftw(path, scratch_unlink, 16, FTW_DEPTH | FTW_PHYS);
    if (!hf_write(c, path, &o, &e)) fail_msg("%s", e.message);
    checkpoint_close(c);
    return path;
}

/* The model as an HF folder in scratch()/name. */
static inline const char *tiny_folder(const char *name) {
    return tiny_write(tiny_checkpoint(tiny_config, false), name);
}

/* ---- running the binary ---- */

/* Runs `derope ARGUMENTS` in scratch() and returns its exit status. *said, which may be NULL, becomes what it
 * printed on both streams and is valid until the next call. */
static inline int run_derope(const char *arguments, const char **said) {
    static char text[1 << 16];
    char command[2 * PATH_MAX], binary[PATH_MAX];
    const char *named = getenv("DEROPE");
    assert_non_null(realpath(named ? named : "build/derope", binary));
    snprintf(command, sizeof command, "exec 2>&1; cd '%s' && '%s' %s", scratch(), binary, arguments);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    text[fread(text, 1, sizeof text - 1, p)] = 0;
    if (said) *said = text;
    return WEXITSTATUS(pclose(p));
}

/* `derope ARGUMENTS` ends with status 0. */
static inline void assert_runs(const char *arguments) {
    const char *said;
    int status = run_derope(arguments, &said);
    if (status) fail_msg("derope %s: exit %d: %s", arguments, status, said);
}

/* `derope ARGUMENTS` ends with this status and prints `text`. */
static inline void assert_fails(const char *arguments, int status, const char *text) {
    const char *said;
    int found = run_derope(arguments, &said);
    if (found != status || !strstr(said, text))
        fail_msg("derope %s: exit %d, '%s'; expected %d and '%s'", arguments, found, said, status, text);
}

#endif

/* Checks of checkpoints against what runtimes do with them (runtime_checks.h). None of them decodes weights,
 * except to compare the output matrix of a tied model with its embedding. */
#include "surgery/runtime_checks.h"

#include <stdio.h>
#include <string.h>

#include "formats/json.h"
#include "formats/meta.h"
#include "formats/text.h"
#include "surgery/arch_check.h"
#include "surgery/arch_keys.h"
#include "surgery/families/families.h"
#include "surgery/model_traits.h"
#include "surgery/tied_head.h"

/* ---- transformers ---- */

/* transformers 4 ties by the configuration alone. transformers 5 looks at the tensors, and so does derope. */
static bool ties_as_stored(const Checkpoint *c, const json_t *config, const Family *f, char *why,
                           size_t size) {
    bool tied = f->model.tied_head, same = true;
    json_get_bool(config, "tie_word_embeddings", &tied);
    TiedHead t = tied_head_find(f, c);
    if (!tied || !t.head || !tied_head_is_copy(&t, &same, NULL) || same) return true;
    return refuse_because(why, size, "uses the embedding as output matrix, from which tensor '%s' differs",
                          t.head->name);
}

/* Attention to later tokens is a setting that releases before 5 do not have. */
static bool is_causal(const json_t *config, char *why, size_t size) {
    bool causal = true, both = false;
    json_get_bool(config, "is_causal", &causal);
    json_get_bool(config, "use_bidirectional_attention", &both);
    if (causal && !both) return true;
    return refuse_because(why, size, "attends to later tokens too, because %s is %s",
                          causal ? "use_bidirectional_attention" : "is_causal", causal ? "true" : "false");
}

/* transformers 5 reads a mistral with layer_types as a ministral; transformers 4 gives every layer the
 * window. */
static bool reads_windows(const json_t *config, char *why, size_t size) {
    const char *type = json_get_string(config, "model_type");
    if (strcmp(type, "mistral") != 0 || !json_is_array(json_object_get(config, "layer_types"))) return true;
    return refuse_because(why, size,
                          "gives every layer the window, because it does not read layer_types of a mistral");
}

/* In transformers 4 the angles are as many as partial_rotary_factor says, also for classes that multiply them
 * with whole heads, which then stop. */
static bool rotates_whole_heads(const json_t *config, const Family *f, char *why, size_t size) {
    double part = 1;
    if (f->hf.quirks & HF_PARTIAL_ROTARY_KEY || f->rotary_part) return true;
    if (!json_get_f64(config, "partial_rotary_factor", &part) || part == 1) return true;
    return refuse_because(
        why, size, "stops, because partial_rotary_factor is %g and its class rotates whole heads", part);
}

/* The embedding of transformers stops at a padding id outside of it. */
static bool pads_inside(const json_t *config, char *why, size_t size) {
    uint64_t pad, vocab;
    if (!json_get_u64(config, "pad_token_id", &pad) || !json_get_u64(config, "vocab_size", &vocab))
        return true;
    return pad < vocab ||
           refuse_because(why, size, "stops, because pad_token_id is %llu and the vocabulary has %llu tokens",
                          (unsigned long long)pad, (unsigned long long)vocab);
}

/* Integers in the place of weights, without anything that says how to decode them. */
static bool has_float_weights(const Checkpoint *c, const json_t *config, char *why, size_t size) {
    if (json_is_object(json_object_get(config, "quantization_config"))) return true;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const Tensor *t = &c->tensors[i];
        if (t->rank > 1 && !dtype_is_float(t->storage_dtype) && text_ends_with(t->name, ".weight"))
            return refuse_because(why, size, "takes the codes of tensor '%.80s' (%s) for weights", t->name,
                                  dtype_info(t->storage_dtype)->name);
    }
    return true;
}

bool runtime_check_transformers(const Checkpoint *c, const json_t *config, bool legacy, char *why,
                                size_t size) {
    const Family *f = family_by_model_type(json_get_string(config, "model_type"));
    if (!f) return true; /* nothing is known about the class */
    if (!pads_inside(config, why, size) || !has_float_weights(c, config, why, size)) return false;
    if (!legacy) return is_causal(config, why, size);
    return ties_as_stored(c, config, f, why, size) && reads_windows(config, why, size) &&
           rotates_whole_heads(config, f, why, size);
}

/* ---- llama.cpp ---- */

/* Architectures whose graph asserts that all dimensions of a head are rotated. */
static bool rotates_heads(const Checkpoint *c, const char *arch, char *why, size_t size) {
    static const char whole[] =
        " llama llama4 qwen2 qwen3 qwen3moe falcon granite granite_swa olmo2 exaone4 olmoe smollm3 ";
    char word[80];
    uint64_t rotated, heads, width, dim;
    snprintf(word, sizeof word, " %.70s ", arch);
    if (!strstr(whole, word) || !arch_get_u64(c, "rope.dimension_count", &rotated)) return true;
    if (!arch_get_u64(c, "attention.key_length", &dim)) {
        if (!arch_get_u64(c, "attention.head_count", &heads) ||
            !arch_get_u64(c, "embedding_length", &width) || !heads)
            return true;
        dim = width / heads;
    }
    return rotated == dim ||
           refuse_because(why, size,
                          "aborts, because rope.dimension_count is %llu and heads have %llu dimensions",
                          (unsigned long long)rotated, (unsigned long long)dim);
}

/* ggml multiplies activations by vectors of F32 only, and has no product with a matrix of these types. */
static bool has_types_of_ggml(const Checkpoint *c, char *why, size_t size) {
    for (size_t i = 0; i < c->n_tensors; i++) {
        const Tensor *t = &c->tensors[i];
        bool bad = t->rank < 2 ? t->dtype != DTYPE_F32
                               : !dtype_is_float(t->dtype) || t->dtype == DTYPE_F64 ||
                                     t->dtype == DTYPE_Q8_1 || t->dtype == DTYPE_Q8_K;
        if (bad)
            return refuse_because(why, size, "aborts at tensor '%.80s', because it is %s", t->name,
                                  dtype_info(t->dtype)->name);
    }
    return true;
}

/* Byte-level BPE needs its merges. */
static bool has_merges(const Checkpoint *c, char *why, size_t size) {
    const char *model = meta_string(c, "tokenizer.ggml.model", NULL);
    if (!model || strcmp(model, "gpt2") != 0 || meta_find(c, "tokenizer.ggml.merges")) return true;
    return refuse_because(why, size, "does not load a tokenizer of model gpt2 without tokenizer.ggml.merges");
}

bool runtime_check_llama_cpp(const Checkpoint *c, char *why, size_t size) {
    enum { TENSOR_ALIGNMENT = 32 }; /* of addresses, in ggml */
    Error e = {0};
    const char *arch = meta_string(c, "general.architecture", NULL);
    if (!arch) return refuse_because(why, size, "does not load a file without general.architecture");
    if (c->alignment < TENSOR_ALIGNMENT)
        return refuse_because(why, size, "aborts, because general.alignment is %u; it needs %d", c->alignment,
                              TENSOR_ALIGNMENT);
    /* The message begins with the path, which the reader of `why` knows. */
    if (!arch_check_keys(c, NULL, &e))
        return refuse_because(why, size, "does not load it or computes something else: %s",
                              e.message + strlen(c->path) + 2);
    return rotates_heads(c, arch, why, size) && has_types_of_ggml(c, why, size) && has_merges(c, why, size);
}

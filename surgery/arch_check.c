/* The keys that llama.cpp has for architectures, as its src/llama-model.cpp (load_hparams) and src/models/
 * read them: their types, in which architectures they are read, and whether derope computes what they say.
 * model_open.c checks a GGUF with this table, because a key that a reader does not
 * ask for would otherwise change nothing here and everything in llama.cpp.
 *
 * A new setting of a family is a row here and a line in the family's GgufArch.read. */
#include "surgery/arch_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/meta.h"
#include "surgery/arch_keys.h"
#include "surgery/notices.h"

/* What derope does about a key that llama.cpp reads. */
typedef enum KeyRule {
    KEY_COMPUTED,  /* the readers take it from here */
    KEY_NEEDED,    /* the same, and llama.cpp does not load a file without it */
    KEY_NO_EFFECT, /* it changes no logit */
    KEY_ONLY,      /* computed for the value `only` alone */
    KEY_SAME,      /* computed only where it is equal to the key `same` */
} KeyRule;

typedef struct KnownKey {
    const char *suffix; /* "attention.causal", what follows the architecture's name and a dot */
    KeyRule rule;
    MetaType type;     /* the only type that llama.cpp accepts */
    bool list;         /* a list with an element for each layer is accepted too */
    const char *archs; /* the architectures that read it, each between two spaces; NULL: all */
    double only;       /* KEY_ONLY: the value; of a key that the architecture does not read, its default */
    const char *same;  /* KEY_SAME: suffix of the other key */
} KnownKey;

#define WINDOWED " llama4 gemma2 gemma3 gpt-oss granite_swa cohere2 olmo2 exaone4 "
#define WITH_RMS                                                                                             \
    " llama llama4 qwen2 qwen3 qwen3moe gemma gemma2 gemma3 gpt-oss granite granite_swa olmo2 exaone4 olmoe" \
    " phi3 smollm3 "

static const KnownKey known[] = {
    /* Sizes. */
    {"context_length", KEY_NEEDED, .type = META_U32},
    {"embedding_length", KEY_NEEDED, .type = META_U32},
    {"block_count", KEY_NEEDED, .type = META_U32},
    {"feed_forward_length", KEY_COMPUTED, .type = META_U32, .list = true},
    {"attention.head_count", KEY_COMPUTED, .type = META_U32, .list = true},
    {"attention.head_count_kv", KEY_COMPUTED, .type = META_U32, .list = true},
    {"attention.key_length", KEY_COMPUTED, .type = META_U32},
    {"attention.value_length", KEY_COMPUTED, .type = META_U32},
    {"attention.key_length_swa", KEY_SAME, .type = META_U32, .same = "attention.key_length"},
    {"attention.value_length_swa", KEY_SAME, .type = META_U32, .same = "attention.value_length"},
    {"vocab_size", KEY_NO_EFFECT, .type = META_U32},
    {"embedding_length_out", KEY_SAME, .type = META_U32, .same = "embedding_length"},
    {"nextn_predict_layers", KEY_ONLY, .type = META_U32, .only = 0},
    /* Attention. */
    {"attention.causal", KEY_ONLY, .type = META_BOOL, .only = 1},
    {"attention.layer_norm_rms_epsilon", KEY_NEEDED, .type = META_F32, .archs = WITH_RMS},
    {"attention.layer_norm_epsilon", KEY_NEEDED, .type = META_F32,
     .archs = " cohere2 gptneox stablelm falcon phi2 "},
    {"attention.sliding_window", KEY_NEEDED, .type = META_U32, .archs = " gpt-oss "},
    {"attention.sliding_window", KEY_COMPUTED, .type = META_U32, .archs = WINDOWED " phi3 "},
    {"attention.sliding_window_pattern", KEY_COMPUTED, .type = META_U32, .list = true,
     .archs = " gemma2 gemma3 gpt-oss granite_swa cohere2 olmo2 exaone4 "},
    {"attention.sliding_window_pattern", KEY_ONLY, .type = META_U32, .archs = " llama4 ", .only = 4},
    {"attention.rope_pattern", KEY_COMPUTED, .type = META_U32, .list = true, .archs = " granite_swa "},
    {"attention.scale", KEY_COMPUTED, .type = META_F32, .archs = " granite granite_swa "},
    {"attn_logit_softcapping", KEY_COMPUTED, .type = META_F32, .archs = " gemma2 "},
    {"final_logit_softcapping", KEY_COMPUTED, .type = META_F32, .archs = " gemma2 gemma3 "},
    /* Rotation. */
    {"rope.dimension_count", KEY_COMPUTED, .type = META_U32},
    {"rope.dimension_count_swa", KEY_SAME, .type = META_U32, .same = "rope.dimension_count"},
    {"rope.freq_base", KEY_COMPUTED, .type = META_F32},
    {"rope.freq_base_swa", KEY_COMPUTED, .type = META_F32, .archs = " gemma3 "},
    {"rope.freq_base_swa", KEY_SAME, .type = META_F32,
     .archs = " llama4 gemma2 gpt-oss cohere2 olmo2 exaone4 ", .same = "rope.freq_base"},
    {"rope.scale_linear", KEY_COMPUTED, .type = META_F32},
    {"rope.scaling.type", KEY_COMPUTED, .type = META_STRING},
    {"rope.scaling.factor", KEY_COMPUTED, .type = META_F32},
    {"rope.scaling.attn_factor", KEY_COMPUTED, .type = META_F32},
    {"rope.scaling.original_context_length", KEY_COMPUTED, .type = META_U32},
    {"rope.scaling.finetuned", KEY_COMPUTED, .type = META_BOOL},
    {"rope.scaling.alpha", KEY_NO_EFFECT,
     .type = META_F32}, /* read everywhere, used by other architectures */
    /* Factors and the residual stream. */
    {"embedding_scale", KEY_COMPUTED, .type = META_F32, .archs = " granite granite_swa "},
    {"residual_scale", KEY_COMPUTED, .type = META_F32, .archs = " granite granite_swa "},
    {"logit_scale", KEY_NEEDED, .type = META_F32, .archs = " granite granite_swa cohere2 "},
    {"use_parallel_residual", KEY_NEEDED, .type = META_BOOL, .archs = " gptneox "},
    {"deepstack_mapping", KEY_ONLY, .type = META_ARRAY, .archs = " granite granite_swa ", .only = -1},
    /* Experts. */
    {"expert_count", KEY_COMPUTED, .type = META_U32},
    {"expert_used_count", KEY_COMPUTED, .type = META_U32, .list = true},
    {"expert_group_count", KEY_ONLY, .type = META_U32, .only = 0},
    {"expert_group_used_count", KEY_NO_EFFECT, .type = META_U32},
    {"expert_feed_forward_length", KEY_NEEDED, .type = META_U32, .list = true, .archs = " llama4 gpt-oss "},
    {"expert_feed_forward_length", KEY_COMPUTED, .type = META_U32, .list = true, .archs = " qwen3moe "},
    {"expert_shared_feed_forward_length", KEY_ONLY, .type = META_U32, .archs = " granite granite_swa ",
     .only = 0},
    {"interleave_moe_layer_step", KEY_NEEDED, .type = META_U32, .archs = " llama4 "},
    /* Embedding models and classifiers: what they do to the last hidden states is not in the logits. */
    {"pooling_type", KEY_NO_EFFECT, .type = META_U32},
    {"classifier.pooling_type", KEY_NO_EFFECT, .type = META_U32},
    {"classifier.output_labels", KEY_NO_EFFECT, .type = META_ARRAY},
    /* Converters write these for architectures that do not read them; most often they say the default. */
    {"tensor_data_layout", KEY_NO_EFFECT, .type = META_STRING},
    {"rope.scaling.yarn_beta_fast", KEY_ONLY, .type = META_F32, .archs = " mistral3 ", .only = 32},
    {"rope.scaling.yarn_beta_slow", KEY_ONLY, .type = META_F32, .archs = " mistral3 ", .only = 1},
    {"rope.scaling.yarn_attn_factor", KEY_ONLY, .type = META_F32, .archs = " grok ", .only = 1},
    {"rope.scaling.yarn_ext_factor", KEY_ONLY, .type = META_F32, .archs = " grok ", .only = 1},
    {"rope.scaling.yarn_log_multiplier", KEY_ONLY, .type = META_F32, .archs = " mistral3 ", .only = 0},
    {"attention.clamp_kqv", KEY_ONLY, .type = META_F32, .archs = " olmo mpt dbrx ", .only = 0},
    {"attention.max_alibi_bias", KEY_ONLY, .type = META_F32, .archs = " mpt jais ", .only = 0},
    {"expert_weights_scale", KEY_ONLY, .type = META_F32, .archs = " deepseek2 ", .only = 1},
};

enum { N_KNOWN = sizeof known / sizeof *known };

/* ---- finding rows ---- */

/* Whether the architecture reads the key of a row. */
static bool is_read(const KnownKey *k, const char *arch) {
    char word[80];
    if (!k->archs) return true;
    snprintf(word, sizeof word, " %.70s ", arch);
    return strstr(k->archs, word) != NULL;
}

/* The row of a key. A key may have a row for each of several groups of architectures; where none of them is
 * about this one, the first row of the key is returned. NULL: the table does not have the key. */
static const KnownKey *find_row(const char *arch, const char *suffix) {
    const KnownKey *first = NULL;
    for (size_t i = 0; i < N_KNOWN; i++) {
        if (strcmp(known[i].suffix, suffix) != 0) continue;
        if (is_read(&known[i], arch)) return &known[i];
        if (!first) first = &known[i];
    }
    return first;
}

bool arch_reads_key(const char *arch, const char *suffix) {
    const KnownKey *k = find_row(arch, suffix);
    return k && is_read(k, arch);
}

/* ---- values ---- */

/* The name of a type in messages. */
static const char *type_name(MetaType t) {
    static const char *const names[META_TYPE_COUNT] = {
        [META_U8] = "u8",         [META_I8] = "i8",      [META_U16] = "u16", [META_I16] = "i16",
        [META_U32] = "u32",       [META_I32] = "i32",    [META_F32] = "f32", [META_BOOL] = "boolean",
        [META_STRING] = "string", [META_ARRAY] = "list", [META_U64] = "u64", [META_I64] = "i64",
        [META_F64] = "f64"};
    return names[t];
}

/* Element i of a list; a single number counts as a list of one. False if there is none. */
static bool element(const MetaEntry *m, uint64_t i, double *out) {
    MetaEntry one = *m;
    if (m->type == META_ARRAY) return meta_array_f64(m, i, out);
    one.type = META_ARRAY;
    one.elem_type = m->type;
    one.count = 1;
    return meta_array_f64(&one, i, out);
}

/* Whether a number, or every element of a list, is `value`. Numbers are compared as floats, the type in which
 * a GGUF has fractions. Strings are no numbers, so they are never equal. */
static bool is_all(const MetaEntry *m, double value) {
    double v;
    for (uint64_t i = 0; i < m->count; i++)
        if (!element(m, i, &v) || (float)v != (float)value) return false;
    return true;
}

/* Writes the value for a message: "false", "0.5", "a list". */
static const char *value_text(const MetaEntry *m, char text[40]) {
    double v = 0;
    if (m->type == META_ARRAY || !element(m, 0, &v))
        snprintf(text, 40, "a %s", type_name(m->type));
    else if (m->type == META_BOOL)
        snprintf(text, 40, "%s", v != 0 ? "true" : "false");
    else
        snprintf(text, 40, "%g", v);
    return text;
}

/* ---- one key ---- */

/* Refuses a type that llama.cpp does not accept for the key. */
static bool check_type(const Checkpoint *c, const KnownKey *k, const MetaEntry *m, Error *e) {
    if (m->type == k->type || (k->list && m->type == META_ARRAY)) return true;
    return arch_error(e, c, k->suffix, " is a %s: llama.cpp reads a %s there and does not load the file",
                      type_name(m->type), type_name(k->type));
}

/* Refuses a value that derope does not compute. */
static bool check_value(const Checkpoint *c, const KnownKey *k, const MetaEntry *m, Error *e) {
    char found[40], expected[40];
    double other;
    value_text(m, found);
    if (k->rule == KEY_ONLY && !is_all(m, k->only)) {
        if (k->type == META_BOOL)
            snprintf(expected, sizeof expected, "%s", k->only != 0 ? "true" : "false");
        else
            snprintf(expected, sizeof expected, "%g", k->only);
        return arch_error(e, c, k->suffix, " is %s; derope computes models with %s only", found, expected);
    }
    const MetaEntry *same = k->rule == KEY_SAME ? arch_find(c, k->same) : NULL;
    if (k->rule == KEY_SAME && !(same && element(same, 0, &other) && is_all(m, other)))
        return arch_error(e, c, k->suffix, " is %s; derope computes models only in which %s is the same",
                          found, k->same);
    return true;
}

/* Looks at the key "ARCH.SUFFIX". Names of keys without effect are appended to `ignored` (llama.cpp has the
 * key in other architectures) or to `unknown`, unless a key that is not read states its default. */
static bool check_key(const Checkpoint *c, const char *arch, const MetaEntry *m, Buffer *ignored,
                      Buffer *unknown, Error *e) {
    const KnownKey *k = find_row(arch, m->key + strlen(arch) + 1);
    if (k && is_read(k, arch)) return check_type(c, k, m, e) && check_value(c, k, m, e);
    Buffer *list = k ? ignored : unknown;
    if (!k || k->rule != KEY_ONLY || !is_all(m, k->only))
        buffer_printf(list, "%s%.80s", list->size ? ", " : "", m->key);
    return true;
}

/* ---- all keys ---- */

/* Checks that the keys are there without which llama.cpp does not load the architecture. */
static bool check_needed(const Checkpoint *c, const char *arch, Error *e) {
    for (size_t i = 0; i < N_KNOWN; i++)
        if (known[i].rule == KEY_NEEDED && is_read(&known[i], arch) && !arch_find(c, known[i].suffix))
            return arch_error(e, c, known[i].suffix,
                              " is missing; llama.cpp does not load the file without it");
    return true;
}

/* The notices come last, so that a file that is refused has none. */
bool arch_check_keys(const Checkpoint *c, json_t *notices, Error *e) {
    const char *arch = meta_string(c, "general.architecture", NULL);
    size_t n = strlen(arch);
    Buffer ignored = {0}, unknown = {0};
    bool ok = check_needed(c, arch, e);
    for (size_t i = 0; ok && i < c->n_meta; i++)
        if (strncmp(c->meta[i].key, arch, n) == 0 && c->meta[i].key[n] == '.')
            ok = check_key(c, arch, &c->meta[i], &ignored, &unknown, e);
    if (ok && ignored.size)
        notice_add(notices,
                   "keys without effect, because llama.cpp does not read them in this architecture: %s",
                   buffer_string(&ignored));
    if (ok && unknown.size)
        notice_add(notices, "keys that derope does not know, and takes to be without effect: %s",
                   buffer_string(&unknown));
    buffer_free(&ignored);
    buffer_free(&unknown);
    return ok;
}

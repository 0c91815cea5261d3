/* Reading vocab.json and merges.txt: see vocab_merges.h. What the classes do to a text is taken from
 * transformers/models (gpt2, codegen, gpt_neox, qwen2); rows of pre_tokenizers.c have the same steps. */
#include "surgery/tokenizer/vocab_merges.h"

#include <string.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "surgery/tokenizer/pre_tokenizers.h"
#include "surgery/tokenizer/tokenizer_json.h"

/* A class of transformers that reads the two files. */
typedef struct Class {
    const char *name;        /* "tokenizer_class", without "Fast" */
    const char *pre;         /* the row of pre_tokenizers.c that cuts and normalises like it */
    const char *model_types; /* in config.json: models of this class where no file names one; " a b " */
    const char *end;         /* its bos_token, eos_token, unk_token by default */
    const char *pad;         /* its pad_token by default; NULL: none */
    bool no_bos;             /* it has no bos_token by default */
} Class;

static const Class classes[] = {
    {.name = "GPT2Tokenizer", .pre = "gpt-2", .model_types = " gpt2 phi ", .end = "<|endoftext|>"},
    {.name = "CodeGenTokenizer", .pre = "gpt-2", .model_types = " codegen ", .end = "<|endoftext|>"},
    {.name = "GPTNeoXTokenizer",
     .pre = "olmo",
     .model_types = " gpt_neox olmo olmoe ",
     .end = "<|endoftext|>",
     .pad = "<|padding|>"},
    {.name = "Qwen2Tokenizer",
     .pre = "qwen2",
     .model_types = " qwen2 qwen2_moe qwen3 qwen3_moe ",
     .end = "<|endoftext|>",
     .pad = "<|endoftext|>",
     .no_bos = true},
};
enum { N_CLASSES = sizeof classes / sizeof *classes };

bool vocab_merges_are_there(const Checkpoint *c) {
    return checkpoint_file(c, VOCAB_FILE) && checkpoint_file(c, MERGES_FILE);
}

/* ---- the class ---- */

/* Whether `list`, names between spaces, has the name. */
static bool lists(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *at = list; n && (at = strstr(at, name)); at++)
        if (at > list && at[-1] == ' ' && at[n] == ' ') return true;
    return false;
}

/* The class by the name that tokenizer_config.json gives, "Fast" or not; without a name, by the model_type of
 * config.json. NULL if derope does not know it. */
static const Class *class_of(const char *name, const char *model_type) {
    for (size_t i = 0; i < N_CLASSES; i++) {
        size_t n = strlen(classes[i].name);
        bool same =
            name && strncmp(name, classes[i].name, n) == 0 && (!name[n] || strcmp(name + n, "Fast") == 0);
        if (same || (!name && model_type && lists(classes[i].model_types, model_type))) return &classes[i];
    }
    return NULL;
}

/* Finds the class; NULL with an error that lists those that are known. */
static const Class *find_class(const Checkpoint *c, const json_t *config, Error *e) {
    Error ignored = {0}; /* config.json is only a help here; whoever needs it reports its damage */
    json_t *model = checkpoint_json(c, CONFIG_FILE, &ignored);
    const char *name = json_get_string(config, "tokenizer_class");
    if (!name) name = json_get_string(model, "tokenizer_class");
    const Class *found = class_of(name, json_get_string(model, "model_type"));
    if (!found)
        error_set(e, ERR_INPUT,
                  "%s: has " VOCAB_FILE " and " MERGES_FILE
                  " of the class %.60s; of these files, derope reads those of GPT2Tokenizer, "
                  "CodeGenTokenizer, GPTNeoXTokenizer and Qwen2Tokenizer (save the tokenizer as "
                  "tokenizer.json with transformers)",
                  c->path ? c->path : "checkpoint", name ? name : "(none named)");
    json_decref(model);
    return found;
}

/* Adds the special tokens that the class has where the file names none. null means that there is none. */
static void add_defaults(const Class *class, json_t *config) {
    const struct {
        const char *key, *text;
    } defaults[] = {{"bos_token", class->no_bos ? NULL : class->end},
                    {"eos_token", class->end},
                    {"unk_token", class->end},
                    {"pad_token", class->pad}};
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (defaults[i].text && !json_object_get(config, defaults[i].key))
            json_object_set_new(config, defaults[i].key, json_string(defaults[i].text));
}

/* ---- the files ---- */

/* Appends the merges, "left right" on each line, to a list. A line that begins with "#version" is a note; an
 * empty last line is none. */
static bool read_merges(const Checkpoint *c, json_t *merges, Error *e) {
    const SideFile *f = checkpoint_file(c, MERGES_FILE);
    const char *at = (const char *)f->bytes, *end = at + f->size;
    for (size_t line = 1; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at)), *next = stop ? stop + 1 : end;
        size_t n = (size_t)((stop ? stop : end) - at);
        if (n && at[n - 1] == '\r') n--;
        const char *space = memchr(at, ' ', n);
        bool note = n >= 8 && memcmp(at, "#version", 8) == 0, pair = false;
        if (space && space > at && space + 1 < at + n)
            pair = !memchr(space + 1, ' ', (size_t)(at + n - space - 1));
        /* json_stringn refuses what is not UTF-8. */
        json_t *merge = pair && !note ? json_stringn(at, n) : NULL;
        if (merge)
            json_array_append_new(merges, merge);
        else if (!note && (n || next < end))
            return error_set(e, ERR_INPUT,
                             "%s/" MERGES_FILE ":%zu: '%.*s' is not a pair of tokens with a space between",
                             c->path ? c->path : "checkpoint", line, (int)(n < 60 ? n : 60), at);
        at = next;
    }
    return true;
}

/* The whole in the form of a tokenizer.json; takes the references over. */
static json_t *build(const Class *class, const json_t *config, json_t *vocab, json_t *merges) {
    const PreTokenizer *pre = pre_tokenizer_named(class->pre);
    bool prefix = tokenizer_json_flag(config, "add_prefix_space", false);
    return json_pack("{s:s, s:[], s:o, s:o, s:n, s:o, s:{s:s, s:n, s:b, s:b, s:b, s:o, s:o}}", "version",
                     "1.0", "added_tokens", "normalizer",
                     pre->nfc ? json_pack("{s:s}", "type", "NFC") : json_null(), "pre_tokenizer",
                     pre_tokenizer_steps(pre->cut, prefix), "post_processor", "decoder",
                     pre_tokenizer_byte_level(true, false), "model", "type", "BPE", "unk_token", "fuse_unk",
                     0, "byte_fallback", 0, "ignore_merges", 0, "vocab", vocab, "merges", merges);
}

json_t *vocab_merges_read(const Checkpoint *c, json_t *config, Error *e) {
    const Class *class = find_class(c, config, e);
    json_t *vocab = class ? checkpoint_json(c, VOCAB_FILE, e) : NULL, *merges = json_array();
    bool ok =
        vocab && (json_is_object(vocab) || error_set(e, ERR_INPUT, "%s/" VOCAB_FILE ": is not a JSON object",
                                                     c->path ? c->path : "checkpoint"));
    ok = ok && read_merges(c, merges, e);
    if (ok) {
        add_defaults(class, config);
        return build(class, config, vocab, merges);
    }
    json_decref(vocab);
    json_decref(merges);
    return NULL;
}

/* The special token that `flag` asks for, with its id. An absent text means that it is not asked for. */
static AroundToken wanted(const json_t *root, const json_t *config, const char *flag, const char *name) {
    const char *text = tokenizer_json_content(json_object_get(config, name));
    size_t i;
    json_t *token;
    if (!text || !tokenizer_json_flag(config, flag, false)) return (AroundToken){0};
    json_array_foreach(json_object_get(root, "added_tokens"), i, token) {
        if (strcmp(json_get_string(token, "content"), text) == 0)
            return (AroundToken){text, json_integer_value(json_object_get(token, "id"))};
    }
    return (AroundToken){0};
}

void vocab_merges_add_special(json_t *root, const json_t *config) {
    AroundToken bos = wanted(root, config, "add_bos_token", "bos_token"),
                eos = wanted(root, config, "add_eos_token", "eos_token");
    json_object_set_new(root, "post_processor", tokenizer_json_template(bos, eos));
}

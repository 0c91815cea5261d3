#include "cmd/recipe/recipe.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/recipe/recipe_read.h"
#include "formats/file.h"
#include "surgery/carrier.h"
#include "surgery/pass.h"

static const char *const objectives[] = {"next-token", "distill", NULL};
static const char *const scores[] = {"all", "half", NULL};

/* The types that can be written. */
static size_t dtype_names(const char **out, size_t max) {
    size_t n = 0;
    for (int t = 0; t < DTYPE_COUNT && n < max; t++)
        if (dtype_info((DType)t)->encode) out[n++] = dtype_info((DType)t)->name;
    return n;
}

static size_t carrier_names(const char **out, size_t max) {
    size_t n = 0;
    for (const Carrier *const *c = carriers; *c && n < max; c++) {
        bool known = false; /* HF and GGUF have some in common */
        for (size_t i = 0; i < n; i++)
            known |= strcmp(out[i], (*c)->name) == 0;
        if (!known) out[n++] = (*c)->name;
    }
    return n;
}

enum { MAX_SMALL = 1 << 24 }; /* what fits 32 bits with room to multiply */

static const Key recalibrate_keys[] = {
    {"data", KEY_PATHS, true, .help = "text files, folders, .jsonl, each also .gz or .zst"},
    {"field", KEY_STRING, .help = "the field of a JSONL line that holds the text (text)"},
    {"tokens", KEY_UINT, true, .least = 1, .help = "how many tokens to train on"},
    {"context", KEY_UINT, true, .least = 1, .most = MAX_SMALL, .help = "tokens per sequence"},
    {"objective", KEY_STRING, .choices = objectives,
     .help = "next-token, or distill from the source (next-token)"},
    {"lr", KEY_REAL, .help = "peak learning rate (3e-4)"},
    {"min_lr_ratio", KEY_REAL, .most = 1, .help = "the cosine ends at this share of lr (0.1)"},
    {"warmup", KEY_UINT, .most = MAX_SMALL,
     .help = "optimiser steps to reach lr (a tenth of all, at most 100)"},
    {"batch", KEY_UINT, .least = 1, .most = MAX_SMALL, .help = "sequences per optimiser step (8)"},
    {"accumulate", KEY_UINT, .least = 1, .most = MAX_SMALL,
     .help = "run a batch in this many parts, to save memory (1)"},
    {"weight_decay", KEY_REAL, .help = "of matrices (0.01)"},
    {"beta1", KEY_REAL, .most = 1, .help = "AdamW (0.9)"},
    {"beta2", KEY_REAL, .most = 1, .help = "AdamW (0.95)"},
    {"clip", KEY_REAL, .help = "largest gradient norm, 0: none (1)"},
    {"seed", KEY_UINT, .help = "order of the training text (1)"},
    {"from_scratch", KEY_BOOL, .help = "start from random weights; the source needs none (false)"},
    {0},
};

static const Key evaluate_keys[] = {
    {"context", KEY_UINTS, true, .least = 2, .most = 1 << 30, .help = "lengths, in tokens"},
    {"task_context", KEY_UINTS, .least = 2, .most = 1 << 30,
     .help = "lengths of needles and other tasks, where they are not the same"},
    {"text", KEY_PATHS, .help = "text that was not trained on; also where needles are hidden"},
    {"field", KEY_STRING, .help = "the field of a JSONL line that holds the text (text)"},
    {"suite", KEY_STRINGS, .help = "perplexity, needle, ... as derope eval --suite (perplexity)"},
    {"score", KEY_STRING, .choices = scores, .help = "tokens of a window that count: all or half (all)"},
    {"tokens", KEY_UINT, .least = 1, .help = "for perplexity, read no more than this many tokens (all)"},
    {"trials", KEY_UINT, .least = 1, .most = 100000, .help = "questions per length and depth (10)"},
    {"depths", KEY_UINT, .least = 1, .most = 64, .help = "places of the needle (5)"},
    {"seed", KEY_UINT, .help = "of what is asked (1)"},
    {"wording", KEY_PATH, .help = "JSON: how facts are stated and asked for"},
    {"softmax_scale", KEY_STRING, .help = "times each layer's own, or search (1)"},
    {"source", KEY_BOOL, .help = "measure the source as well (true)"},
    {"against", KEY_STRINGS,
     .help = "and the source under these: pi, ntk, yarn, dynamic-ntk, at each length's own factor"},
    {"untrained", KEY_BOOL, .help = "measure after surgery, before recalibration, as well (true)"},
    {"report", KEY_PATH, .help = "OUT.html: a page to look at, OUT.json and OUT.csv beside it"},
    {"card", KEY_BOOL, .help = "a model card, README.md and its pictures, in every HF output (false)"},
    {"base_model", KEY_STRING, .help = "what the hub calls the source, for the card"},
    {0},
};

static const Key output_keys[] = {
    {"path", KEY_PATH, true, .help = "NAME.gguf is GGUF, anything else an HF folder, NAME.zip one in a zip"},
    {"dtype", KEY_STRING, .names = dtype_names,
     .help = "f32, bf16, f16; GGUF also q8_0, q6_k, q5_k, q4_k, q3_k, q2_k, "
             "q5_0, q5_1, q4_0, q4_1, iq4_nl, iq4_xs; "
             "left out: as in the source"},
    {"carrier", KEY_STRING, .names = carrier_names,
     .help = "the stock architecture to use; left out: the plainest that can"},
    {"max_shard_size", KEY_UINT, .least = 1, .help = "HF only, bytes per file (5G)"},
    {0},
};

const Key recipe_keys[] = {
    {"source", KEY_PATH, true, .help = "HF folder or a zip of one, GGUF, safetensors or PyTorch file"},
    {"surgery", KEY_PASSES, .help = "passes, in order"},
    {"recalibrate", KEY_MAP, .keys = recalibrate_keys, .help = "train on the CPU after surgery"},
    {"evaluate", KEY_MAP, .keys = evaluate_keys, .help = "perplexity, needles, ... by length"},
    {"outputs", KEY_MAPS, true, .keys = output_keys, .help = "what to write"},
    {0},
};

enum { MAX_RECIPE = 1 << 20, MAX_DEPTH = 16 };

/* ---- files and --set ---- */

static bool not_yaml(const yaml_parser_t *p, const char *place, Error *e) {
    return error_set(e, ERR_RECIPE, "%s:%zu:%zu: not valid YAML: %s", place, p->problem_mark.line + 1,
                     p->problem_mark.column + 1, p->problem ? p->problem : "unreadable");
}

static bool is_last(yaml_parser_t *p, const char *place, Error *e) {
    yaml_document_t next;
    if (!yaml_parser_load(p, &next)) return not_yaml(p, place, e);
    bool more = yaml_document_get_root_node(&next) != NULL;
    if (more)
        error_set(e, ERR_RECIPE, "%s:%zu:1: a second document begins; a recipe is one", place,
                  next.start_mark.line + 1);
    yaml_document_delete(&next);
    return !more;
}

static int nesting(yaml_event_type_t type) {
    bool begins = type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT;
    return begins - (type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT);
}

/* libyaml's time grows with the square of the nesting, so a recipe is looked through before it is loaded.
 * What is not YAML passes: the loader says so. */
static bool is_shallow(const char *place, const char *text, size_t size, Error *e) {
    yaml_parser_t parser;
    yaml_event_t event;
    if (!yaml_parser_initialize(&parser)) return error_set(e, ERR_FAILED, "%s: no memory for YAML", place);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    bool ok = true, end = false;
    for (int depth = 0; ok && !end && yaml_parser_parse(&parser, &event);) {
        depth += nesting(event.type);
        end = event.type == YAML_STREAM_END_EVENT;
        if (depth > MAX_DEPTH)
            ok = error_set(e, ERR_RECIPE, "%s:%zu:%zu: lists and mappings lie more than %d deep", place,
                           event.start_mark.line + 1, event.start_mark.column + 1, MAX_DEPTH);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return ok;
}

bool recipe_parse_yaml(const char *place, const char *text, size_t size, yaml_document_t *out, Error *e) {
    yaml_parser_t parser;
    if (!is_shallow(place, text, size, e)) return false;
    if (!yaml_parser_initialize(&parser)) return error_set(e, ERR_FAILED, "%s: no memory for YAML", place);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    bool ok = yaml_parser_load(&parser, out);
    if (!ok) {
        not_yaml(&parser, place, e);
    } else if (!yaml_document_get_root_node(out)) {
        ok = error_set(e, ERR_RECIPE, "%s:1:1: the recipe is empty", place);
        yaml_document_delete(out);
    } else {
        ok = is_last(&parser, place, e);
        if (!ok) yaml_document_delete(out);
    }
    yaml_parser_delete(&parser);
    return ok;
}

/* Walks "recalibrate.tokens" or "outputs.0.path" through the tables and the tree. On success `*parent` holds
 * the value at the last step. Missing mappings on the way are made. */
static const Key *find_place(json_t *root, const char *dotted, json_t **parent, char *last, size_t last_size,
                             Error *e) {
    const Key *keys = recipe_keys, *key = NULL;
    json_t *at = root;
    const char *p = dotted;
    for (;;) {
        size_t n = strcspn(p, ".");
        if (n == 0 || n >= last_size) break;
        memcpy(last, p, n);
        last[n] = 0;
        if (json_is_array(at)) {
            char *end;
            unsigned long i = strtoul(last, &end, 10);
            if (*end || end == last || !json_array_get(at, i)) break;
            at = json_array_get(at, i);
        } else {
            key = recipe_find_key(keys, last);
            if (!key) break;
            *parent = at;
            if (!p[n]) return key;
            if (key->kind != KEY_MAP && key->kind != KEY_MAPS) break;
            keys = key->keys;
            if (!json_object_get(at, last) && key->kind == KEY_MAP)
                json_object_set_new(at, last, json_object());
            at = json_object_get(at, last);
            if (!at) break;
        }
        if (!p[n]) break;
        p += n + 1;
    }
    const char *names[64], *near = NULL;
    size_t count = 0;
    for (const Key *k = keys; !json_is_array(at) && k && k->name && count < 64; k++)
        names[count++] = k->name;
    if (count) near = nearest_name(last, names, count);
    error_set(e, ERR_RECIPE, "--set %s: the recipe has no such place ('%s' is unknown)%s%s%s", dotted, p,
              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return NULL;
}

static bool apply_set(json_t *root, const char *set, Error *e) {
    const char *equals = strchr(set, '=');
    if (!equals || equals == set || equals - set > 150)
        return error_set(e, ERR_USAGE, "--set %s: expected key=value", set);
    char dotted[160], last[64];
    memcpy(dotted, set, (size_t)(equals - set));
    dotted[equals - set] = 0;
    if (!equals[1]) return error_set(e, ERR_RECIPE, "--set %s: the value is missing", set);
    json_t *parent = NULL;
    const Key *key = find_place(root, dotted, &parent, last, sizeof last, e);
    if (!key) return false;
    yaml_document_t document;
    if (!recipe_parse_yaml("--set", equals + 1, strlen(equals + 1), &document, e)) return false;
    RecipeReader r = {.document = &document, .place = "--set", .folder = ""};
    json_t *v = recipe_read(&r, yaml_document_get_root_node(&document), key, dotted, e);
    yaml_document_delete(&document);
    if (!v) return false;
    json_object_set_new(parent, key->name, v);
    return true;
}

static yaml_node_t *child_node(RecipeReader *r, const yaml_node_t *n, const char *name, size_t index) {
    if (n && n->type == YAML_SEQUENCE_NODE &&
        index < (size_t)(n->data.sequence.items.top - n->data.sequence.items.start))
        return yaml_document_get_node(r->document, n->data.sequence.items.start[index]);
    if (n && n->type == YAML_MAPPING_NODE && name)
        for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
            const char *key = recipe_scalar(yaml_document_get_node(r->document, p->key));
            if (key && strcmp(key, name) == 0) return yaml_document_get_node(r->document, p->value);
        }
    return n && n->type == YAML_MAPPING_NODE && !name ? (yaml_node_t *)n : NULL;
}

/* After --set, so that a recipe may leave to the command line what it likes. `n` is where the map stands in
 * the file, NULL if only --set made it. */
static bool check_required(RecipeReader *r, const yaml_node_t *n, const json_t *map, const Key *keys,
                           const char *what, Error *e) {
    for (const Key *k = keys; k->name; k++) {
        const json_t *v = json_object_get(map, k->name);
        if (!v && k->required && n) return recipe_wrong(r, n, e, "%s needs '%s': %s", what, k->name, k->help);
        if (!v && k->required)
            return error_set(e, ERR_RECIPE, "--set: %s needs '%s': %s", what, k->name, k->help);
        const yaml_node_t *child = v && k->keys ? child_node(r, n, k->name, 0) : NULL;
        if (v && k->kind == KEY_MAP && !check_required(r, child, v, k->keys, k->name, e)) return false;
        for (size_t i = 0; k->kind == KEY_MAPS && i < json_array_size(v); i++)
            if (!check_required(r, child_node(r, child, NULL, i), json_array_get(v, i), k->keys, k->name, e))
                return false;
    }
    return true;
}

/* ---- the whole ---- */

/* The first part of a path that leads somewhere: "" and "." do not. */
static const char *next_part(const char *path, size_t *n) {
    for (;; path += *n) {
        path += strspn(path, "/");
        *n = strcspn(path, "/");
        if (*n != 1 || *path != '.') return path;
    }
}

static bool same_place(const char *a, const char *b) {
    size_t n, m;
    if ((*a == '/') != (*b == '/')) return false;
    do {
        a = next_part(a, &n);
        b = next_part(b, &m);
        if (n != m || strncmp(a, b, n) != 0) return false;
        a += n;
        b += m;
    } while (n);
    return true;
}

/* One output would replace the other, at every run. */
static const char *same_path(const json_t *outputs, size_t i) {
    const char *path = json_string_value(json_object_get(json_array_get(outputs, i), "path"));
    for (size_t j = 0; j < i; j++)
        if (same_place(path, json_string_value(json_object_get(json_array_get(outputs, j), "path"))))
            return path;
    return NULL;
}

static bool check_outputs(const char *path, const char *const *sets, size_t n_sets, const json_t *recipe,
                          Error *e) {
    const json_t *outputs = json_object_get(recipe, "outputs");
    for (size_t i = 0; i < json_array_size(outputs); i++) {
        const char *same = same_path(outputs, i);
        char dotted[64];
        snprintf(dotted, sizeof dotted, "outputs.%zu.path", i);
        if (!same) continue;
        error_set(e, ERR_RECIPE, "%s is written twice", same);
        return recipe_blame(path, sets, n_sets, dotted, e);
    }
    return true;
}

json_t *recipe_load(const char *path, const char *const *sets, size_t n_sets, Error *e) {
    Buffer text = {0};
    if (!file_read(path, MAX_RECIPE, &text, e)) return NULL;
    char folder[PATH_MAX] = "";
    const char *slash = strrchr(path, '/');
    if (slash && (size_t)(slash - path) < sizeof folder) memcpy(folder, path, (size_t)(slash - path));
    yaml_document_t document;
    bool ok = recipe_parse_yaml(path, (const char *)text.data, text.size, &document, e);
    buffer_free(&text);
    if (!ok) return NULL;

    RecipeReader r = {.document = &document, .place = path, .folder = slash == path ? "/" : folder};
    yaml_node_t *root = yaml_document_get_root_node(&document);
    json_t *recipe = recipe_read(&r, root, &(Key){.kind = KEY_MAP, .keys = recipe_keys}, "", e);
    ok = recipe != NULL;
    for (size_t i = 0; ok && i < n_sets; i++)
        ok = apply_set(recipe, sets[i], e);
    ok = ok && check_required(&r, root, recipe, recipe_keys, "a recipe", e);
    yaml_document_delete(&document);
    if (ok && check_outputs(path, sets, n_sets, recipe, e)) return recipe;
    json_decref(recipe);
    return NULL;
}

/* True if `set` gives the value at `dotted`, or one around it. */
static bool set_gives(const char *set, const char *dotted) {
    size_t n = strcspn(set, "=");
    return strncmp(set, dotted, n) == 0 && (dotted[n] == 0 || dotted[n] == '.');
}

/* As far down as the file goes. */
static const yaml_node_t *node_of(RecipeReader *r, const char *dotted) {
    const yaml_node_t *at = yaml_document_get_root_node(r->document);
    for (const char *p = dotted; *p;) {
        char part[64];
        size_t n = strcspn(p, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, p);
        char *end;
        unsigned long i = strtoul(part, &end, 10);
        const yaml_node_t *next = *end ? child_node(r, at, part, 0) : child_node(r, at, NULL, i);
        if (!next) break;
        at = next;
        p += n + (p[n] == '.');
    }
    return at;
}

bool recipe_blame(const char *path, const char *const *sets, size_t n_sets, const char *dotted, Error *e) {
    e->code = ERR_RECIPE;
    for (size_t i = 0; i < n_sets; i++)
        if (set_gives(sets[i], dotted)) return error_place(e, "--set %s", dotted);
    Buffer text = {0};
    yaml_document_t document;
    Error ignored = {0};
    bool read = file_read(path, MAX_RECIPE, &text, &ignored) &&
                recipe_parse_yaml(path, (const char *)text.data, text.size, &document, &ignored);
    buffer_free(&text);
    if (!read) return error_place(e, "%s: %s", path, dotted);
    RecipeReader r = {.document = &document, .place = path};
    const yaml_node_t *n = node_of(&r, dotted);
    error_place(e, "%s:%zu:%zu", path, n->start_mark.line + 1, n->start_mark.column + 1);
    yaml_document_delete(&document);
    return false;
}

#include "surgery/recipe.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "formats/file.h"
#include "surgery/pass.h"

static const char *const objectives[] = {"next-token", "distill", NULL};
static const char *const scores[] = {"all", "half", NULL};

static const Key recalibrate_keys[] = {
    {"data", KEY_PATHS, true, .help = "text files, folders, .jsonl, each also .gz or .zst"},
    {"field", KEY_STRING, .help = "the field of a JSONL line that holds the text (text)"},
    {"tokens", KEY_UINT, true, .help = "how many tokens to train on"},
    {"context", KEY_UINT, true, .help = "tokens per sequence"},
    {"objective", KEY_STRING, .choices = objectives,
     .help = "next-token, or distill from the source (next-token)"},
    {"lr", KEY_REAL, .help = "peak learning rate (3e-4)"},
    {"min_lr_ratio", KEY_REAL, .help = "the cosine ends at this share of lr (0.1)"},
    {"warmup", KEY_UINT, .help = "optimiser steps to reach lr (a tenth of all, at most 100)"},
    {"batch", KEY_UINT, .help = "sequences per optimiser step (8)"},
    {"accumulate", KEY_UINT, .help = "run a batch in this many parts, to save memory (1)"},
    {"weight_decay", KEY_REAL, .help = "of matrices (0.01)"},
    {"beta1", KEY_REAL, .help = "AdamW (0.9)"},
    {"beta2", KEY_REAL, .help = "AdamW (0.95)"},
    {"clip", KEY_REAL, .help = "largest gradient norm, 0: none (1)"},
    {"seed", KEY_UINT, .help = "order of the training text (1)"},
    {"from_scratch", KEY_BOOL, .help = "start from random weights; the source needs none (false)"},
    {0},
};

static const Key evaluate_keys[] = {
    {"text", KEY_PATHS, true, .help = "text that was not trained on"},
    {"context", KEY_UINTS, true, .help = "lengths at which perplexity is measured"},
    {"score", KEY_STRING, .choices = scores, .help = "tokens of a window that count: all or half (all)"},
    {"tokens", KEY_UINT, .help = "read no more than this many tokens (all)"},
    {"source", KEY_BOOL, .help = "measure the source as well (true)"},
    {"yarn", KEY_BOOL, .help = "and the source under YaRN, at each length's own factor (false)"},
    {"untrained", KEY_BOOL, .help = "measure after surgery, before recalibration, as well (true)"},
    {0},
};

static const Key output_keys[] = {
    {"path", KEY_PATH, true, .help = "NAME.gguf is GGUF, anything else an HF folder"},
    {"dtype", KEY_STRING, .help = "f32, bf16, f16, q8_0, q4_0, q4_1; left out: as in the source"},
    {"carrier", KEY_STRING, .help = "the stock architecture to use; left out: the plainest that can"},
    {"max_shard_size", KEY_UINT, .help = "HF only, bytes per file (5G)"},
    {0},
};

const Key recipe_keys[] = {
    {"source", KEY_PATH, true, .help = "HF folder, GGUF, safetensors or PyTorch file"},
    {"surgery", KEY_PASSES, .help = "passes, in order"},
    {"recalibrate", KEY_MAP, .keys = recalibrate_keys, .help = "train on the CPU after surgery"},
    {"evaluate", KEY_MAP, .keys = evaluate_keys, .help = "perplexity by length"},
    {"outputs", KEY_MAPS, true, .keys = output_keys, .help = "what to write"},
    {0},
};

/* Where a value stands: for messages, and for what a relative path is relative to. */
typedef struct Reader {
    yaml_document_t *document;
    const char *place;  /* file name, or "--set" */
    const char *folder; /* "" for the current one */
    size_t visited;     /* aliases can make a small file very large */
} Reader;

enum { MAX_RECIPE = 1 << 20, MAX_NODES = 100000 };

static bool wrong(const Reader *r, const yaml_node_t *n, Error *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static bool wrong(const Reader *r, const yaml_node_t *n, Error *e, const char *fmt, ...) {
    char text[800];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(e, ERR_RECIPE, "%s:%zu:%zu: %s", r->place, n->start_mark.line + 1,
                     n->start_mark.column + 1, text);
}

static yaml_node_t *node_at(Reader *r, int index, Error *e) {
    yaml_node_t *n = yaml_document_get_node(r->document, index);
    if (++r->visited > MAX_NODES) {
        wrong(r, n, e, "more than %d values (aliases inside aliases?)", MAX_NODES);
        return NULL;
    }
    return n;
}

static const char *scalar(const yaml_node_t *n) {
    return n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

static const char *describe(const yaml_node_t *n, char *out, size_t size) {
    if (n->type == YAML_MAPPING_NODE) return "a mapping";
    if (n->type == YAML_SEQUENCE_NODE) return "a list";
    snprintf(out, size, "'%.60s'", scalar(n));
    return out;
}

static bool expected(const Reader *r, const yaml_node_t *n, const char *what, const char *wanted, Error *e) {
    char found[80];
    return wrong(r, n, e, "%s: expected %s, found %s", what, wanted, describe(n, found, sizeof found));
}

/* ---- scalars ---- */

static json_t *read_uint(const Reader *r, const yaml_node_t *n, const char *what, Error *e) {
    const char *s = scalar(n);
    uint64_t unit = 1;
    char *end = NULL;
    errno = 0;
    unsigned long long v = s && s[0] >= '0' && s[0] <= '9' ? strtoull(s, &end, 10) : 0;
    if (end && *end && !end[1])
        unit = *end == 'k' ? 1000 : *end == 'M' ? 1000000 : *end == 'G' ? 1000000000 : 0;
    uint64_t value;
    if (!end || (*end && (!unit || end[1])) || errno || !mul_u64(v, unit, &value) || value > INT64_MAX) {
        expected(r, n, what, "a whole number (4096, 100k)", e);
        return NULL;
    }
    return json_integer((json_int_t)value);
}

static json_t *read_real(const Reader *r, const yaml_node_t *n, const char *what, Error *e) {
    const char *s = scalar(n);
    char *end = NULL;
    double v = s ? strtod(s, &end) : 0;
    if (!s || end == s || *end || !isfinite(v)) {
        expected(r, n, what, "a number", e);
        return NULL;
    }
    return json_real(v);
}

static json_t *read_bool(const Reader *r, const yaml_node_t *n, const char *what, Error *e) {
    const char *s = scalar(n);
    if (s && strcmp(s, "true") == 0) return json_true();
    if (s && strcmp(s, "false") == 0) return json_false();
    expected(r, n, what, "true or false", e);
    return NULL;
}

static json_t *suggest(const Reader *r, const yaml_node_t *n, const char *what, const char *word,
                       const char *const *names, size_t n_names, Error *e) {
    const char *near = nearest_name(word, names, n_names);
    Buffer all = {0};
    for (size_t i = 0; i < n_names; i++)
        buffer_printf(&all, "%s%s", i ? ", " : "", names[i]);
    if (near)
        wrong(r, n, e, "unknown %s '%.60s'; did you mean '%s'?", what, word, near);
    else
        wrong(r, n, e, "unknown %s '%.60s' (known: %s)", what, word, buffer_string(&all));
    buffer_free(&all);
    return NULL;
}

static json_t *read_string(const Reader *r, const yaml_node_t *n, const char *what,
                           const char *const *choices, Error *e) {
    const char *s = scalar(n);
    if (!s || !*s) {
        expected(r, n, what, "text", e);
        return NULL;
    }
    size_t n_choices = 0;
    for (; choices && choices[n_choices]; n_choices++)
        if (strcmp(choices[n_choices], s) == 0) return json_string(s);
    if (choices) return suggest(r, n, what, s, choices, n_choices, e);
    return json_string(s);
}

static json_t *read_path(const Reader *r, const yaml_node_t *n, const char *what, Error *e) {
    const char *s = scalar(n);
    if (!s || !*s) {
        expected(r, n, what, "a path", e);
        return NULL;
    }
    if (s[0] == '/' || !r->folder[0]) return json_string(s);
    return json_sprintf("%s/%s", r->folder, s);
}

/* Shape only; which layers exist is known once the model is open. */
static json_t *read_layers(Reader *r, const yaml_node_t *n, const char *what, Error *e) {
    if (scalar(n)) return json_string(scalar(n));
    if (n->type != YAML_SEQUENCE_NODE) {
        expected(r, n, what, "layers (all, 10-29, every:4, [0, 3])", e);
        return NULL;
    }
    json_t *list = json_array();
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        yaml_node_t *item = node_at(r, *i, e);
        json_t *layer = item ? read_uint(r, item, what, e) : NULL;
        if (!layer) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, layer);
    }
    return list;
}

/* ---- structure ---- */

static json_t *read_value(Reader *r, const yaml_node_t *n, const Key *key, const char *what, Error *e);

static json_t *read_list(Reader *r, const yaml_node_t *n, const Key *item_key, const char *what, Error *e) {
    json_t *list = json_array();
    if (n->type != YAML_SEQUENCE_NODE) { /* one alone needs no brackets */
        json_t *only = read_value(r, n, item_key, what, e);
        if (only) {
            json_array_append_new(list, only);
            return list;
        }
        json_decref(list);
        return NULL;
    }
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        char place[160];
        snprintf(place, sizeof place, "%s.%zu", what, (size_t)(i - n->data.sequence.items.start));
        yaml_node_t *item = node_at(r, *i, e);
        json_t *v = item ? read_value(r, item, item_key, place, e) : NULL;
        if (!v) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, v);
    }
    if (json_array_size(list)) return list;
    json_decref(list);
    wrong(r, n, e, "%s: the list is empty", what);
    return NULL;
}

static const Key *find_key(const Key *keys, const char *name) {
    for (; keys->name; keys++)
        if (strcmp(keys->name, name) == 0) return keys;
    return NULL;
}

static json_t *unknown_key(const Reader *r, const yaml_node_t *n, const Key *keys, const char *what,
                           Error *e) {
    const char *names[64];
    size_t count = 0;
    for (; keys[count].name && count < 64; count++)
        names[count] = keys[count].name;
    char kind[160];
    snprintf(kind, sizeof kind, *what ? "key in %s:" : "key", what);
    return suggest(r, n, kind, scalar(n), names, count, e);
}

static json_t *read_map(Reader *r, const yaml_node_t *n, const Key *keys, const char *what, Error *e) {
    if (n->type != YAML_MAPPING_NODE) {
        expected(r, n, *what ? what : "the recipe", "a mapping (key: value)", e);
        return NULL;
    }
    json_t *map = json_object();
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        yaml_node_t *name = node_at(r, p->key, e), *value = name ? node_at(r, p->value, e) : NULL;
        if (!value) goto fail;
        if (!scalar(name)) {
            expected(r, name, what, "a key", e);
            goto fail;
        }
        const Key *key = find_key(keys, scalar(name));
        if (!key) {
            unknown_key(r, name, keys, what, e);
            goto fail;
        }
        if (json_object_get(map, key->name)) {
            wrong(r, name, e, "'%s' is given twice", key->name);
            goto fail;
        }
        char place[160];
        snprintf(place, sizeof place, "%s%s%s", what, *what ? "." : "", key->name);
        json_t *v = read_value(r, value, key, place, e);
        if (!v) goto fail;
        json_object_set_new(map, key->name, v);
    }
    return map;
fail:
    json_decref(map);
    return NULL;
}

static json_t *read_argument(Reader *r, const yaml_node_t *n, const Param *p, const char *what, Error *e) {
    static const KeyKind kinds[] = {[PARAM_LAYERS] = KEY_LAYERS,
                                    [PARAM_UINT] = KEY_UINT,
                                    [PARAM_REAL] = KEY_REAL,
                                    [PARAM_STRING] = KEY_STRING,
                                    [PARAM_BOOL] = KEY_BOOL};
    Key key = {p->name, kinds[p->type], .help = p->help};
    return read_value(r, n, &key, what, e);
}

static json_t *read_arguments(Reader *r, const yaml_node_t *n, const Pass *pass, json_t *out, Error *e) {
    if (n->type != YAML_MAPPING_NODE) {
        expected(r, n, pass->name, "a mapping of its arguments", e);
        return NULL;
    }
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        yaml_node_t *name = node_at(r, p->key, e), *value = name ? node_at(r, p->value, e) : NULL;
        if (!value) return NULL;
        const char *names[32];
        size_t count = 0;
        const Param *found = NULL;
        for (const Param *q = pass->params; q->name && count < 32; q++) {
            names[count++] = q->name;
            if (scalar(name) && strcmp(q->name, scalar(name)) == 0) found = q;
        }
        char place[160];
        snprintf(place, sizeof place, "argument of %s:", pass->name);
        if (!found) return suggest(r, name, place, scalar(name) ? scalar(name) : "?", names, count, e);
        snprintf(place, sizeof place, "%s.%s", pass->name, found->name);
        json_t *v = read_argument(r, value, found, place, e);
        if (!v) return NULL;
        json_object_set_new(out, found->name, v);
    }
    return out;
}

/* "- drop_rope" or "- drop_rope: {layers: 20-29}" */
static json_t *read_pass(Reader *r, const yaml_node_t *n, Error *e) {
    yaml_node_t *name = NULL, *args = NULL;
    if (n->type == YAML_MAPPING_NODE && n->data.mapping.pairs.top - n->data.mapping.pairs.start == 1) {
        name = node_at(r, n->data.mapping.pairs.start->key, e);
        args = name ? node_at(r, n->data.mapping.pairs.start->value, e) : NULL;
        if (!args) return NULL;
    }
    const char *word = name ? scalar(name) : scalar(n);
    if (!word) {
        expected(r, n, "surgery", "one pass, as 'drop_rope' or 'drop_rope: {layers: 20-29}'", e);
        return NULL;
    }
    const Pass *pass = pass_by_name(word);
    if (!pass) {
        const char *names[64];
        size_t count = 0;
        for (; passes[count] && count < 64; count++)
            names[count] = passes[count]->name;
        return suggest(r, name ? name : n, "pass", word, names, count, e);
    }
    json_t *out = json_pack("{s:s}", "pass", pass->name);
    bool empty = args && scalar(args) && !*scalar(args);
    if (args && !empty && !read_arguments(r, args, pass, out, e)) {
        json_decref(out);
        return NULL;
    }
    json_t *given = json_copy(out);
    json_object_del(given, "pass");
    Error reason = {0};
    bool good = pass_check(pass, given, &reason);
    json_decref(given);
    if (good) return out;
    wrong(r, n, e, "%s", reason.message);
    json_decref(out);
    return NULL;
}

static json_t *read_passes(Reader *r, const yaml_node_t *n, Error *e) {
    if (n->type != YAML_SEQUENCE_NODE) {
        expected(r, n, "surgery", "a list of passes", e);
        return NULL;
    }
    json_t *list = json_array();
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        yaml_node_t *item = node_at(r, *i, e);
        json_t *pass = item ? read_pass(r, item, e) : NULL;
        if (!pass) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, pass);
    }
    return list;
}

static json_t *read_value(Reader *r, const yaml_node_t *n, const Key *key, const char *what, Error *e) {
    Key item = *key;
    switch (key->kind) {
    case KEY_STRING:
        return read_string(r, n, what, key->choices, e);
    case KEY_UINT:
        return read_uint(r, n, what, e);
    case KEY_REAL:
        return read_real(r, n, what, e);
    case KEY_BOOL:
        return read_bool(r, n, what, e);
    case KEY_PATH:
        return read_path(r, n, what, e);
    case KEY_LAYERS:
        return read_layers(r, n, what, e);
    case KEY_MAP:
        return read_map(r, n, key->keys, what, e);
    case KEY_PASSES:
        return read_passes(r, n, e);
    case KEY_UINTS:
        item.kind = KEY_UINT;
        break;
    case KEY_PATHS:
        item.kind = KEY_PATH;
        break;
    case KEY_MAPS:
        item.kind = KEY_MAP;
        break;
    }
    return read_list(r, n, &item, what, e);
}

/* ---- files and --set ---- */

/* Parses one YAML document; the caller deletes it if this returns true. */
static bool parse_yaml(const char *place, const char *text, size_t size, yaml_document_t *out, Error *e) {
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return error_set(e, ERR_FAILED, "%s: no memory for YAML", place);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    bool ok = yaml_parser_load(&parser, out);
    if (!ok) {
        error_set(e, ERR_RECIPE, "%s:%zu:%zu: not valid YAML: %s", place, parser.problem_mark.line + 1,
                  parser.problem_mark.column + 1, parser.problem ? parser.problem : "unreadable");
    } else if (!yaml_document_get_root_node(out)) {
        ok = error_set(e, ERR_RECIPE, "%s:1:1: the recipe is empty", place);
        yaml_document_delete(out);
    } else {
        yaml_document_t second;
        if (yaml_parser_load(&parser, &second)) {
            bool more = yaml_document_get_root_node(&second) != NULL;
            size_t line = second.start_mark.line + 1;
            yaml_document_delete(&second);
            if (more) {
                ok = error_set(e, ERR_RECIPE, "%s:%zu:1: a second document begins; a recipe is one", place,
                               line);
                yaml_document_delete(out);
            }
        }
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
            key = find_key(keys, last);
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
    error_set(e, ERR_RECIPE, "--set %s: the recipe has no such place ('%s' is unknown)", dotted, p);
    return NULL;
}

static bool apply_set(json_t *root, const char *set, Error *e) {
    const char *equals = strchr(set, '=');
    if (!equals || equals == set || equals - set > 150)
        return error_set(e, ERR_USAGE, "--set %s: expected key=value", set);
    char dotted[160], last[64];
    memcpy(dotted, set, (size_t)(equals - set));
    dotted[equals - set] = 0;
    json_t *parent = NULL;
    const Key *key = find_place(root, dotted, &parent, last, sizeof last, e);
    if (!key) return false;
    yaml_document_t document;
    if (!parse_yaml("--set", equals + 1, strlen(equals + 1), &document, e)) return false;
    Reader r = {.document = &document, .place = "--set", .folder = ""};
    json_t *v = read_value(&r, yaml_document_get_root_node(&document), key, dotted, e);
    yaml_document_delete(&document);
    if (!v) return false;
    json_object_set_new(parent, key->name, v);
    return true;
}

static yaml_node_t *child_node(Reader *r, const yaml_node_t *n, const char *name, size_t index) {
    if (n && n->type == YAML_SEQUENCE_NODE &&
        index < (size_t)(n->data.sequence.items.top - n->data.sequence.items.start))
        return yaml_document_get_node(r->document, n->data.sequence.items.start[index]);
    if (n && n->type == YAML_MAPPING_NODE && name)
        for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
            const char *key = scalar(yaml_document_get_node(r->document, p->key));
            if (key && strcmp(key, name) == 0) return yaml_document_get_node(r->document, p->value);
        }
    return n && n->type == YAML_MAPPING_NODE && !name ? (yaml_node_t *)n : NULL;
}

/* After --set, so that a recipe may leave to the command line what it likes. `n` is where the map stands in
 * the file, NULL if only --set made it. */
static bool check_required(Reader *r, const yaml_node_t *n, const json_t *map, const Key *keys,
                           const char *what, Error *e) {
    for (const Key *k = keys; k->name; k++) {
        const json_t *v = json_object_get(map, k->name);
        if (!v && k->required && n) return wrong(r, n, e, "%s needs '%s': %s", what, k->name, k->help);
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

json_t *recipe_load(const char *path, const char *const *sets, size_t n_sets, Error *e) {
    Buffer text = {0};
    if (!file_read(path, MAX_RECIPE, &text, e)) return NULL;
    char folder[PATH_MAX] = "";
    const char *slash = strrchr(path, '/');
    if (slash && (size_t)(slash - path) < sizeof folder) memcpy(folder, path, (size_t)(slash - path));
    yaml_document_t document;
    bool ok = parse_yaml(path, (const char *)text.data, text.size, &document, e);
    buffer_free(&text);
    if (!ok) return NULL;

    Reader r = {.document = &document, .place = path, .folder = slash == path ? "/" : folder};
    yaml_node_t *root = yaml_document_get_root_node(&document);
    json_t *recipe = read_map(&r, root, recipe_keys, "", e);
    ok = recipe != NULL;
    for (size_t i = 0; ok && i < n_sets; i++)
        ok = apply_set(recipe, sets[i], e);
    ok = ok && check_required(&r, root, recipe, recipe_keys, "a recipe", e);
    yaml_document_delete(&document);
    if (ok) return recipe;
    json_decref(recipe);
    return NULL;
}

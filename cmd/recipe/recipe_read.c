#include "cmd/recipe/recipe_read.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "surgery/pass.h"

enum { MAX_NODES = 100000 };

bool recipe_wrong(const RecipeReader *r, const yaml_node_t *n, Error *e, const char *fmt, ...) {
    char text[800];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(e, ERR_RECIPE, "%s:%zu:%zu: %s", r->place, n->start_mark.line + 1,
                     n->start_mark.column + 1, text);
}

static yaml_node_t *node_at(RecipeReader *r, int index, Error *e) {
    yaml_node_t *n = yaml_document_get_node(r->document, index);
    if (++r->visited > MAX_NODES) {
        recipe_wrong(r, n, e, "more than %d values (aliases inside aliases?)", MAX_NODES);
        return NULL;
    }
    return n;
}

const char *recipe_scalar(const yaml_node_t *n) {
    return n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

static const char *describe(const yaml_node_t *n, char *out, size_t size) {
    if (n->type == YAML_MAPPING_NODE) return "a mapping";
    if (n->type == YAML_SEQUENCE_NODE) return "a list";
    snprintf(out, size, "'%.60s'", recipe_scalar(n));
    return out;
}

static bool expected(const RecipeReader *r, const yaml_node_t *n, const char *what, const char *wanted,
                     Error *e) {
    char found[80];
    return recipe_wrong(r, n, e, "%s: expected %s, found %s", what, wanted, describe(n, found, sizeof found));
}

/* ---- scalars ---- */

static bool in_range(const RecipeReader *r, const yaml_node_t *n, const Key *key, const char *what, double v,
                     Error *e) {
    char wanted[80];
    if (v >= key->least && (key->most == 0 || v <= key->most)) return true;
    snprintf(wanted, sizeof wanted, key->most == 0 ? "%.15g or more" : "%.15g to %.15g", key->least,
             key->most);
    return expected(r, n, what, wanted, e);
}

static json_t *read_uint(const RecipeReader *r, const yaml_node_t *n, const Key *key, const char *what,
                         Error *e) {
    const char *s = recipe_scalar(n);
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
    return in_range(r, n, key, what, (double)value, e) ? json_integer((json_int_t)value) : NULL;
}

static json_t *read_real(const RecipeReader *r, const yaml_node_t *n, const Key *key, const char *what,
                         Error *e) {
    const char *s = recipe_scalar(n);
    char *end = NULL;
    double v = s ? strtod(s, &end) : 0;
    if (!s || end == s || *end || !isfinite(v)) {
        expected(r, n, what, "a number", e);
        return NULL;
    }
    return in_range(r, n, key, what, v, e) ? json_real(v) : NULL;
}

static json_t *read_bool(const RecipeReader *r, const yaml_node_t *n, const char *what, Error *e) {
    const char *s = recipe_scalar(n);
    if (s && strcmp(s, "true") == 0) return json_true();
    if (s && strcmp(s, "false") == 0) return json_false();
    expected(r, n, what, "true or false", e);
    return NULL;
}

static json_t *suggest(const RecipeReader *r, const yaml_node_t *n, const char *what, const char *word,
                       const char *const *names, size_t n_names, Error *e) {
    const char *near = nearest_name(word, names, n_names);
    Buffer all = {0};
    for (size_t i = 0; i < n_names; i++)
        buffer_printf(&all, "%s%s", i ? ", " : "", names[i]);
    if (near)
        recipe_wrong(r, n, e, "unknown %s '%.60s'; did you mean '%s'?", what, word, near);
    else
        recipe_wrong(r, n, e, "unknown %s '%.60s' (known: %s)", what, word, buffer_string(&all));
    buffer_free(&all);
    return NULL;
}

static json_t *read_string(const RecipeReader *r, const yaml_node_t *n, const Key *key, const char *what,
                           Error *e) {
    const char *s = recipe_scalar(n), *names[64];
    if (!s || !*s) {
        expected(r, n, what, "text", e);
        return NULL;
    }
    size_t n_names = key->names ? key->names(names, 64) : 0;
    for (; key->choices && key->choices[n_names] && n_names < 64; n_names++)
        names[n_names] = key->choices[n_names];
    for (size_t i = 0; i < n_names; i++)
        if (strcmp(names[i], s) == 0) return json_string(s);
    return n_names ? suggest(r, n, what, s, names, n_names, e) : json_string(s);
}

static json_t *read_path(const RecipeReader *r, const yaml_node_t *n, const char *what, Error *e) {
    const char *s = recipe_scalar(n);
    if (!s || !*s) {
        expected(r, n, what, "a path", e);
        return NULL;
    }
    if (s[0] == '/' || !r->folder[0]) return json_string(s);
    return json_sprintf("%s/%s", r->folder, s);
}

/* Shape only; which layers exist is known once the model is open. */
static json_t *read_layers(RecipeReader *r, const yaml_node_t *n, const char *what, Error *e) {
    if (recipe_scalar(n)) return json_string(recipe_scalar(n));
    if (n->type != YAML_SEQUENCE_NODE) {
        expected(r, n, what, "layers (all, 10-29, every:4, [0, 3])", e);
        return NULL;
    }
    json_t *list = json_array();
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        yaml_node_t *item = node_at(r, *i, e);
        json_t *layer = item ? read_uint(r, item, &(Key){0}, what, e) : NULL;
        if (!layer) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, layer);
    }
    return list;
}

/* ---- structure ---- */

static json_t *read_list(RecipeReader *r, const yaml_node_t *n, const Key *item_key, const char *what,
                         Error *e) {
    json_t *list = json_array();
    if (n->type != YAML_SEQUENCE_NODE) { /* one alone needs no brackets */
        json_t *only = recipe_read(r, n, item_key, what, e);
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
        json_t *v = item ? recipe_read(r, item, item_key, place, e) : NULL;
        if (!v) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, v);
    }
    if (json_array_size(list)) return list;
    json_decref(list);
    recipe_wrong(r, n, e, "%s: the list is empty", what);
    return NULL;
}

const Key *recipe_find_key(const Key *keys, const char *name) {
    for (; keys->name; keys++)
        if (strcmp(keys->name, name) == 0) return keys;
    return NULL;
}

static json_t *unknown_key(const RecipeReader *r, const yaml_node_t *n, const Key *keys, const char *what,
                           Error *e) {
    const char *names[64];
    size_t count = 0;
    for (; keys[count].name && count < 64; count++)
        names[count] = keys[count].name;
    char kind[160];
    snprintf(kind, sizeof kind, *what ? "key in %s:" : "key", what);
    return suggest(r, n, kind, recipe_scalar(n), names, count, e);
}

static json_t *read_map(RecipeReader *r, const yaml_node_t *n, const Key *keys, const char *what, Error *e) {
    if (n->type != YAML_MAPPING_NODE) {
        expected(r, n, *what ? what : "the recipe", "a mapping (key: value)", e);
        return NULL;
    }
    json_t *map = json_object();
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        yaml_node_t *name = node_at(r, p->key, e), *value = name ? node_at(r, p->value, e) : NULL;
        if (!value) goto fail;
        if (!recipe_scalar(name)) {
            expected(r, name, what, "a key", e);
            goto fail;
        }
        const Key *key = recipe_find_key(keys, recipe_scalar(name));
        if (!key) {
            unknown_key(r, name, keys, what, e);
            goto fail;
        }
        if (json_object_get(map, key->name)) {
            recipe_wrong(r, name, e, "'%s' is given twice", key->name);
            goto fail;
        }
        char place[160];
        snprintf(place, sizeof place, "%s%s%s", what, *what ? "." : "", key->name);
        json_t *v = recipe_read(r, value, key, place, e);
        if (!v) goto fail;
        json_object_set_new(map, key->name, v);
    }
    return map;
fail:
    json_decref(map);
    return NULL;
}

static json_t *read_argument(RecipeReader *r, const yaml_node_t *n, const Param *p, const char *what,
                             Error *e) {
    static const KeyKind kinds[] = {[PARAM_LAYERS] = KEY_LAYERS,
                                    [PARAM_UINT] = KEY_UINT,
                                    [PARAM_REAL] = KEY_REAL,
                                    [PARAM_STRING] = KEY_STRING,
                                    [PARAM_BOOL] = KEY_BOOL};
    Key key = {p->name, kinds[p->type], .help = p->help};
    return recipe_read(r, n, &key, what, e);
}

static json_t *read_arguments(RecipeReader *r, const yaml_node_t *n, const Pass *pass, json_t *out,
                              Error *e) {
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
            if (recipe_scalar(name) && strcmp(q->name, recipe_scalar(name)) == 0) found = q;
        }
        char place[160];
        snprintf(place, sizeof place, "argument of %s:", pass->name);
        if (!found)
            return suggest(r, name, place, recipe_scalar(name) ? recipe_scalar(name) : "?", names, count, e);
        if (json_object_get(out, found->name)) {
            recipe_wrong(r, name, e, "'%s' is given twice", found->name);
            return NULL;
        }
        snprintf(place, sizeof place, "%s.%s", pass->name, found->name);
        json_t *v = read_argument(r, value, found, place, e);
        if (!v) return NULL;
        json_object_set_new(out, found->name, v);
    }
    return out;
}

/* "- drop_rope" or "- drop_rope: {layers: 20-29}" */
static json_t *read_pass(RecipeReader *r, const yaml_node_t *n, Error *e) {
    yaml_node_t *name = NULL, *args = NULL;
    if (n->type == YAML_MAPPING_NODE && n->data.mapping.pairs.top - n->data.mapping.pairs.start == 1) {
        name = node_at(r, n->data.mapping.pairs.start->key, e);
        args = name ? node_at(r, n->data.mapping.pairs.start->value, e) : NULL;
        if (!args) return NULL;
    }
    const char *word = name ? recipe_scalar(name) : recipe_scalar(n);
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
    bool empty = args && recipe_scalar(args) && !*recipe_scalar(args);
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
    recipe_wrong(r, n, e, "%s", reason.message);
    json_decref(out);
    return NULL;
}

static json_t *read_passes(RecipeReader *r, const yaml_node_t *n, Error *e) {
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

json_t *recipe_read(RecipeReader *r, const yaml_node_t *n, const Key *key, const char *what, Error *e) {
    Key item = *key;
    switch (key->kind) {
    case KEY_STRING:
        return read_string(r, n, key, what, e);
    case KEY_UINT:
        return read_uint(r, n, key, what, e);
    case KEY_REAL:
        return read_real(r, n, key, what, e);
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
    case KEY_STRINGS:
        item.kind = KEY_STRING;
        break;
    case KEY_PATHS:
        item.kind = KEY_PATH;
        break;
    case KEY_MAPS:
        item.kind = KEY_MAP;
        if (!recipe_scalar(n)) break;
        expected(r, n, what, "a list of mappings (- key: value)", e);
        return NULL;
    }
    return read_list(r, n, &item, what, e);
}

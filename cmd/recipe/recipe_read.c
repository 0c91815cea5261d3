/* Turns YAML nodes into JSON that is known to be right. recipe.c and recipe_passes.c call it with the tables
 * of options that describe a section or a pass. Each function takes a node and what it has to be, and returns
 * JSON or sets an error while the node is still known, so that every message can name a line and a column. */
#include "cmd/recipe/recipe_read.h"

#include <stdio.h>
#include <string.h>

#include "formats/buffer.h"
#include "surgery/nearest_name.h"

/* Describes what was found in place of the expected value, for messages: "a list", "a mapping", or the first
 * 60 bytes of the text in quotes. `out` is memory for the latter. */
static const char *describe(const yaml_node_t *n, char *out, size_t size) {
    if (n->type == YAML_MAPPING_NODE) return "a mapping";
    if (n->type == YAML_SEQUENCE_NODE) return "a list";
    snprintf(out, size, "'%.60s'", recipe_scalar(n));
    return out;
}

bool recipe_expected(const RecipeReader *r, const yaml_node_t *n, const char *what, const char *wanted,
                     Error *e) {
    char found[80];
    return recipe_wrong(r, n, e, "%s: expected %s, found %s", what, wanted, describe(n, found, sizeof found));
}

/* ---- scalars ---- */

/* Whether `v`, the number that node `n` holds, lies in the option's range; otherwise sets an error that
 * states the range. */
static bool in_range(const RecipeReader *r, const yaml_node_t *n, const Option *o, const char *what, double v,
                     Error *e) {
    /* The range as the option's help states it. */
    char range[80];
    option_range(o, range);
    return option_in_range(o, v) || recipe_expected(r, n, what, range, e);
}

/* Reads a whole number that may carry a unit (100k, 2M, 4Ki). NULL with an error if it is none or is out of
 * range. */
static json_t *read_whole(const RecipeReader *r, const yaml_node_t *n, const Option *o, const char *what,
                          Error *e) {
    const char *s = recipe_scalar(n);
    uint64_t value;
    /* jansson stores integers as signed 64-bit numbers. */
    if (!s || !option_parse_whole(what, s, &value, NULL) || value > INT64_MAX) {
        recipe_expected(r, n, what, "a whole number (4096, 100k)", e);
        return NULL;
    }
    return in_range(r, n, o, what, (double)value, e) ? json_integer((json_int_t)value) : NULL;
}

/* Reads a finite number within the option's range, as a JSON real. */
static json_t *read_real(const RecipeReader *r, const yaml_node_t *n, const Option *o, const char *what,
                         Error *e) {
    const char *s = recipe_scalar(n);
    double v;
    if (!s || !option_parse_real(what, s, &v, NULL)) {
        recipe_expected(r, n, what, "a number", e);
        return NULL;
    }
    return in_range(r, n, o, what, v, e) ? json_real(v) : NULL;
}

/* Reads `true` or `false`. YAML 1.1 also has yes, no, on and off; a recipe accepts one spelling only, so that
 * a text such as "no" is never taken for a boolean. */
static json_t *read_bool(const RecipeReader *r, const yaml_node_t *n, const char *what, Error *e) {
    const char *s = recipe_scalar(n);
    if (s && strcmp(s, "true") == 0) return json_true();
    if (s && strcmp(s, "false") == 0) return json_false();
    recipe_expected(r, n, what, "true or false", e);
    return NULL;
}

json_t *recipe_suggest(const RecipeReader *r, const yaml_node_t *n, const char *what, const char *word,
                       const char *const *names, size_t n_names, Error *e) {
    /* The nearest name if there is one, else all of them. */
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

/* Reads text. If the option has choices, the text has to be one of them, letter case aside, and is stored as
 * the table spells it; the error for another word suggests the nearest choice. */
static json_t *read_text(const RecipeReader *r, const yaml_node_t *n, const Option *o, const char *what,
                         Error *e) {
    const char *s = recipe_scalar(n), *names[64];
    if (!s || !*s) {
        recipe_expected(r, n, what, "text", e);
        return NULL;
    }
    /* Without choices any text is accepted. */
    const char *choice = o->choices ? option_choice(o, s) : s;
    return choice ? json_string(choice) : recipe_suggest(r, n, what, s, names, o->choices(names, 64), e);
}

/* Relative paths are joined to the recipe's folder, so that later code does not need to know where it lies.
 */
static json_t *read_path(const RecipeReader *r, const yaml_node_t *n, const char *what, Error *e) {
    const char *s = recipe_scalar(n);
    if (!s || !*s) {
        recipe_expected(r, n, what, "a path", e);
        return NULL;
    }
    /* Absolute paths, and those of --set, stay as they are. */
    if (s[0] == '/' || !r->folder[0]) return json_string(s);
    return json_sprintf("%s/%s", r->folder, s);
}

/* Reads a set of layers, as text ("all", "10-29", "every:4") or as a list of numbers. Whether such layers
 * exist is checked by the pass, once the model is open. */
static json_t *read_layers(RecipeReader *r, const yaml_node_t *n, const char *what, Error *e) {
    /* Text is stored as it is written. */
    if (recipe_scalar(n)) return json_string(recipe_scalar(n));
    if (n->type != YAML_SEQUENCE_NODE) {
        recipe_expected(r, n, what, "layers (all, 10-29, every:4, [0, 3])", e);
        return NULL;
    }
    json_t *list = json_array();
    /* Numbers in a list have no range here, so an Option without one is used. */
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        yaml_node_t *item = recipe_node(r, *i, e);
        json_t *layer = item ? read_whole(r, item, &(Option){.type = OPTION_U64}, what, e) : NULL;
        if (!layer) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, layer);
    }
    return list;
}

/* ---- one option ---- */

/* Reads one value by the option's type: the whole value of the option, or one item where the option is a
 * list. */
static json_t *read_value(RecipeReader *r, const yaml_node_t *n, const Option *o, const char *what,
                          Error *e) {
    switch (o->type) {
    case OPTION_BOOL:
        return read_bool(r, n, what, e);
    case OPTION_U32:
    case OPTION_U64:
        return read_whole(r, n, o, what, e);
    case OPTION_REAL:
        return read_real(r, n, o, what, e);
    case OPTION_TEXT:
        return read_text(r, n, o, what, e);
    case OPTION_PATH:
        return read_path(r, n, what, e);
    case OPTION_LAYERS:
        return read_layers(r, n, what, e);
    }
    return NULL;
}

json_t *recipe_read_list(RecipeReader *r, const yaml_node_t *n, RecipeReadItem read, const void *context,
                         const char *what, Error *e) {
    /* Items are called "outputs.0", "outputs.1" in messages. */
    json_t *list = json_array(), *v;
    if (n->type != YAML_SEQUENCE_NODE) { /* a single item is accepted without brackets, as a list of one */
        v = read(r, n, context, what, e);
        if (v && json_array_append_new(list, v) == 0) return list;
        json_decref(list);
        return NULL;
    }
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        char place[160];
        snprintf(place, sizeof place, "%s.%zu", what, (size_t)(i - n->data.sequence.items.start));
        yaml_node_t *item = recipe_node(r, *i, e);
        v = item ? read(r, item, context, place, e) : NULL;
        if (!v) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, v);
    }
    /* A list without items is refused, because no key of a recipe has a meaning for it. */
    if (json_array_size(list)) return list;
    json_decref(list);
    recipe_wrong(r, n, e, "%s: the list is empty", what);
    return NULL;
}

/* read_value as a RecipeReadItem; the context is the option. */
static json_t *read_item(RecipeReader *r, const yaml_node_t *n, const void *option, const char *what,
                         Error *e) {
    return read_value(r, n, option, what, e);
}

/* An option with a capacity or its own list of items (surgery/option.h) takes a list; all others take one
 * value. */
json_t *recipe_read_option(RecipeReader *r, const yaml_node_t *n, const Option *o, const char *what,
                           Error *e) {
    return option_is_list(o) ? recipe_read_list(r, n, read_item, o, what, e) : read_value(r, n, o, what, e);
}

/* ---- a mapping ---- */

/* Whether the option exists and can be given in a recipe; some exist as flags only. */
static bool in_recipes(const Option *o) {
    return o && o->scope != OPTION_FLAG_ONLY;
}

/* Sets the error "unknown key in recalibrate: 'tokns'; did you mean 'tokens'?" and returns NULL. The names
 * are those of all groups of the section, without options that are flags only. */
static json_t *unknown_key(const RecipeReader *r, const yaml_node_t *n, const OptionGroup *groups,
                           const char *what, Error *e) {
    const char *names[64];
    size_t count = 0;
    char kind[160];
    /* Collect the keys that the section knows. */
    for (const OptionGroup *g = groups; g->options; g++)
        for (const Option *o = g->options; o->name && count < 64; o++)
            if (in_recipes(o)) names[count++] = o->name;
    snprintf(kind, sizeof kind, "key in %s:", what);
    return recipe_suggest(r, n, kind, recipe_scalar(n), names, count, e);
}

json_t *recipe_read_map(RecipeReader *r, const yaml_node_t *n, RecipeReadMember read, const void *context,
                        const char *what, Error *e) {
    if (n->type != YAML_MAPPING_NODE) {
        recipe_expected(r, n, *what ? what : "the recipe", "a mapping (key: value)", e);
        return NULL;
    }
    /* Pairs in the order of the file; the first mistake ends the reading. */
    json_t *map = json_object();
    bool ok = true;
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; ok && p < n->data.mapping.pairs.top; p++) {
        /* A key has to be a scalar and may stand once. `read` decides which keys are known and what their
         * values are. */
        yaml_node_t *name = recipe_node(r, p->key, e), *value = name ? recipe_node(r, p->value, e) : NULL;
        ok = value != NULL;
        if (ok && !recipe_scalar(name))
            ok = recipe_expected(r, name, what, "a key", e);
        else if (ok && json_object_get(map, recipe_scalar(name)))
            ok = recipe_wrong(r, name, e, "'%s' is given twice", recipe_scalar(name));
        json_t *v = ok ? read(r, name, value, context, what, e) : NULL;
        ok = v && json_object_set_new(map, recipe_scalar(name), v) == 0;
    }
    if (ok) return map;
    json_decref(map);
    return NULL;
}

/* A RecipeReadMember for mappings of options; the context is their groups. */
static json_t *read_member(RecipeReader *r, const yaml_node_t *name, const yaml_node_t *value,
                           const void *groups, const char *what, Error *e) {
    /* Messages call the value by its dotted name, as --set does. */
    const Option *o = option_in_groups(groups, recipe_scalar(name), NULL);
    if (!in_recipes(o)) return unknown_key(r, name, groups, what, e);
    char place[160];
    snprintf(place, sizeof place, "%s.%s", what, o->name);
    return recipe_read_option(r, value, o, place, e);
}

/* The keys are those of all groups, as one mapping. */
json_t *recipe_read_options(RecipeReader *r, const yaml_node_t *n, const OptionGroup *groups,
                            const char *what, Error *e) {
    return recipe_read_map(r, n, read_member, groups, what, e);
}

/* Reads the `surgery` section for recipe.c into the JSON that passes_apply takes (surgery/pass.h), which
 * flags on a command line are turned into as well (cmd/surgery_flags.c). Passes are checked in two steps:
 * each argument where it is read, so that an error points at it, and then the pass as a whole by pass_check,
 * which also finds arguments that are missing. */
#include "cmd/recipe/recipe_passes.h"

#include <stdio.h>
#include <string.h>

#include "cmd/recipe/recipe_read.h"
#include "surgery/passes/passes.h"

/* A RecipeReadMember for the arguments of a pass; `context` is the Pass. Reads the value by the pass's table
 * of parameters, and suggests the nearest parameter for an unknown name. */
static json_t *read_argument(RecipeReader *r, const yaml_node_t *name, const yaml_node_t *value,
                             const void *context, const char *what, Error *e) {
    const Pass *pass = context;
    const Option *o = option_by_name(pass->parameters, recipe_scalar(name));
    char place[160];
    /* An unknown name: collect the parameters of the pass for the suggestion. */
    if (!o) {
        const char *names[32];
        size_t count = 0;
        for (const Option *p = pass->parameters; p->name && count < 32; p++)
            names[count++] = p->name;
        snprintf(place, sizeof place, "argument of %s:", pass->name);
        return recipe_suggest(r, name, place, recipe_scalar(name), names, count, e);
    }
    snprintf(place, sizeof place, "%s.%s", what, o->name);
    return recipe_read_option(r, value, o, place, e);
}

/* Reads the arguments of a pass into an object. The object is empty if the pass stands alone ("- drop_rope")
 * or has nothing after its colon. */
static json_t *read_arguments(RecipeReader *r, const yaml_node_t *n, const Pass *pass, Error *e) {
    if (!n || (recipe_scalar(n) && !*recipe_scalar(n))) return json_object();
    if (n->type == YAML_MAPPING_NODE) return recipe_read_map(r, n, read_argument, pass, pass->name, e);
    recipe_expected(r, n, pass->name, "a mapping of its arguments", e);
    return NULL;
}

/* Finds the pass that `word` names. NULL with an error that suggests the nearest name. */
static const Pass *find_pass(const RecipeReader *r, const yaml_node_t *n, const char *word, Error *e) {
    const char *names[64];
    size_t count = 0;
    const Pass *pass = pass_by_name(word);
    /* All names of passes, for the suggestion. */
    for (; count < 64 && passes[count]; count++)
        names[count] = passes[count]->name;
    if (!pass) recipe_suggest(r, n, "pass", word, names, count, e);
    return pass;
}

/* Reads one item of the list: "drop_rope", or "drop_rope: {layers: 20-29}", which YAML reads as a mapping of
 * one key. Returns {"pass": name, arguments...}. */
static json_t *read_pass(RecipeReader *r, const yaml_node_t *n, Error *e) {
    const yaml_node_t *name = n, *args = NULL;
    /* A mapping of one key: the key is the pass, the value its arguments. */
    if (n->type == YAML_MAPPING_NODE && n->data.mapping.pairs.top - n->data.mapping.pairs.start == 1) {
        name = recipe_node(r, n->data.mapping.pairs.start->key, e);
        args = name ? recipe_node(r, n->data.mapping.pairs.start->value, e) : NULL;
        if (!args) return NULL;
    }
    if (!recipe_scalar(name)) {
        recipe_expected(r, n, "surgery", "one pass, as 'drop_rope' or 'drop_rope: {layers: 20-29}'", e);
        return NULL;
    }
    /* Look the pass up and read its arguments. */
    const Pass *pass = find_pass(r, name, recipe_scalar(name), e);
    json_t *given = pass ? read_arguments(r, args, pass, e) : NULL;
    if (!given) return NULL;
    /* Check the pass as a whole: the reader of single arguments cannot see those that are missing. */
    /* pass_check names no line, so its message is repeated at the place of the pass. */
    Error reason = {0};
    json_t *out = NULL;
    if (pass_check(pass, given, &reason)) {
        out = json_pack("{s:s}", "pass", pass->name);
        json_object_update(out, given);
    } else {
        recipe_wrong(r, n, e, "%s", reason.message);
    }
    json_decref(given);
    return out;
}

/* Reads the whole list. It may be empty, because a recipe may leave its passes to --set. */
json_t *recipe_read_passes(RecipeReader *r, const yaml_node_t *n, Error *e) {
    if (n->type != YAML_SEQUENCE_NODE) {
        recipe_expected(r, n, "surgery", "a list of passes", e);
        return NULL;
    }
    /* Passes in the order in which they will be applied; the same pass may stand several times. */
    json_t *list = json_array();
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        yaml_node_t *item = recipe_node(r, *i, e);
        json_t *pass = item ? read_pass(r, item, e) : NULL;
        if (!pass) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, pass);
    }
    return list;
}

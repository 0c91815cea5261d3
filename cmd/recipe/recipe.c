/* Loads a recipe: YAML text in, one checked JSON object out, for recipe_job.c. The YAML itself is read by
 * recipe_yaml.c and recipe_read.c, whose functions are called here with the tables of recipe_sections.c.
 *
 * Loading goes in this order: the file is read into JSON section by section, --set replaces values in the
 * JSON, and only then is it checked that nothing required is missing, because --set may supply it.
 * recipe_blame finds the place of a value again for errors that are detected later, when the JSON no longer
 * knows about lines. */
#include "cmd/recipe/recipe.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/recipe/recipe_passes.h"
#include "cmd/recipe/recipe_read.h"
#include "cmd/recipe/recipe_sections.h"
#include "formats/file.h"
#include "surgery/nearest_name.h"

enum { MAX_RECIPE = 1 << 20 }; /* bytes of the file; a recipe is a page or two of text */

/* ---- sections ---- */

/* A RecipeReadItem for a list of mappings; the context is the section. */
static json_t *read_output(RecipeReader *r, const yaml_node_t *n, const void *section, const char *what,
                           Error *e) {
    return recipe_read_options(r, n, ((const RecipeSection *)section)->groups, what, e);
}

/* Reads one section as its kind demands (recipe_sections.h). New reference, or NULL with an error that names
 * file, line and column. */
static json_t *read_section(RecipeReader *r, const yaml_node_t *n, const RecipeSection *s, Error *e) {
    /* A path is read like an option of that type, so it is joined to the recipe's folder. */
    static const Option path = {.name = "path", .type = OPTION_PATH};
    switch (s->kind) {
    case SECTION_PATH:
        return recipe_read_option(r, n, &path, s->name, e);
    case SECTION_PASSES:
        return recipe_read_passes(r, n, e);
    case SECTION_MAP:
        return recipe_read_options(r, n, s->groups, s->name, e);
    case SECTION_LIST:
        /* A single mapping is accepted as a list of one; a plain word is not. */
        if (!recipe_scalar(n)) return recipe_read_list(r, n, read_output, s, s->name, e);
        recipe_expected(r, n, s->name, "a list of mappings (- key: value)", e);
    }
    return NULL;
}

/* Fills `names` with the names of all sections and returns how many there are. */
static size_t section_names(const char *names[64]) {
    size_t n = 0;
    for (; recipe_sections[n].name; n++)
        names[n] = recipe_sections[n].name;
    return n;
}

/* A RecipeReadMember for the recipe itself: reads the section that a key at the top names, and suggests the
 * nearest name for an unknown one. */
static json_t *read_named_section(RecipeReader *r, const yaml_node_t *name, const yaml_node_t *value,
                                  const void *context, const char *what, Error *e) {
    (void)context, (void)what;
    const RecipeSection *s = recipe_section_by_name(recipe_scalar(name));
    if (s) return read_section(r, value, s, e);
    const char *names[64];
    return recipe_suggest(r, name, "key", recipe_scalar(name), names, section_names(names), e);
}

/* ---- --set ---- */

/* The place that a dotted name such as "recalibrate.tokens" or "outputs.0.path" leads to. */
typedef struct SetPlace {
    const RecipeSection *section;
    const Option *option; /* NULL: the section itself */
    json_t *parent;       /* the object that gets the value */
    const char *rest;     /* where the name stopped making sense, for the error */
    const char *unknown;  /* the part that is unknown, if it could have been a key; else NULL */
} SetPlace;

/* The next part of a dotted name, at most 63 characters; moves `*at` behind it and its dot. False at the end.
 */
static bool next_part(const char **at, char part[64]) {
    size_t n = strcspn(*at, ".");
    if (!n || n >= 64) return false;
    memcpy(part, *at, n);
    part[n] = 0;
    *at += n + ((*at)[n] == '.');
    return true;
}

/* Finds the JSON object that a key after "SECTION." belongs to. For a section that is a mapping this is the
 * section itself, which is made if it is missing. For a list of mappings `*at` has to begin with the number
 * of an item, which is then skipped. NULL if there is no such item or the section has no keys. */
static json_t *section_map(json_t *root, const RecipeSection *s, const char **at) {
    json_t *map = json_object_get(root, s->name);
    if (s->kind == SECTION_MAP) {
        if (!map) json_object_set_new(root, s->name, map = json_object());
        return map;
    }
    char part[64], *end;
    const char *behind = *at;
    if (s->kind != SECTION_LIST || !next_part(&behind, part)) return NULL;
    unsigned long i = strtoul(part, &end, 10);
    /* A number with nothing behind it ("outputs.0") leads nowhere, because an output is set key by key. */
    json_t *item = *end || behind == *at + strlen(part) ? NULL : json_array_get(map, i);
    if (item) *at = behind;
    return item;
}

/* Finds the place that a dotted name leads to: a section, then for lists a number, then an option. `part` is
 * the caller's memory for the last part looked at, to which place->unknown may point. On failure place->rest
 * and place->unknown say how far the name made sense. */
static bool find_place(json_t *root, const char *dotted, SetPlace *place, char part[64]) {
    const char *at = dotted;
    *place = (SetPlace){.parent = root, .rest = dotted};
    if (!next_part(&at, part)) return false;
    /* The first part is a section, which may be all that is named. */
    place->section = recipe_section_by_name(part);
    place->unknown = place->section ? NULL : part;
    if (!place->section) return false;
    if (!*at) return true;
    /* Then the object in that section, and last the option, behind which nothing may follow. */
    place->rest = at;
    place->parent = section_map(root, place->section, &at);
    if (!place->parent) return false;
    place->rest = at;
    if (!next_part(&at, part)) return false;
    place->option = option_in_groups(place->section->groups, part, NULL);
    if (place->option && place->option->scope != OPTION_FLAG_ONLY && !*at) return true;
    place->unknown = part;
    return false;
}

/* The error for a dotted name that leads nowhere, with the nearest key if only its last part is wrong. */
static bool no_such_place(const char *dotted, const SetPlace *p, Error *e) {
    const char *names[64], *near = NULL;
    size_t n = 0;
    if (p->unknown && !p->section) n = section_names(names);
    if (p->unknown && p->section)
        for (const OptionGroup *g = p->section->groups; g->options; g++)
            for (const Option *o = g->options; o->name && n < 64; o++)
                if (o->scope != OPTION_FLAG_ONLY) names[n++] = o->name;
    if (n) near = nearest_name(p->unknown, names, n);
    return error_set(e, ERR_RECIPE, "--set %s: the recipe has no such place ('%s' is unknown)%s%s%s", dotted,
                     p->rest, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Applies one --set such as "recalibrate.tokens=4k" to the recipe's JSON. The value is parsed as YAML and
 * checked against the same tables as a value in the file; relative paths in it are relative to the current
 * folder, not to the recipe's. */
static bool apply_set(json_t *root, const char *set, Error *e) {
    /* Split the text at the first "="; later ones belong to the value. */
    const char *equals = strchr(set, '=');
    if (!equals || equals == set || equals - set > 150)
        return error_set(e, ERR_USAGE, "--set %s: expected key=value", set);
    char dotted[160], part[64];
    memcpy(dotted, set, (size_t)(equals - set));
    dotted[equals - set] = 0;
    if (!equals[1]) return error_set(e, ERR_RECIPE, "--set %s: the value is missing", set);
    SetPlace place;
    if (!find_place(root, dotted, &place, part)) return no_such_place(dotted, &place, e);
    /* Read the value and put it in the place of the old one. */
    yaml_document_t document;
    if (!recipe_parse_yaml("--set", equals + 1, strlen(equals + 1), &document, e)) return false;
    RecipeReader r = {.document = &document, .place = "--set", .folder = ""};
    const yaml_node_t *n = yaml_document_get_root_node(&document);
    json_t *v = place.option ? recipe_read_option(&r, n, place.option, dotted, e)
                             : read_section(&r, n, place.section, e);
    yaml_document_delete(&document);
    if (!v) return false;
    json_object_set_new(place.parent, place.option ? place.option->name : place.section->name, v);
    return true;
}

/* ---- what has to be there ---- */

/* The child of a node that `name` (in a mapping) or `index` (in a list) leads to. A mapping without a name is
 * its own only item, as a single output needs no brackets. NULL if there is none. */
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

/* Sets the error for a required key that is missing and returns false. `n` is the mapping in the file that
 * lacks it, or NULL if the mapping was made by --set and has no line. */
static bool is_missing(const RecipeReader *r, const yaml_node_t *n, const char *what, const char *name,
                       const char *help, Error *e) {
    return n ? recipe_wrong(r, n, e, "%s needs '%s': %s", what, name, help)
             : error_set(e, ERR_RECIPE, "--set: %s needs '%s': %s", what, name, help);
}

/* Whether a mapping, `map`, has every option that its section's table marks as required. `n` is the same
 * mapping in the file, for the place of the error. */
static bool check_options(const RecipeReader *r, const yaml_node_t *n, const json_t *map,
                          const RecipeSection *s, Error *e) {
    for (const OptionGroup *g = s->groups; g->options; g++)
        for (const Option *o = g->options; o->name; o++)
            if (o->required && !json_object_get(map, o->name))
                return is_missing(r, n, s->name, o->name, o->help, e);
    return true;
}

/* Checks that required sections and keys are there. It runs after --set, because a recipe may leave required
 * values to the command line. */
static bool check_required(RecipeReader *r, const json_t *recipe, Error *e) {
    const yaml_node_t *root = yaml_document_get_root_node(r->document);
    for (const RecipeSection *s = recipe_sections; s->name; s++) {
        const json_t *v = json_object_get(recipe, s->name);
        if (!v && s->required) return is_missing(r, root, "a recipe", s->name, s->help, e);
        const yaml_node_t *n = v ? child_node(r, root, s->name, 0) : NULL;
        if (v && s->kind == SECTION_MAP && !check_options(r, n, v, s, e)) return false;
        for (size_t i = 0; s->kind == SECTION_LIST && i < json_array_size(v); i++)
            if (!check_options(r, child_node(r, n, NULL, i), json_array_get(v, i), s, e)) return false;
    }
    return true;
}

/* ---- outputs that would replace each other ---- */

/* The first component of a path that leads somewhere, since "" and "." do not; `*n` receives its length. */
static const char *next_component(const char *path, size_t *n) {
    for (;; path += *n) {
        path += strspn(path, "/");
        *n = strcspn(path, "/");
        if (*n != 1 || *path != '.') return path;
    }
}

/* Whether two paths name the same place. They are compared component by component as text, ignoring "//" and
 * "/./", because outputs need not exist yet. */
static bool same_place(const char *a, const char *b) {
    size_t n, m;
    /* An absolute path and a relative one are taken as different, although they might meet. */
    if ((*a == '/') != (*b == '/')) return false;
    do {
        a = next_component(a, &n);
        b = next_component(b, &m);
        if (n != m || strncmp(a, b, n) != 0) return false;
        a += n;
        b += m;
    } while (n);
    return true;
}

/* The path of output `i` if an output before it has the same one, so that they would replace each other at
 * every run; else NULL. */
static const char *same_path(const json_t *outputs, size_t i) {
    const char *path = json_string_value(json_object_get(json_array_get(outputs, i), "path"));
    for (size_t j = 0; j < i; j++)
        if (same_place(path, json_string_value(json_object_get(json_array_get(outputs, j), "path"))))
            return path;
    return NULL;
}

/* Refuses two outputs with one path; the error points at the second of them, in the file or in --set. */
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

/* ---- the whole ---- */

json_t *recipe_load(const char *path, const char *const *sets, size_t n_sets, Error *e) {
    Buffer text = {0};
    if (!file_read(path, MAX_RECIPE, &text, e)) return NULL;
    /* Relative paths in the recipe are relative to the folder of its file. */
    char folder[PATH_MAX] = "";
    const char *slash = strrchr(path, '/');
    if (slash && (size_t)(slash - path) < sizeof folder) memcpy(folder, path, (size_t)(slash - path));
    yaml_document_t document;
    bool ok = recipe_parse_yaml(path, (const char *)text.data, text.size, &document, e);
    buffer_free(&text);
    if (!ok) return NULL;

    /* Sections into JSON, then --set over it, then the checks that need the whole. */
    RecipeReader r = {.document = &document, .place = path, .folder = slash == path ? "/" : folder};
    json_t *recipe =
        recipe_read_map(&r, yaml_document_get_root_node(&document), read_named_section, NULL, "", e);
    ok = recipe != NULL;
    for (size_t i = 0; ok && i < n_sets; i++)
        ok = apply_set(recipe, sets[i], e);
    ok = ok && check_required(&r, recipe, e);
    yaml_document_delete(&document);
    if (ok && check_outputs(path, sets, n_sets, recipe, e)) return recipe;
    json_decref(recipe);
    return NULL;
}

/* Whether the text of a --set gives the value at `dotted`, or the mapping or section that holds it. */
static bool set_gives(const char *set, const char *dotted) {
    size_t n = strcspn(set, "=");
    return strncmp(set, dotted, n) == 0 && (dotted[n] == 0 || dotted[n] == '.');
}

/* Finds the YAML node that a dotted name leads to. Where the file ends on the way, because the value is a
 * default, the last node found is returned: an error then points at the surrounding section. */
static const yaml_node_t *node_of(RecipeReader *r, const char *dotted) {
    const yaml_node_t *at = yaml_document_get_root_node(r->document);
    for (const char *p = dotted; *p;) {
        char part[64];
        size_t n = strcspn(p, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, p);
        char *end;
        unsigned long i = strtoul(part, &end, 10);
        /* A part that is a number is the index into a list, any other the key of a mapping. */
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
    /* The file is parsed again, because the nodes with their lines were released after loading. */
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

/* Loads a recipe: recipe_load converts the YAML file to one JSON object whose values have been checked, for
 * recipe_job.c. It uses the parser of recipe_yaml.c, the functions of recipe_read.c that convert YAML nodes
 * to JSON, and the tables of keys in recipe_sections.c.
 *
 * Loading has three steps. First the sections of the file are converted to JSON. Then each --set replaces a
 * value in the JSON. Last, recipe_load checks that all required keys are present and that no two outputs have
 * the same path. The last step has to follow --set, which may supply or change these values.
 *
 * The JSON has no line numbers. If an error is found later, for example when the model has been opened,
 * recipe_blame parses the file again to find the line of the value. */
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

enum { MAX_RECIPE = 1 << 20 }; /* largest accepted file in bytes; an ordinary recipe has a few thousand */

/* ---- sections ---- */

/* Reads one item of a section that is a list of mappings, such as an output. It is the RecipeReadItem that
 * recipe_read_list calls; its context is the RecipeSection. */
static json_t *read_output(RecipeReader *r, const yaml_node_t *n, const void *section, const char *what,
                           Error *e) {
    return recipe_read_options(r, n, ((const RecipeSection *)section)->groups, what, e);
}

/* Reads the value of a section, which is a path, a list of passes, a mapping or a list of mappings, depending
 * on s->kind. Returns a new reference, or NULL with an error that has file, line and column. */
static json_t *read_section(RecipeReader *r, const yaml_node_t *n, const RecipeSection *s, Error *e) {
    /* A section that is a path is read as an option of type OPTION_PATH, so that the folder of the recipe is
     * put in front of a relative path. */
    static const Option path = {.name = "path", .type = OPTION_PATH};
    switch (s->kind) {
    case SECTION_PATH:
        return recipe_read_option(r, n, &path, s->name, e);
    case SECTION_PASSES:
        return recipe_read_passes(r, n, e);
    case SECTION_MAP:
        return recipe_read_options(r, n, s->groups, s->name, e);
    case SECTION_LIST:
        /* A mapping without a list around it is accepted as a list of one item. A scalar is an error. */
        if (!recipe_scalar(n)) return recipe_read_list(r, n, read_output, s, s->name, e);
        recipe_expected(r, n, s->name, "a list of mappings (- key: value)", e);
    }
    return NULL;
}

/* Stores the names of all sections in `names` and returns the number of sections. */
static size_t section_names(const char *names[64]) {
    size_t n = 0;
    for (; recipe_sections[n].name; n++)
        names[n] = recipe_sections[n].name;
    return n;
}

/* Reads the value of one top-level key of the recipe, which must be the name of a section. For an unknown key
 * the error suggests the most similar section name. It is the RecipeReadMember that recipe_read_map calls. */
static json_t *read_named_section(RecipeReader *r, const yaml_node_t *name, const yaml_node_t *value,
                                  const void *context, const char *what, Error *e) {
    (void)context, (void)what;
    const RecipeSection *s = recipe_section_by_name(recipe_scalar(name));
    if (s) return read_section(r, value, s, e);
    const char *names[64];
    return recipe_suggest(r, name, "key", recipe_scalar(name), names, section_names(names), e);
}

/* ---- --set ---- */

/* The value in the recipe's JSON that the dotted name of a --set denotes. "recalibrate.tokens" and
 * "outputs.0.path" denote options; "source" denotes a whole section. */
typedef struct SetPlace {
    const RecipeSection *section;
    const Option *option; /* the option that is set; NULL: the section as a whole */
    json_t *parent;       /* the JSON object in which the value is stored */
    const char *rest;     /* after a failure: the part of the dotted name that could not be resolved */
    const char *unknown;  /* after a failure: the unknown section or key; NULL: another reason */
} SetPlace;

/* Copies the next part of a dotted name, up to a dot or the end, to `part`, and moves `*at` past the part and
 * the dot. Returns false if the part is empty or longer than 63 characters. */
static bool next_part(const char **at, char part[64]) {
    size_t n = strcspn(*at, ".");
    if (!n || n >= 64) return false;
    memcpy(part, *at, n);
    part[n] = 0;
    *at += n + ((*at)[n] == '.');
    return true;
}

/* Returns the JSON object in which --set stores a key of section `s`. `*at` is the dotted name after the name
 * of the section. If the section is a mapping, the object is the section itself, which is created if the
 * recipe does not have it. If the section is a list of mappings, `*at` must begin with the index of an item;
 * the object is this item, and `*at` is moved past the index. Returns NULL if the list has no such item or if
 * the section is of another kind. */
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
    /* An index without a key ("outputs.0") is refused, because --set cannot replace a whole output. */
    json_t *item = *end || behind == *at + strlen(part) ? NULL : json_array_get(map, i);
    if (item) *at = behind;
    return item;
}

/* Resolves the dotted name of a --set: the name of a section, the index of an item if the section is a list,
 * and the name of an option. Returns false if a part is unknown; place->rest and place->unknown then tell
 * which. The parts are copied to `part`, the caller's memory, because place->unknown may point to it. */
static bool find_place(json_t *root, const char *dotted, SetPlace *place, char part[64]) {
    const char *at = dotted;
    *place = (SetPlace){.parent = root, .rest = dotted};
    if (!next_part(&at, part)) return false;
    /* The first part is the name of a section. Without further parts it denotes the section as a whole. */
    place->section = recipe_section_by_name(part);
    place->unknown = place->section ? NULL : part;
    if (!place->section) return false;
    if (!*at) return true;
    /* Find the object in that section, and then the option, which must be the last part. */
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

/* Sets the error for a dotted name that find_place could not resolve. If a section or a key is unknown, the
 * message suggests the most similar one. Returns false. */
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

/* Applies one --set, such as "recalibrate.tokens=4k", to the recipe's JSON. The value is parsed as YAML and
 * checked against the same tables as a value in the file. Relative paths are resolved against the current
 * folder, and not against the folder of the recipe, because the user typed them on the command line. */
static bool apply_set(json_t *root, const char *set, Error *e) {
    /* Split the text at the first "=". Any other "=" belongs to the value. */
    const char *equals = strchr(set, '=');
    if (!equals || equals == set || equals - set > 150)
        return error_set(e, ERR_USAGE, "--set %s: expected key=value", set);
    char dotted[160], part[64];
    memcpy(dotted, set, (size_t)(equals - set));
    dotted[equals - set] = 0;
    if (!equals[1]) return error_set(e, ERR_RECIPE, "--set %s: the value is missing", set);
    SetPlace place;
    if (!find_place(root, dotted, &place, part)) return no_such_place(dotted, &place, e);
    /* Parse and check the value, and replace the old value by it. */
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

/* ---- required sections and keys ---- */

/* Returns a child of the YAML node `n`: the value of the key `name` if `n` is a mapping, or item `index` if
 * `n` is a list. If `n` is a mapping and `name` is NULL, the result is `n` itself, because a single output
 * may be written as a mapping without a list around it. Returns NULL if there is no such child. */
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

/* Sets the error "WHAT needs 'NAME': HELP" for a missing key and returns false. `n` is the YAML mapping that
 * lacks the key. It is NULL if --set created the mapping, which then has no line in the file. */
static bool is_missing(const RecipeReader *r, const yaml_node_t *n, const char *what, const char *name,
                       const char *help, Error *e) {
    return n ? recipe_wrong(r, n, e, "%s needs '%s': %s", what, name, help)
             : error_set(e, ERR_RECIPE, "--set: %s needs '%s': %s", what, name, help);
}

/* Checks that `map`, a section or an item of it, has all options that the tables of the section mark as
 * required. `n` is the YAML node that `map` was read from; the error contains its line. */
static bool check_options(const RecipeReader *r, const yaml_node_t *n, const json_t *map,
                          const RecipeSection *s, Error *e) {
    for (const OptionGroup *g = s->groups; g->options; g++)
        for (const Option *o = g->options; o->name; o++)
            if (o->required && !json_object_get(map, o->name))
                return is_missing(r, n, s->name, o->name, o->help, e);
    return true;
}

/* Checks that the recipe has all required sections and keys. It is called after --set has been applied,
 * because the user may leave a required key out of the file and give it on the command line. */
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

/* Returns the start of the next component of a path, skipping slashes and components ".", and sets `*n` to
 * the length of the component. At the end of the path the length is 0. */
static const char *next_component(const char *path, size_t *n) {
    for (;; path += *n) {
        path += strspn(path, "/");
        *n = strcspn(path, "/");
        if (*n != 1 || *path != '.') return path;
    }
}

/* Returns true if two paths denote the same file. The components of the paths are compared as text, because
 * the outputs may not exist yet. Repeated slashes and components "." make no difference. */
static bool same_place(const char *a, const char *b) {
    size_t n, m;
    /* An absolute and a relative path are treated as different, even if they denote the same file. */
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

/* Returns the path of output `i` if an output before it in the list has the same path, and NULL otherwise.
 * Two such outputs would replace each other in every run. */
static const char *same_path(const json_t *outputs, size_t i) {
    const char *path = json_string_value(json_object_get(json_array_get(outputs, i), "path"));
    for (size_t j = 0; j < i; j++)
        if (same_place(path, json_string_value(json_object_get(json_array_get(outputs, j), "path"))))
            return path;
    return NULL;
}

/* Every output is compared with all before it, and each is planned and written by itself. */
enum { MAX_OUTPUTS = 1000 };

/* Fails if two outputs have the same path, or if there are too many. The error has the position of the second
 * of the two, or of the first one beyond the limit: its line in the file, or the --set that gave the path. */
static bool check_outputs(const char *path, const char *const *sets, size_t n_sets, const json_t *recipe,
                          Error *e) {
    const json_t *outputs = json_object_get(recipe, "outputs");
    for (size_t i = 0; i < json_array_size(outputs); i++) {
        const char *same = i < MAX_OUTPUTS ? same_path(outputs, i) : NULL;
        char dotted[64];
        snprintf(dotted, sizeof dotted, "outputs.%zu.path", i);
        if (!same && i < MAX_OUTPUTS) continue;
        if (same)
            error_set(e, ERR_RECIPE, "%s is written twice", same);
        else
            error_set(e, ERR_RECIPE, "more than %d outputs", MAX_OUTPUTS);
        return recipe_blame(path, sets, n_sets, dotted, e);
    }
    return true;
}

/* ---- loading, and the position of an error ---- */

/* Reads the file, converts it, applies the `n_sets` texts in `sets` and checks the result (recipe.h). */
json_t *recipe_load(const char *path, const char *const *sets, size_t n_sets, Error *e) {
    Buffer text = {0};
    if (!file_read(path, MAX_RECIPE, &text, e)) return NULL;
    /* Find the folder of the file, against which relative paths in the recipe are resolved. */
    char folder[PATH_MAX] = "";
    const char *slash = strrchr(path, '/');
    if (slash && (size_t)(slash - path) < sizeof folder) memcpy(folder, path, (size_t)(slash - path));
    yaml_document_t document;
    bool ok = recipe_parse_yaml(path, (const char *)text.data, text.size, &document, e);
    buffer_free(&text);
    if (!ok) return NULL;

    /* Convert the sections to JSON, apply --set, and check what can only be checked after that. */
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

/* Returns true if `set`, the text of a --set, sets the value with the name `dotted`, or a section that
 * contains this value. */
static bool set_gives(const char *set, const char *dotted) {
    size_t n = strcspn(set, "=");
    return strncmp(set, dotted, n) == 0 && (dotted[n] == 0 || dotted[n] == '.');
}

/* Returns the YAML node of the value with the name `dotted`. If the file does not have the value, for example
 * because it is a default, the result is the innermost node around it, so that an error has the line of the
 * section. */
static const yaml_node_t *node_of(RecipeReader *r, const char *dotted) {
    const yaml_node_t *at = yaml_document_get_root_node(r->document);
    for (const char *p = dotted; *p;) {
        char part[64];
        size_t n = strcspn(p, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, p);
        char *end;
        unsigned long i = strtoul(part, &end, 10);
        /* A part that is a number is the index of a list item. Any other part is a key of a mapping. */
        const yaml_node_t *next = *end ? child_node(r, at, part, 0) : child_node(r, at, NULL, i);
        if (!next) break;
        at = next;
        p += n + (p[n] == '.');
    }
    return at;
}

/* Puts the position of the value `dotted` in front of the error message: "--set NAME" if the command line
 * gave the value, and otherwise file, line and column. */
bool recipe_blame(const char *path, const char *const *sets, size_t n_sets, const char *dotted, Error *e) {
    e->code = ERR_RECIPE;
    for (size_t i = 0; i < n_sets; i++)
        if (set_gives(sets[i], dotted)) return error_place(e, "--set %s", dotted);
    /* Parse the file again: the YAML nodes, which know their lines, were released by recipe_load. */
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

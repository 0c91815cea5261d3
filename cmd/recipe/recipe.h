/* Recipes: a whole conversion in one YAML file (examples/recipe-reference.yaml shows every key). Reading one
 * checks every key and type against the tables in recipe.c and gives plain JSON, so that the rest of the
 * program never sees YAML:
 *
 *   {"source": PATH,
 *    "surgery": [{"pass": "drop_rope", "layers": ...}, ...],
 *    "recalibrate": {...}, "evaluate": {...},        absent if the recipe has none
 *    "outputs": [{"path": PATH, ...}, ...]}
 *
 * Paths in the file are relative to the file's folder, paths in --set to the current one; both come out
 * joined. Sizes may carry k, M or G. */
#ifndef DEROPE_CMD_RECIPE_RECIPE_H
#define DEROPE_CMD_RECIPE_RECIPE_H

#include <jansson.h>

#include "formats/error.h"

/* `sets`: "recalibrate.tokens=4000", "outputs.0.path=out.gguf". New reference; NULL with ERR_RECIPE and a
 * message such as "recipe.yaml:12:5: unknown key 'tokns' in recalibrate; did you mean 'tokens'?". */
json_t *recipe_load(const char *path, const char *const *sets, size_t n_sets, Error *e);

/* For what only the model shows to be a mistake: makes the error in `e` one of the recipe, ERR_RECIPE, and
 * puts before it where `dotted` ("surgery.1", "outputs.0.dtype") stands: "recipe.yaml:12:5", or "--set KEY"
 * if the value came from there. Returns false. */
bool recipe_blame(const char *path, const char *const *sets, size_t n_sets, const char *dotted, Error *e);

typedef enum KeyKind {
    KEY_STRING,
    KEY_STRINGS, /* one or a list */
    KEY_UINT,    /* 4000, 100k */
    KEY_UINTS,   /* one or a list */
    KEY_REAL,
    KEY_BOOL,
    KEY_PATH,
    KEY_PATHS,  /* one or a list */
    KEY_LAYERS, /* all | 3 | [0, 3, 7] | 10-29 | every:4 */
    KEY_MAP,    /* a mapping of `keys` */
    KEY_MAPS,   /* a list of such mappings */
    KEY_PASSES, /* a list of passes (surgery/pass.h) */
} KeyKind;

typedef struct Key {
    const char *name;
    KeyKind kind;
    bool required;
    const struct Key *keys;     /* KEY_MAP, KEY_MAPS */
    const char *const *choices; /* KEY_STRING: NULL-terminated, or NULL for any */
    size_t (*names)(const char **out,
                    size_t max); /* KEY_STRING: the choices, where they are kept elsewhere */
    double least, most;          /* of numbers; most 0: as large as they like */
    const char *help;            /* one line */
} Key;

/* The top level of a recipe; ends with a NULL name. The help of `derope run` is printed from it. */
extern const Key recipe_keys[];

#endif

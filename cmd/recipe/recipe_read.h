/* YAML nodes as JSON, checked against tables of options (surgery/option.h): names, types, ranges and choices.
 * Numbers become JSON numbers whatever unit they were written with, and paths are joined to the recipe's
 * folder.
 *
 * `what` is how messages call a value: "recalibrate.lr", "outputs.0", "" for the whole recipe. Every function
 * that returns JSON returns a new reference, or NULL with an error that names file, line and column. */
#ifndef DEROPE_CMD_RECIPE_RECIPE_READ_H
#define DEROPE_CMD_RECIPE_RECIPE_READ_H

#include "cmd/recipe/recipe_yaml.h"
#include "surgery/options.h"

/* Callbacks for recipe_read_list and recipe_read_map: the first reads one item of a list, the second the
 * value of one key of a mapping. `context` is passed on from the caller, `what` names the value in
 * messages. */
typedef json_t *(*RecipeReadItem)(RecipeReader *r, const yaml_node_t *n, const void *context,
                                  const char *what, Error *e);
typedef json_t *(*RecipeReadMember)(RecipeReader *r, const yaml_node_t *name, const yaml_node_t *value,
                                    const void *context, const char *what, Error *e);

/* The value of an option: a list of values where the option is one. */
json_t *recipe_read_option(RecipeReader *r, const yaml_node_t *n, const Option *o, const char *what,
                           Error *e);
/* A mapping whose keys are the options of the groups. */
json_t *recipe_read_options(RecipeReader *r, const yaml_node_t *n, const OptionGroup *groups,
                            const char *what, Error *e);
/* A list of at least one item; a single item may stand without brackets. */
json_t *recipe_read_list(RecipeReader *r, const yaml_node_t *n, RecipeReadItem read, const void *context,
                         const char *what, Error *e);
/* A mapping in which no key is given twice. `read` refuses unknown keys. */
json_t *recipe_read_map(RecipeReader *r, const yaml_node_t *n, RecipeReadMember read, const void *context,
                        const char *what, Error *e);
/* The error "what: expected ..., found ..." at the node; false. */
bool recipe_expected(const RecipeReader *r, const yaml_node_t *n, const char *what, const char *wanted,
                     Error *e);
/* The error "unknown WHAT 'word'; did you mean 'name'?", or with all names if none is near; NULL. */
json_t *recipe_suggest(const RecipeReader *r, const yaml_node_t *n, const char *what, const char *word,
                       const char *const *names, size_t n_names, Error *e);

#endif

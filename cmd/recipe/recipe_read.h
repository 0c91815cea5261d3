/* Converts YAML nodes to JSON and checks them against tables of options (surgery/option.h): names, types,
 * ranges and choices. A number with a unit ("4k") becomes a plain JSON number, and paths are joined to the
 * recipe's folder.
 *
 * `what` names the value in error messages: "recalibrate.lr", "outputs.0", "" for the whole recipe. Every
 * function that returns JSON returns a new reference, or NULL with an error that names file, line and column.
 */
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

/* Reads the value of an option. For an option whose type is a list this is an array. */
json_t *recipe_read_option(RecipeReader *r, const yaml_node_t *n, const Option *o, const char *what,
                           Error *e);
/* Reads a mapping whose keys are names of options in `groups`. */
json_t *recipe_read_options(RecipeReader *r, const yaml_node_t *n, const OptionGroup *groups,
                            const char *what, Error *e);
/* Reads a list of at least one item. A single item may be written without a list around it. */
json_t *recipe_read_list(RecipeReader *r, const yaml_node_t *n, RecipeReadItem read, const void *context,
                         const char *what, Error *e);
/* Reads a mapping by calling `read` for each key, which has to refuse unknown keys. A duplicate key is an
 * error. */
json_t *recipe_read_map(RecipeReader *r, const yaml_node_t *n, RecipeReadMember read, const void *context,
                        const char *what, Error *e);
/* Sets the error "WHAT: expected WANTED, found ..." with the position of the node, and returns false. */
bool recipe_expected(const RecipeReader *r, const yaml_node_t *n, const char *what, const char *wanted,
                     Error *e);
/* Sets the error "unknown WHAT 'WORD'; did you mean 'NAME'?", or one that lists all names if none is similar
 * to `word`. Returns NULL. */
json_t *recipe_suggest(const RecipeReader *r, const yaml_node_t *n, const char *what, const char *word,
                       const char *const *names, size_t n_names, Error *e);

#endif

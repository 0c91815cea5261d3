/* Values of options: parsing what a person typed, storing it where the option's table says, defaults, ranges,
 * and the text by which two sets of values are compared. option.h explains what a table of options is and
 * where the tables are. */
#ifndef DEROPE_SURGERY_OPTIONS_H
#define DEROPE_SURGERY_OPTIONS_H

#include <jansson.h>

#include "surgery/option.h"

/* Options of one kind, and where their struct lies in a larger one. An array of groups ends with one whose
 * `options` is NULL. */
typedef struct OptionGroup {
    const char *title;     /* "training:", the heading in help; NULL: no heading */
    const Option *options; /* ends with a NULL name */
    size_t offset;         /* of the struct that the options are stored in */
} OptionGroup;

/* ---- tables ---- */

/* The option of that name in a table, or NULL. */
const Option *option_by_name(const Option *options, const char *name);
/* The option of that name in the groups, or NULL; `group`, unless NULL, receives the group that has it. */
const Option *option_in_groups(const OptionGroup *groups, const char *name, const OptionGroup **group);

/* ---- values ---- */

/* A whole number with an optional unit: k, M, G, T are powers of 1000 (any case), Ki, Mi, Gi, Ti of 1024; a B
 * may follow. The error is ERR_USAGE and begins with `label`: "--tokens: 'many' is not a whole number". */
bool option_parse_whole(const char *label, const char *text, uint64_t *out, Error *e);
/* A finite number. */
bool option_parse_real(const char *label, const char *text, double *out, Error *e);

/* Sets every option that has a `fallback`. `base` is the struct that the groups' offsets are counted from. */
void options_default(const OptionGroup *groups, void *base);
/* Stores one value as a person typed it; a list grows by it. `options` is the struct of the option's table.
 * Checks type, range and choices; the error is ERR_USAGE and begins with `label`, such as "--lr". */
bool option_set(const Option *o, void *options, const char *text, const char *label, Error *e);
/* Stores the members of a JSON object that the recipe reader has checked. On failure `where` (64 bytes) names
 * the member and, in a list, the item: "suite.1". */
bool options_from_json(const OptionGroup *groups, void *base, const json_t *values, char where[64], Error *e);
/* Whether the stored numbers of a table lie in their ranges, for callers that filled the struct by
 * themselves: "min_lr_ratio: 1.5 is out of range; expected 0 to 1" (ERR_USAGE). */
bool options_check(const Option *options, const void *values, Error *e);
/* Appends "name=value\n" for every option of a table in a form that is equal exactly if the values are. */
void options_print(const Option *options, const void *values, Buffer *out);

#endif

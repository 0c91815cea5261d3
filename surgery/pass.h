/* A pass: one change to a model, named in recipes and behind the flags of `derope convert`. Adding one is a
 * file in surgery/passes/ and a line in the table of surgery/passes/passes.c. */
#ifndef DEROPE_SURGERY_PASS_H
#define DEROPE_SURGERY_PASS_H

#include "surgery/model.h"

typedef enum ParamType { PARAM_LAYERS, PARAM_UINT, PARAM_REAL, PARAM_STRING, PARAM_BOOL } ParamType;

typedef struct Param {
    const char *name;
    ParamType type;
    bool required;
    const char *help; /* one line, for --help and the recipe reference */
} Param;

typedef struct Pass {
    const char *name; /* "drop_rope" */
    const char *help;
    const Param *params; /* ends with a NULL name */
    /* `args` is a JSON object that pass_check has accepted. */
    bool (*apply)(Model *m, const json_t *args, Error *e);
} Pass;

/* NULL-terminated. */
extern const Pass *const passes[];
const Pass *pass_by_name(const char *name);
/* Names and types of `args` against the pass's params. The message names the key and suggests the nearest. */
bool pass_check(const Pass *p, const json_t *args, Error *e);
/* Checks, applies, and notes it in m->passes. */
bool pass_apply(Model *m, const char *name, const json_t *args, Error *e);

/* What the cast pass does, for outputs that have a type of their own. */
bool model_cast(Model *m, DType to, Error *e);

/* Layers: "all", "3", "0,3,7", "10-29", "0,4-7", "every:4" (layers with (i+1) % 4 == 0), an integer, or an
 * array of integers. Sets picked[i] for i < n_layers. */
bool layers_parse(const json_t *value, uint32_t n_layers, bool *picked, Error *e);

/* The candidate nearest to `word` (edit distance at most a third of its length and one), or NULL. */
const char *nearest_name(const char *word, const char *const *candidates, size_t n);

#endif

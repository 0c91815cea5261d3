/* A pass: one change to a model, such as dropping the rotary embeddings of some layers. Recipes name passes
 * in their `surgery` list, and `derope convert` and other verbs have a flag for most of them; names,
 * arguments and flags all come from the Pass itself. The table of all passes, and their application, is in
 * surgery/passes/passes.h. */
#ifndef DEROPE_SURGERY_PASS_H
#define DEROPE_SURGERY_PASS_H

#include "surgery/model.h"
#include "surgery/option.h"

/* What happens when a pass's flag is given again on one command line. */
typedef enum PassRepeat {
    PASS_LAST, /* the last one counts */
    PASS_EACH, /* each is applied, in the order given */
    PASS_ONCE, /* it is an error: whether the second adds to the first or replaces it would be a guess */
} PassRepeat;

/* A flag that applies a pass: its value gives one or two of the pass's parameters. */
typedef struct PassFlag {
    Option option;             /* name, help and value name of the flag; its type is OPTION_TEXT */
    const char *parameters[2]; /* which parameters the parts of its value are, separated by a colon; the
                                  second NULL: the whole value is one parameter, colons and all */
    bool second_optional;      /* the colon and the second part may be left out */
    const char *alone;         /* the first parameter where the flag stands alone; NULL: it needs a value */
    const char *example;       /* a value, for the error message: "yarn:4" */
    PassRepeat repeat;
} PassFlag;

typedef struct Pass {
    const char *name; /* "drop_rope", as recipes and manifests call it */
    const char *help;
    const Option *parameters; /* ends with a NULL name; parameters are members of `args`, never stored */
    const PassFlag *flags;    /* ends with a NULL option name; NULL: recipes only */
    /* Changes the model. `args` is a JSON object that pass_check has accepted. */
    bool (*apply)(Model *m, const json_t *args, Error *e);
} Pass;

/* Checks `args` against the pass's parameters: names, types, ranges and choices (ERR_USAGE). The message
 * names the parameter, and suggests the nearest where the name is unknown. */
bool pass_check(const Pass *p, const json_t *args, Error *e);

/* Gives every weight matrix the type `to` on its way out, which is also what an output's dtype asks for.
 * Norms, biases and other vectors follow only from one plain type to another. */
bool model_cast(Model *m, DType to, Error *e);

#endif

/* A pass: one change to a model, such as dropping the rotary embeddings of some layers. Recipes name passes
 * in their `surgery` list, and `derope convert` and other verbs have a flag for most of them; names,
 * arguments and flags all come from the Pass itself. The table of all passes, and their application, is in
 * surgery/passes/passes.h.
 *
 * How to add a pass:
 *   1. Write surgery/passes/NAME.c, which defines `const Pass pass_NAME`. Its head says what the pass does to
 * the model and which paper or runtime it follows. surgery/passes/scale_attention.c is the shortest example.
 *   2. List its arguments as Options (surgery/option.h), with type, range, default and help. They are checked
 *      before `apply` is called, so `apply` checks only what depends on the model.
 *   3. In `apply` change m->spec, the description of what each layer computes. Leave the tensors alone if the
 *      change can be said in metadata: how an output says it, or that no stock architecture can, is for the
 * carriers (surgery/carrier.h) to find out. A pass that changes values sets the fields scale, add or dtype of
 * a tensor. What a person should know goes to notice_add(m->notices, ...) (surgery/notices.h).
 *   4. Declare it and put it into the table in surgery/passes/passes.c. Recipes, flags, help, man page,
 * `plan` and the manifest then know it.
 *   5. Add a test to tests/test_passes.c: what the spec is afterwards, and which arguments are refused. */
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

#endif

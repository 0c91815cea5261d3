/* A pass: one change to a model, such as dropping the rotary embeddings of some layers. Recipes name passes
 * in their `surgery` list, and `derope convert` and other verbs have a flag for most of them; names,
 * arguments and flags all come from the Pass itself. The table of all passes, and their application, is in
 * surgery/passes/passes.h.
 *
 * How to add a pass:
 *   1. Write surgery/passes/NAME.c, which defines `const Pass pass_NAME`. Its head says what the pass does to
 *      the model and which paper or runtime it follows. Short examples are scale_attention.c, which changes
 *      the spec, and cast.c, which changes tensors.
 *   2. List its arguments as Options (surgery/option.h), with type, range, default and help. They are checked
 *      before `apply` is called, so `apply` checks only what depends on the model. A number that a flag gives
 *      is an OPTION_U64 or an OPTION_REAL; the values of flags are read as no other type of number.
 *   3. In `apply` change m->spec, the description of what each layer computes. Leave the tensors alone if the
 *      change can be said in metadata: how an output says it, or that no stock architecture can, is for the
 *      carriers (surgery/carrier.h) to find out. Tell the user what is worth knowing by notice_add with
 *      m->notices (surgery/notices.h).
 *   4. A pass that changes values changes the views of tensors (formats/tensor.h), and decodes nothing:
 *        - Loop over m->tensors and pick by role, or ask model_tensor for the tensor of a role and a layer.
 *        - Multiply both `scale` and `add` by the factor. Do not set them: earlier passes may have changed
 *          them, and a tensor of a GGUF may come with a scale or an addend that turns what llama.cpp stores
 *          into what HF does (Model.unfold, norms with a unit offset).
 *        - Set `dtype` to dtype_written(dtype). Changed values have to be encoded, and some types can only be
 *          decoded. A dtype that the user asks for is refused instead if it has no encoder (surgery/cast.c).
 *        - Refuse the model if m->quantized_config is set, as passes/cast.c does: its weights can only be
 *          copied.
 *      export_scale_queries (surgery/export_scale.c) multiplies tensors in this way.
 *   5. In surgery/passes/passes.c add pass_NAME to the `extern` list, and a line to the table. The place of
 *      the line decides when the pass is applied if it is given as a flag; a recipe has an order of its own.
 *      Recipes, flags, help, man page, completions and the manifest find the pass in the table. `derope plan`
 *      never names passes: it shows what they change in layers, tensors and keys. Its list of layers compares
 *      position, window, rotation and softmax scale (plan_layers in cmd/recipe/recipe_plan.c).
 *   6. Show it in examples/recipe-reference.yaml; otherwise tests/test_recipe.c fails ("the reference lacks
 *      the pass NAME"). Add it to the two lists that are written by hand: "Surgery flags" in cmd/README.md
 *      and "Pass" in surgery/README.md.
 *   7. Test in tests/test_passes.c what the spec or the tensors are afterwards and which arguments are
 *      refused, and in tests/peers/test_surgery_of_families.py the logits. */
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
    /* A whole value, such as "yarn:4". It is shown by the error for a value that cannot be split at a colon,
     * so flags of one parameter leave it NULL. */
    const char *example;
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

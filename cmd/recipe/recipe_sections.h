/* What a recipe consists of: its sections, and the tables of options (surgery/option.h) that are the keys of
 * each. The recipe reader, `derope help recipe`, the man page and the test of examples/recipe-reference.yaml
 * all go by this list. */
#ifndef DEROPE_CMD_RECIPE_RECIPE_SECTIONS_H
#define DEROPE_CMD_RECIPE_RECIPE_SECTIONS_H

#include "surgery/options.h"

/* The form of a section's value in the YAML. */
typedef enum SectionKind {
    SECTION_PATH,   /* source: PATH */
    SECTION_PASSES, /* a list of passes (surgery/pass.h) */
    SECTION_MAP,    /* a mapping whose keys are options */
    SECTION_LIST,   /* a list of such mappings */
} SectionKind;

/* One section of a recipe. */
typedef struct RecipeSection {
    const char *name; /* the key at the top of the recipe: "recalibrate" */
    SectionKind kind;
    bool required;             /* a recipe without it is an error */
    const OptionGroup *groups; /* of SECTION_MAP and SECTION_LIST; NULL otherwise */
    const char *help;          /* one line */
} RecipeSection;

/* In the order in which they are done; ends with a NULL name. */
extern const RecipeSection recipe_sections[];
/* The section of that name, or NULL. */
const RecipeSection *recipe_section_by_name(const char *name);

/* The groups of the sections that are stored in a struct: a RecalRequest (cmd/training_step.h), an
 * EvalRequest (cmd/eval_request.h) and, for each output, an OutputRequest (cmd/output.h). */
extern const OptionGroup recipe_recalibrate_groups[], recipe_evaluate_groups[], recipe_output_groups[];

#endif

/* The hyper-parameters of training: the struct that holds them, and the table that describes them
 * (surgery/option.h). Adding one takes a field of TrainOptions, its line in the table of train_options.c, the
 * code that uses it, and a line in examples/recipe-reference.yaml, without which tests/test_recipe.c fails.
 * The recipe key, the flag, help, man page, completions, range check and the key of the training state follow
 * from the line in the table. The steps are in cmd/README.md, "How to add a hyper-parameter". */
#ifndef DEROPE_RECAL_TRAIN_OPTIONS_H
#define DEROPE_RECAL_TRAIN_OPTIONS_H

#include <stdint.h>

#include "recal/objectives.h"
#include "surgery/option.h"

typedef struct TrainOptions {
    /* What is computed. Every one of these has a line in train_options and belongs to the key of a state. */
    const Objective *objective;
    uint64_t tokens;     /* the budget; the last optimizer step may pass it */
    uint32_t context;    /* T, tokens per sequence */
    uint32_t batch;      /* sequences per optimizer step */
    uint32_t accumulate; /* a batch is run in this many parts, whose gradients are added up */
    double lr;           /* peak learning rate */
    double min_lr_ratio; /* the schedule ends at this fraction of lr */
    uint32_t warmup;     /* optimizer steps until lr is reached; 0: a tenth of all steps, at most 100 */
    double weight_decay; /* AdamW's, of matrices; norms and biases have none */
    double beta1, beta2; /* AdamW's decay rates of the first and second moment */
    double clip;         /* largest norm of the whole gradient; 0: it is not clipped */
    uint64_t seed;       /* of the order in which windows of the text are read, and of random weights */

    /* How it is run; the weights that result do not depend on these. */
    const char *state_path;   /* where a resumable state is kept; NULL: nowhere */
    bool resume;              /* continue from the state at state_path */
    uint32_t save_seconds;    /* time between two states */
    const volatile int *stop; /* not 0: save the state and fail with ERR_INTERRUPTED; may be NULL */
    /* Called after every step with the tokens done and the budget, the step's loss (nats per token), the
     * learning rate and the speed of this process; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t tokens, double loss, double lr,
                     double tokens_per_s);
    void *progress_context;
} TrainOptions;

/* The table; ends with a NULL name. */
extern const Option train_options[];

/* Every hyper-parameter at its default. tokens and context have none: they stay 0, which train_check refuses.
 */
TrainOptions train_defaults(void);
/* Whether each number lies in its range and all of them make sense together (ERR_USAGE). */
bool train_check(const TrainOptions *o, Error *e);

#endif

/* What training minimises.
 *
 * Adding an objective: write its loss function (in ops/losses.c, or beside the table) and add one entry to
 * the table in objectives.c. Flags, recipes, help and the training state find it there by its name; nothing
 * else names objectives.
 *
 * A loss sees its LossBlock and nothing else. A hyper-parameter of a loss goes from TrainOptions into a Batch
 * (run_step in train.c), from there to head_loss as an argument (net_train_batch in train_batch.c), into a
 * field of LossBlock (head_loss.c), and from the loss in objectives.c to the arithmetic in ops/losses.c. */
#ifndef DEROPE_RECAL_OBJECTIVES_H
#define DEROPE_RECAL_OBJECTIVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "recal/threads.h"

/* The arguments of a loss function: a block of rows of logits. A row is one position of the batch. */
typedef struct LossBlock {
    Pool *pool;
    size_t rows, vocab;
    const int32_t
        *targets;   /* (rows): the token to predict; -1: the row is not scored, its loss and gradient are 0 */
    float *logits;  /* (rows, vocab): the model's logits; overwritten with the gradient if `scale` is not 0 */
    float *teacher; /* (rows, vocab): the teacher's logits, which may be overwritten; NULL if there is no
                       teacher */
    float scale;    /* scale of the gradient of the summed losses; 0: no gradient, `logits` stay unchanged */
    float *losses;  /* (rows): output: the loss of each row, in nats */
} LossBlock;

typedef struct Objective {
    const char *name;   /* its name in recipes, flags and results */
    const char *help;   /* one line for the help */
    bool needs_teacher; /* the source model with its original RoPE also runs a forward pass on each batch */
    void (*loss)(const LossBlock *b);
} Objective;

/* All objectives; the last entry has a NULL name. The first one is the default. */
extern const Objective objectives[];
/* Returns the objective of this name, or NULL. */
const Objective *objective_by_name(const char *name);
/* Fills `names` with at most `max` names and returns how many, for an option's choices. */
size_t objective_names(const char **names, size_t max);

#endif

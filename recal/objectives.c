/* The table of objectives, and their losses. A loss gets a block of logits and knows nothing of the model. */
#include "recal/objectives.h"

#include <string.h>

#include "recal/ops/losses.h"

/* -log p(target): what language models are trained on. Needs only the text. */
static void next_token(const LossBlock *b) {
    cross_entropy(b->pool, b->losses, b->logits, b->targets, b->scale, b->rows, b->vocab);
}

/* KL(teacher || model) (arXiv 1503.02531): the whole distribution of the source model is the target, which
 * says more per token than the one token that follows in the text. */
static void distill(const LossBlock *b) {
    kl_divergence(b->pool, b->losses, b->logits, b->teacher, b->targets, b->scale, b->rows, b->vocab);
}

/* To add an objective, write its loss above and its entry here. Options, help and reports take names from
 * this table. */
const Objective objectives[] = {
    {.name = "next-token", .help = "cross entropy of the next token", .loss = next_token},
    {.name = "distill",
     .help = "KL divergence from the source model with its RoPE on",
     .needs_teacher = true,
     .loss = distill},
    {0},
};

/* The objective with that name; NULL if there is none. */
const Objective *objective_by_name(const char *name) {
    for (const Objective *o = objectives; o->name; o++)
        if (strcmp(o->name, name) == 0) return o;
    return NULL;
}

/* Lists up to `max` names for the option's choices and returns how many there are. */
size_t objective_names(const char **names, size_t max) {
    size_t n = 0;
    for (; n < max && objectives[n].name; n++)
        names[n] = objectives[n].name;
    return n;
}

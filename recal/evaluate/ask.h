/* Asking a model the questions of a scene. */
#ifndef DEROPE_RECAL_EVALUATE_ASK_H
#define DEROPE_RECAL_EVALUATE_ASK_H

#include "recal/evaluate/task.h"
#include "recal/net.h"

/* What came of the questions at one depth. */
typedef struct Tally {
    uint64_t trials, answers, found; /* answers wanted, and those in the model's own continuation */
    uint64_t ranked, first;          /* questions with candidates; those whose right one was the likeliest */
    double ranks;                    /* sum of the right one's places, 1 being the likeliest */
} Tally;

/* One question, asked and answered: for a transcript. */
typedef struct Asked {
    const char *prompt, *said; /* greedily, up to the room that the answers need */
    const Question *question;
    double depth;
    size_t found; /* of its answers */
    size_t place; /* of the right candidate, 1 being the likeliest; 0: none */
} Asked;

typedef struct Asking {
    Net *net;
    const Tokenizer *tokenizer;
    const double *depths; /* 0: before the scene, 1: after it; rising; one where the task has none */
    size_t n_depths;
    size_t length; /* tokens that a prompt and its answer may take */
    const volatile int *stop;
    void (*asked)(void *context, const Asked *a); /* may be NULL */
    void *context;
} Asking;

/* Asks each question of the scene once at each of the depths, greedily. Prompts share the prefill of what
 * they begin with: half of it and more. `tallies` (n_depths) is added to. */
bool ask_scene(const Asking *how, const Scene *s, Tally *tallies, Error *e);

/* The 95 % Wilson score interval of a share of `trials`. */
void wilson(double share, double trials, double *low, double *high);

#endif

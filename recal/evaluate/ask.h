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

/* Asks each question once at each of the depths (0: before the scene, 1: after it; one depth where the task
 * has none), greedily, in no more than `length` tokens. Prompts share the prefill of what they begin with:
 * half of it and more. `tallies` (n_depths) is added to. */
bool ask_scene(Net *n, const Tokenizer *t, const Scene *s, const double *depths, size_t n_depths,
               size_t length, const volatile int *stop, Tally *tallies, Error *e);

/* The 95 % Wilson score interval of a share of `trials`. */
void wilson(double share, double trials, double *low, double *high);

#endif

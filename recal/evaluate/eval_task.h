/* What a long-context task is. A task makes scenes: a long text, and questions that can only be answered with
 * something from far back in it. The tasks follow RULER (arXiv 2404.06654); since the models measured here
 * are mostly base models, every question ends where the answer begins, so that continuing the text is
 * answering.
 *
 * This header holds types only. The tasks are defined in needle_tasks.c, recall_tasks.c and
 * word_frequency_tasks.c; eval_tasks.c lists them. */
#ifndef DEROPE_RECAL_EVALUATE_EVAL_TASK_H
#define DEROPE_RECAL_EVALUATE_EVAL_TASK_H

#include "recal/evaluate/haystack.h"
#include "recal/evaluate/scene.h"
#include "recal/evaluate/wording.h"

/* What a task makes a scene from. */
typedef struct EvalTaskInput {
    const Tokenizer *tokenizer;
    const Haystack *haystack;
    const Wording *wording;
    size_t length;      /* tokens that scene, needle, question and answers may take together */
    size_t n_questions; /* how many questions are wanted; tasks that can ask only one thing ask one */
} EvalTaskInput;

typedef struct EvalTask {
    const char *name; /* what --suite and the JSON key "task" call it */
    const char *help; /* a few words for help texts */
    bool has_depth;   /* its questions have a needle that is inserted at several depths of the scene */
    /* Fills an empty scene from random numbers. False with an error if `length` has no room for it, or if the
     * wording has no words for it. */
    bool (*make)(const EvalTaskInput *in, Random *r, Scene *out, Error *e);
} EvalTask;

#endif

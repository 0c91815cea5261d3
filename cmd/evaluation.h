/* Evaluation as eval and a recipe's `evaluate` do it: models under methods, at lengths, by suites; one row a
 * measurement, every one kept as soon as it is there. */
#ifndef DEROPE_CMD_EVALUATION_H
#define DEROPE_CMD_EVALUATION_H

#include "recal/evaluate/method.h"
#include "recal/evaluate/task.h"
#include "recal/perplexity.h"

enum { EVAL_MOST = 64 }; /* of everything that is listed */

typedef struct EvalOptions {
    bool perplexity, tasks[EVAL_MOST]; /* which suites; as in the table of tasks */
    uint64_t lengths[EVAL_MOST];
    size_t n_lengths; /* 0: a quarter of the first model's context to sixteen times it */
    const char *texts[EVAL_MOST];
    size_t n_texts;
    const Method *methods[8];
    size_t n_methods;
    size_t trials, n_depths;
    uint64_t seed, max_tokens;
    double scale;      /* times each layer's own softmax scale */
    bool search_scale; /* the best one for each length, found on a part of the text that is not reported */
    Score score;
    const char *field, *wording, *state;
    int threads;
} EvalOptions;

/* Fills in what was not said, and refuses what makes no sense. */
bool eval_complete(EvalOptions *o, size_t n_models, Error *e);
/* Measures everything; the results as cmd/report takes them. `command` is quoted in them. Finished rows are
 * kept in o->state (if not NULL) and taken from it. New reference. */
json_t *evaluate(const EvalOptions *o, const char *const *models, size_t n_models, const char *command,
                 Error *e);

#endif

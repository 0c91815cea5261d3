/* One measurement of an evaluation: a model at one length, by perplexity or by one task. The functions return
 * the value of a cell, which cmd/evaluate/eval_grid.c keeps in the state and adds to the results. */
#ifndef DEROPE_CMD_EVALUATE_EVAL_MEASURE_H
#define DEROPE_CMD_EVALUATE_EVAL_MEASURE_H

#include "cmd/evaluate/eval_options.h"
#include "recal/evaluate/evaluate_scene.h"
#include "recal/evaluate/haystack.h"
#include "recal/evaluate/wording.h"

/* What measurements read. The wording lasts for the whole evaluation; tokenizer, text and haystack belong to
 * one subject, because its tokenizer decides what they are. */
typedef struct EvalInputs {
    const EvalOptions *options;
    Wording wording;
    Tokenizer *tokenizer; /* of the present subject; NULL until its first measurement */
    TokenList text;       /* the perplexity text in tokens; empty if perplexity is not measured */
    int32_t bos;          /* token put before each window after the first; -1: none */
    Haystack haystack;    /* sentences that facts are hidden in; empty if no task is measured */
    /* Called after each question, for a transcript; NULL: not called. */
    void (*on_answer)(void *context, const TranscriptEntry *a);
    void *answer_context;
} EvalInputs;

/* Opens tokenizer, text and haystack of a subject whose tokenizer lies in `source`, unless they are open. */
bool eval_inputs_open(EvalInputs *in, Checkpoint *source, Error *e);
/* Closes what eval_inputs_open opened; the wording stays. */
void eval_inputs_close(EvalInputs *in);

/* All three return a new reference, or NULL with an error. `length` is in tokens; `task` is used by
 * eval_measure_task alone. They share one signature so that the grid can take any of them. */
typedef json_t *(*EvalMeasure)(const EvalInputs *in, Net *n, uint64_t length, const EvalTask *task, Error *e);

/* {"perplexity", "nll", "tokens", "windows", "positions": [{"to", "nll"}], "low", "high"} of the text, or, if
 * softmax scales are searched, of the part of it that the search does not use. */
json_t *eval_measure_perplexity(const EvalInputs *in, Net *n, uint64_t length, const EvalTask *task,
                                Error *e);
/* The same object for the part of the text (a quarter) on which softmax scales are searched. */
json_t *eval_measure_validation(const EvalInputs *in, Net *n, uint64_t length, const EvalTask *task,
                                Error *e);
/* [{"depth", "trials", "score", "low", "high", "first", ...}], one object per depth. Empty, with a notice, if
 * the length is too short for the task or the wording has no words for it. */
json_t *eval_measure_task(const EvalInputs *in, Net *n, uint64_t length, const EvalTask *task, Error *e);

#endif

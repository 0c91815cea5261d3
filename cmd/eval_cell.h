/* One measurement of an evaluation: a net at a length, on a text or by a task. */
#ifndef DEROPE_CMD_EVAL_CELL_H
#define DEROPE_CMD_EVAL_CELL_H

#include "cmd/eval_grid.h"
#include "recal/evaluate/evaluate_scene.h"

/* What is measured with. */
typedef struct Bench {
    const EvalOptions *o;
    Wording wording;
    Tokenizer *tokenizer; /* of the subject at hand; NULL: not opened yet */
    TokenList text;
    int32_t bos;
    Haystack haystack;
    void (*on_answer)(void *context, const TranscriptEntry *a); /* may be NULL */
    void *answer_context;
} Bench;

/* {"perplexity", "nll", "tokens", "windows", "positions", "low", "high"} of the text; new reference. The
 * validation is the part that finds scales, the perplexity the rest. */
json_t *measure_perplexity(const Bench *b, Net *n, uint64_t length, const EvalTask *task, Error *e);
json_t *measure_validation(const Bench *b, Net *n, uint64_t length, const EvalTask *task, Error *e);
/* [{"depth", "trials", "score", "low", "high", "first", ...}], a member per depth; empty where the task has
 * no room at the length or no words for it. */
json_t *measure_task(const Bench *b, Net *n, uint64_t length, const EvalTask *task, Error *e);

#endif

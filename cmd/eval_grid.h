/* Evaluation as eval and a recipe's `evaluate` do it: subjects under methods, at lengths, by suites; one row
 * a measurement, every one kept as soon as it is there. */
#ifndef DEROPE_CMD_EVAL_GRID_H
#define DEROPE_CMD_EVAL_GRID_H

#include "recal/evaluate/context_extension.h"
#include "recal/evaluate/eval_task.h"
#include "recal/net.h"
#include "recal/perplexity.h"

enum { EVAL_MOST = 64 }; /* of everything that is listed */

typedef struct EvalOptions {
    bool perplexity, tasks[EVAL_MOST]; /* which suites; as in the table of tasks */
    uint64_t lengths[EVAL_MOST];
    size_t n_lengths;                 /* 0: a quarter of the first subject's context to sixteen times it */
    uint64_t task_lengths[EVAL_MOST]; /* of tasks; none: the same */
    size_t n_task_lengths;
    const char *const *texts;
    size_t n_texts;
    const ContextExtension *extensions[8]; /* first "none", which is always there once complete */
    size_t n_extensions;
    size_t trials, n_depths;
    uint64_t seed, max_tokens;
    double scale;      /* times each layer's own softmax scale */
    bool search_scale; /* the best one for each length, found on a part of the text that is not reported */
    Score score;
    const char *field, *wording;
    const char *state; /* where finished cells are kept; NULL: nowhere */
    bool transcript;   /* keep every question and what was said */
    bool anew;         /* what is there already does not count */
    int threads;
} EvalOptions;

/* The texts of --suite, --against and --softmax-scale; ERR_USAGE where one names nothing there is. */
bool eval_add_suite(EvalOptions *o, const char *name, Error *e);
bool eval_add_extension(EvalOptions *o, const char *name, Error *e);
bool eval_set_scale(EvalOptions *o, const char *text, Error *e);
/* Fills in what was not said, and refuses what makes no sense. */
bool eval_complete(EvalOptions *o, Error *e);

/* Something to be measured. */
typedef struct EvalSubject {
    const char *name, *path; /* what the results call it, and where it is from */
    char key[33];            /* hash of all that it is */
    Checkpoint *source;      /* whose tokenizer it has */
    const json_t *manifest;  /* for what was done to it; may be NULL */
    bool under_methods;      /* not only as it is */
    void *context;
    /* A new model, for its spec, which methods change; the caller closes it. */
    Model *(*model)(void *context, Error *e);
    /* Its weights, which stay the subject's. Asked for once something has to be measured. */
    Net *(*net)(void *context, Error *e);
} EvalSubject;

typedef struct Evaluation Evaluation;

/* `options` are borrowed; `command` is quoted in the results. */
Evaluation *evaluation_new(const EvalOptions *options, const char *command, Error *e);
void evaluation_free(Evaluation *v);
/* Measures what is not among the finished cells yet. */
bool evaluation_subject(Evaluation *v, const EvalSubject *s, Error *e);
/* A checkpoint, under all methods. */
bool evaluation_checkpoint(Evaluation *v, const char *path, Error *e);
/* How many cells had to be measured so far. */
size_t evaluation_measured(const Evaluation *v);
/* What cmd/report takes, of all subjects so far; borrowed:
 *   {"derope", "command", "machine", "started", "seconds",
 *    "settings": {"seed", "trials", "depths", "score"},
 *    "texts": [{"file", "bytes", "xxh3_128"}],
 *    "models": [{"name", "path", "family", "parameters", "context", "layers", "passes", "recalibration"}],
 *    "perplexity": [{"model", "method", "softmax_scale", "length", "perplexity", "nll", "low", "high",
 *      "tokens", "windows", "positions": [{"to", "nll"}]}],
 *    "tasks": [{"model", "method", "softmax_scale", "length", "task", "depth", "trials", "score", "low",
 *      "high", "first", "first_low", "first_high", "mean_rank", "candidates"}]}
 *
 * "model" is an index into "models"; "score" is the share found, "first" the share of questions whose right
 * value was the likeliest. */
json_t *evaluation_results(Evaluation *v);
/* With `transcript`: a line of JSON for every question that was asked; borrowed: {"model", "method",
 * "length", "task", "depth", "prompt", "answers", "candidates", "said", "found" (of the answers), "place" (of
 * the first candidate)}. */
const Buffer *evaluation_transcript(const Evaluation *v);

/* Puts the rows of other results behind those of `all` (an empty object at first), their subjects' names
 * behind `prefix` ("": none); a "source" is everybody's and keeps its name. */
void evaluation_join(json_t *all, const json_t *results, const char *prefix);
/* The name in the results of what a path names: "out/partial/" -> "partial", "out/x.gguf" -> "x". */
void eval_short_name(const char *path, char out[256]);

#endif

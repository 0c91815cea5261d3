/* The results of an evaluation as JSON: what `derope eval --json` prints, what the file OUT.json beside
 * a report contains, and what cmd/report reads:
 *
 *   {"derope": version, "command", "machine": {...}, "started": UTC time, "seconds",
 *    "settings": {"seed", "trials", "depths", "score": "all" or "half"},
 *    "texts": [{"file", "bytes", "xxh3_128"}],
 *    "models": [{"name", "path", "family", "parameters", "context" (tokens), "layers", "passes",
 *      "recalibration"}],
 *    "perplexity": [{"model", "method", "softmax_scale", "length", "perplexity", "nll", "low", "high",
 *      "tokens", "windows", "positions": [{"to", "nll"}]}],
 *    "tasks": [{"model", "method", "softmax_scale", "length", "task", "depth", "trials", "score", "low",
 *      "high", "first", "first_low", "first_high", "mean_rank", "candidates"}]}
 *
 * "model" is an index into "models". "method" is the context-extension method. "score" is the fraction
 * of questions that greedy decoding answered correctly. "first" is the fraction of questions for which the
 * model gave the correct candidate answer the highest likelihood. "low" and "high", and "first_low" and
 * "first_high", are the bounds of the 95 % confidence intervals. "nll" is the mean negative log-likelihood in
 * nats per token. */
#ifndef DEROPE_CMD_EVALUATE_EVAL_RESULTS_H
#define DEROPE_CMD_EVALUATE_EVAL_RESULTS_H

#include "cmd/evaluate/eval_options.h"
#include "cmd/evaluate/eval_subject.h"

/* One column of the grid: a subject under a context-extension method, at a length. */
typedef struct EvalSetting {
    size_t model; /* index of the subject in "models" */
    const ContextExtension *extension;
    uint64_t length; /* in tokens */
    double factor;   /* length divided by the training length; 1 if the method changes nothing */
    double scale;    /* multiplies the softmax scale of every layer */
} EvalSetting;

/* Creates results without models and rows. `command` is the command line, which is included. New reference.
 */
json_t *eval_results_new(const EvalOptions *o, const char *command);
/* Adds the text files of the options, with their hashes, to "texts". Writes to `key` the hash of everything
 * that is read from these files; it becomes a part of the keys of cells. */
bool eval_results_add_texts(json_t *results, const EvalOptions *o, char key[33], Error *e);
/* Adds a subject, whose model is `m`, to "models" and returns its index. */
size_t eval_results_add_model(json_t *results, const EvalSubject *s, const Model *m);
/* Whether "models" contains a subject of that name. */
bool eval_results_has_model(const json_t *results, const char *name);
/* Adds a row to "perplexity" (`task` NULL) or to "tasks": the setting with the members of `value`. */
void eval_results_add_row(json_t *results, const EvalSetting *s, const EvalTask *task, const json_t *value);

/* Appends `results` to `all` (an empty object at first), for a report about several recipes. The names of the
 * added models are prefixed with `prefix` and ": " unless `prefix` is "". The model "source" keeps its name,
 * because all recipes share it. */
void eval_results_join(json_t *all, const json_t *results, const char *prefix);

#endif

/* The results of an evaluation as JSON: what `derope eval --json` prints, what stands in OUT.json beside a
 * report, and what cmd/report reads:
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
 * "model" is an index into "models". "method" is the context-extension method. "score" is the share of
 * answers found by greedy decoding, "first" the share of questions whose right candidate was the likeliest;
 * "low" and "high" bound their 95 % intervals. "nll" is a mean loss in nats per token. */
#ifndef DEROPE_CMD_EVALUATE_EVAL_RESULTS_H
#define DEROPE_CMD_EVALUATE_EVAL_RESULTS_H

#include "cmd/evaluate/eval_options.h"
#include "cmd/evaluate/eval_subject.h"

/* One column of the grid: a subject under a context-extension method, at a length. */
typedef struct EvalSetting {
    size_t model; /* index of the subject in "models" */
    const ContextExtension *extension;
    uint64_t length; /* in tokens */
    double factor;   /* length over the trained context; 1 where the method changes nothing */
    double scale;    /* multiplies the softmax scale of every layer */
} EvalSetting;

/* Results without a model or a row. New reference; `command` is quoted in them. */
json_t *eval_results_new(const EvalOptions *o, const char *command);
/* Adds the files that the options' texts name, with their hashes. `key` becomes the hash of everything that
 * is read from them, for the keys of cells. */
bool eval_results_add_texts(json_t *results, const EvalOptions *o, char key[33], Error *e);
/* Adds a subject, of which `m` is the model, and returns its index. */
size_t eval_results_add_model(json_t *results, const EvalSubject *s, const Model *m);
/* Whether a subject of that name is already there. */
bool eval_results_has_model(const json_t *results, const char *name);
/* Adds a row to "perplexity" (`task` NULL) or to "tasks": the setting with the members of `value`. */
void eval_results_add_row(json_t *results, const EvalSetting *s, const EvalTask *task, const json_t *value);

/* Appends other results to `all` (an empty object at first), for a page about several recipes. The names of
 * the added models get `prefix` and ": " in front ("": nothing), except "source", which all recipes share. */
void eval_results_join(json_t *all, const json_t *results, const char *prefix);

#endif

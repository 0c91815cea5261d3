/* An evaluation with all that goes with it: what `derope eval` fills from its flags, and `derope run` and
 * `derope plan` from the `evaluate` section of a recipe. The measurements themselves are EvalOptions
 * (cmd/evaluate/eval_options.h). */
#ifndef DEROPE_CMD_EVAL_REQUEST_H
#define DEROPE_CMD_EVAL_REQUEST_H

#include "cmd/evaluate/eval_options.h"
#include "surgery/option.h"

/* One evaluation. Texts are borrowed from the command line or from the recipe's JSON. */
typedef struct EvalRequest {
    /* What is measured: lengths in tokens, texts, suites, methods. */
    EvalOptions options;
    const char *report;     /* OUT.html, with OUT.json and OUT.csv beside it; NULL: none */
    const char *base_model; /* what the hub calls the source, for model cards; NULL: its path */
    bool source, untrained; /* recipes: measure the source, and the model before recalibration */
    bool card;              /* recipes: write a model card into every HF folder */
} EvalRequest;

extern const Option eval_request_options[]; /* ends with a NULL name */

#endif

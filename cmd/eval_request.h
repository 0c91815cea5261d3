/* A request for an evaluation. `derope eval` fills it from its flags; `derope run` and `derope plan` fill it
 * from the `evaluate` section of a recipe. What to measure is in its EvalOptions
 * (cmd/evaluate/eval_options.h); the other fields say which reports and cards to write. */
#ifndef DEROPE_CMD_EVAL_REQUEST_H
#define DEROPE_CMD_EVAL_REQUEST_H

#include "cmd/evaluate/eval_options.h"
#include "surgery/option.h"

/* One evaluation. Texts are borrowed from the command line or from the recipe's JSON. */
typedef struct EvalRequest {
    /* What is measured: lengths in tokens, texts, suites, methods. */
    EvalOptions options;
    const char
        *report; /* path of the page, OUT.html; OUT.json and OUT.csv are written beside it; NULL: no report */
    const char *base_model; /* the source's name on the model hub, for model cards; NULL: its path */
    bool source, untrained; /* recipes only: also measure the source, and the model before recalibration */
    bool card;              /* recipes only: write a model card into every output that is an HF folder */
} EvalRequest;

extern const Option eval_request_options[]; /* ends with a NULL name */

#endif

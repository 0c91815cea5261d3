/* The recalibration step of `derope recal` and of the `recalibrate` section of a recipe. It reads and
 * tokenizes the training text, opens the teacher if the objective needs one, trains the model
 * (recal/train.h), and replaces the model's weights by the trained ones. */
#ifndef DEROPE_CMD_TRAINING_STEP_H
#define DEROPE_CMD_TRAINING_STEP_H

#include "recal/train.h"

/* The most files and folders of training text in one request. */
enum { RECAL_MAX_PATHS = 1024 };

/* One recalibration, filled by flags or by the `recalibrate` section of a recipe. Start from
 * recal_request_defaults, or let command_line_parse set the defaults. */
typedef struct RecalRequest {
    /* Objective, budget in tokens, context, learning rate and so on (recal/train.h). */
    TrainOptions train;
    const char *data[RECAL_MAX_PATHS]; /* files and folders of text, borrowed */
    size_t n_data;
    const char *field; /* the member of a JSONL line that holds the text */
    bool from_scratch; /* start from random weights instead of the source's */
    int threads;       /* 0: as many as there are processors */
} RecalRequest;

/* The options of a RecalRequest that are not in train_options: those of the training text, and from_scratch.
 * Each table ends with a NULL name. */
extern const Option recal_text_options[], recal_start_options[];

/* Returns a request with the default of every option. */
RecalRequest recal_request_defaults(void);
/* Trains `m`, on which the surgery is done already, and puts the weights back into it. The teacher of
 * distillation is `source` without the surgery. Checks memory first. `*net` receives the net that holds the
 * weights, which the caller closes after the model was written. `result->losses` is the caller's to release,
 * on failure too. ERR_INTERRUPTED after a signal, with the state saved if r->train.state_path is set. */
bool recalibrate(Checkpoint *source, Model *m, const RecalRequest *r, Net **net, TrainResult *result,
                 Error *e);
/* Returns {"recalibration": {...}} for the manifest, with the members tokens_seen, losses, and so on. New
 * reference. */
json_t *recal_summary(const RecalRequest *r, const TrainResult *result);

#endif

/* Recalibration as `derope recal` and the `recalibrate` section of a recipe do it: reads and tokenizes the
 * text, opens the teacher if the objective needs one, trains (recal/train.h), and puts the weights back. */
#ifndef DEROPE_CMD_TRAINING_STEP_H
#define DEROPE_CMD_TRAINING_STEP_H

#include "recal/train.h"

enum { RECAL_MAX_PATHS = 1024 };

typedef struct RecalRequest {
    TrainOptions train;
    const char *data[RECAL_MAX_PATHS]; /* files and folders of text, borrowed */
    size_t n_data;
    const char *field; /* the member of a JSONL line that holds the text */
    bool from_scratch; /* start from random weights instead of the source's */
    int threads;       /* 0: as many as there are processors */
} RecalRequest;

/* The options of a RecalRequest beside those of training (train_options): where the text comes from, and what
 * training starts from. Each ends with a NULL name. */
extern const Option recal_text_options[], recal_start_options[];

/* A request with every option at its default. */
RecalRequest recal_request_defaults(void);
/* Trains `m`, on which the surgery is done already, and puts the weights back into it. The teacher, where the
 * objective needs one, is the source as it was. `*net` receives the net that holds the weights: the caller
 * closes it once the model was written. `result->losses` is the caller's to release, on failure too. */
bool recalibrate(Checkpoint *source, Model *m, const RecalRequest *r, Net **net, TrainResult *result,
                 Error *e);
/* {"recalibration": {...}}, the members that a manifest gets: tokens_seen, losses, ... New reference. */
json_t *recal_summary(const RecalRequest *r, const TrainResult *result);

#endif

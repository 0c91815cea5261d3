/* Recalibration as recal and run do it: tokens, teacher, training. */
#ifndef DEROPE_CMD_TRAINING_STEP_H
#define DEROPE_CMD_TRAINING_STEP_H

#include "recal/train.h"

typedef struct RecalRequest {
    TrainOptions train;
    const char *const *data;
    size_t n_data;
    const char *field;
    bool from_scratch; /* random weights instead of the source's */
    int threads;
} RecalRequest;

/* Trains `m` (already operated on) and puts the weights back into it. `*net` receives the net, which must be
 * closed after the model was written. The teacher, where the objective wants one, is the source as it was. */
bool recalibrate(Checkpoint *source, Model *m, const RecalRequest *r, Net **net, TrainResult *result,
                 Error *e);
/* The members a manifest gets: tokens_seen, losses, ... New reference. */
json_t *recal_summary(const RecalRequest *r, const TrainResult *result);

#endif

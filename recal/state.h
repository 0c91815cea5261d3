/* What an interrupted training run needs to go on as if it had not stopped: one file. */
#ifndef DEROPE_RECAL_STATE_H
#define DEROPE_RECAL_STATE_H

#include "recal/optimizer.h"
#include "recal/train.h"

/* Identifies a run: a state made with other options, data or model is refused. */
typedef struct StateKey {
    char hash[33];
} StateKey;

/* `n` (and `teacher`, which may be NULL) as the run begins. */
StateKey state_key(const Net *n, const Net *teacher, const int32_t *ids, size_t n_ids, const TrainOptions *o);
/* `losses` is written along. Atomic; replaces. */
bool state_save(const char *path, const StateKey *key, const Net *n, const AdamW *o, const TrainResult *r,
                Error *e);
/* Fills weights, moments, step and result. */
bool state_load(const char *path, const StateKey *key, Net *n, AdamW *o, TrainResult *r, Error *e);

#endif

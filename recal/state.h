/* The state of a training run in one file: what an interrupted run needs to go on as if it had not been
 * interrupted. The layout of the file is described in state.c. */
#ifndef DEROPE_RECAL_STATE_H
#define DEROPE_RECAL_STATE_H

#include "recal/optimizer.h"
#include "recal/train.h"

/* Identifies a run: a hash of all that its result depends on. A state with another key is refused. */
typedef struct StateKey {
    char hash[33]; /* XXH3-128 in hexadecimal digits */
} StateKey;

/* The key of a run with these options on this text, from the nets as they are when the run begins. `teacher`
 * may be NULL. Which options belong to the key is said in train_options.h. */
StateKey state_key(const Net *n, const Net *teacher, const int32_t *ids, size_t n_ids, const TrainOptions *o);
/* Writes weights, moments and the result so far to `path`. A state that is there is replaced, and stays
 * complete if the writing fails. */
bool state_save(const char *path, const StateKey *key, const Net *n, const AdamW *o, const TrainResult *r,
                Error *e);
/* Reads weights, moments, the number of steps and the result so far. False with ERR_INPUT if `path` is no
 * state, is damaged, or was made by a run with another key; nothing has been changed then. */
bool state_load(const char *path, const StateKey *key, Net *n, AdamW *o, TrainResult *r, Error *e);

#endif

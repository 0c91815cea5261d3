/* Running a net over a sequence with a KV cache, for logits. */
#ifndef DEROPE_RECAL_INFERENCE_H
#define DEROPE_RECAL_INFERENCE_H

#include "recal/kv_cache.h"
#include "recal/net.h"

/* Receives logits (count, vocabulary) of the new tokens first .. first + count - 1, counted from the
 * beginning of the call of net_run. It may overwrite them. False with an error ends the run. */
typedef bool (*LogitSink)(void *context, size_t first, size_t count, float *logits, Error *e);

/* Runs `n_ids` more tokens of the sequence in `kv`, in chunks of KV_CHUNK so that memory does not grow with
 * the text, and calls `sink` with consecutive blocks of logits. The first `skip` rows of logits are not
 * needed and not computed; `sink` NULL: none are. False with an error if the cache is too small (ERR_FAILED),
 * if an id is not in the vocabulary (ERR_INPUT; nothing has been run then), if there is not enough memory, or
 * if the run was interrupted (kv_watch). */
bool net_run(const Net *n, KvCache *kv, const int32_t *ids, size_t n_ids, size_t skip, LogitSink sink,
             void *context, Error *e);

#endif

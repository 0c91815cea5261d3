/* What the writers of formats/hf_write.h and formats/gguf_write.h are told. Types only. */
#ifndef DEROPE_FORMATS_WRITE_OPTIONS_H
#define DEROPE_FORMATS_WRITE_OPTIONS_H

#include "formats/checkpoint.h"

/* What a writer is told. `manifest` is called after the tensors' hashes are known (and once before, with
 * hashes of zeros, by the GGUF writer: its text must then have the same length) and returns the text of
 * derope.json / the GGUF key derope.manifest. */
typedef struct WriteOptions {
    bool force;              /* replace an existing output */
    uint64_t max_shard_size; /* HF only; 0: one file up to 5 GB, the hub's custom */
    bool (*manifest)(void *context, const Checkpoint *out, Buffer *text, Error *e);
    void *manifest_context;
    void (*progress)(void *context, uint64_t done, uint64_t total); /* bytes; may be NULL */
    void *progress_context;
    const volatile int *stop; /* non-zero: give up, leave nothing (ERR_INTERRUPTED); may be NULL */
} WriteOptions;

#endif

/* What the writers of formats/hf_write.h and formats/gguf_write.h are told. Types only. */
#ifndef DEROPE_FORMATS_WRITE_OPTIONS_H
#define DEROPE_FORMATS_WRITE_OPTIONS_H

#include "formats/checkpoint.h"

typedef struct WriteOptions {
    bool force; /* an existing output is replaced instead of refused */
    uint64_t
        max_shard_size; /* bytes of tensor data in one safetensors file; 0: 5 * 10^9, as transformers does */

    /* Appends the text of the manifest of `out` to `text`; NULL: no manifest is written. It is called when
     * all tensors have their hashes. The GGUF and zip writers call it once before, with hashes of zeros, to
     * learn its length, so the length must not depend on the hashes. */
    bool (*manifest)(void *context, const Checkpoint *out, Buffer *text, Error *e);
    void *manifest_context;

    /* Called after each piece of tensor data with the bytes written and the bytes there are; NULL: not
     * called. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;

    /* When this becomes non-zero (a signal handler sets it), the writer removes what it wrote and fails with
     * ERR_INTERRUPTED. NULL: never. */
    const volatile int *stop;
} WriteOptions;

#endif

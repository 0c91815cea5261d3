/* The options of the writers of formats/hf_write.h and formats/gguf_write.h: how to write, and functions that
 * the writers call back. This header has no source file, because it declares only a type. */
#ifndef DEROPE_FORMATS_WRITE_OPTIONS_H
#define DEROPE_FORMATS_WRITE_OPTIONS_H

#include "formats/checkpoint.h"

typedef struct WriteOptions {
    bool force; /* replace an output that exists already instead of failing */
    uint64_t
        max_shard_size; /* bytes of tensor data in one safetensors file; 0: 5 * 10^9, as transformers does */

    /* Appends the text of the manifest of `out` to `text`; NULL: no manifest is written. It is called when
     * all tensors have their hashes. The GGUF and zip writers call it once before, with hashes of zeros, to
     * learn its length, so the length must not depend on the hashes. */
    bool (*manifest)(void *context, const Checkpoint *out, Buffer *text, Error *e);
    void *manifest_context;

    /* Reads the finished output, which is at `path` until it gets its final name, and fails if it is not what
     * was asked; the output is then removed. NULL: it is not read again. */
    bool (*check)(void *context, const char *path, Error *e);
    void *check_context;

    /* Called after each piece of tensor data with the number of bytes written so far and the number of bytes
     * of all tensors; NULL: not called. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;

    /* When this becomes non-zero (a signal handler sets it), the writer removes what it wrote and fails with
     * ERR_INTERRUPTED. NULL: never. */
    const volatile int *stop;
} WriteOptions;

#endif

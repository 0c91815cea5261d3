/* What all writers do with tensors: produce the bytes of each piece by piece, hash them, and append them to a
 * file (tensor_writer.c). */
#ifndef DEROPE_FORMATS_TENSOR_WRITER_H
#define DEROPE_FORMATS_TENSOR_WRITER_H

#include "formats/write_options.h"

struct Hash;

/* The bytes of a tensor's view, piece by piece. The zip writer uses it directly, because libzip pulls the
 * bytes. */
typedef struct TensorStream {
    Tensor *tensor;
    struct Hash *hash; /* of the bytes so far; NULL once it is finished */
    uint64_t at;       /* how far the stream has come: bytes if the tensor is mapped, rows otherwise */
    uint8_t *rows;     /* buffer for rows that have to be read; NULL if the tensor is mapped */
} TensorStream;

TensorStream tensor_stream(Tensor *t);
/* Points `*bytes` to the next `*n` bytes, which are valid until the next call. At the end `*n` is 0 and the
 * tensor's hash is filled; after that the stream may only be closed. */
bool tensor_stream_next(TensorStream *s, const uint8_t **bytes, size_t *n, Error *e);
void tensor_stream_close(TensorStream *s);

/* A file that tensors are appended to. The caller opens and closes `fd`. */
typedef struct TensorWriter {
    int fd;
    const char *path;            /* for messages */
    const WriteOptions *options; /* progress and stop */
    uint64_t done, total;        /* bytes of tensor data written, and of all tensors */
    uint64_t unflushed;          /* bytes written since the kernel was last asked to write them to disk */
} TensorWriter;

/* Appends the bytes of `t` to the file and fills its hash. ERR_INTERRUPTED if options->stop asks for it. */
bool tensor_writer_add(TensorWriter *w, Tensor *t, Error *e);
/* Appends `n` zero bytes, as padding. */
bool tensor_writer_pad(TensorWriter *w, uint64_t n, Error *e);

/* Sets each hash of `c` to zeros. A manifest made with them has the length that it will have with the real
 * ones. */
void tensors_blank_hashes(Checkpoint *c);
/* The sum of the sizes of all tensors of `c`, in bytes. */
uint64_t tensors_total_bytes(const Checkpoint *c);

#endif

/* What all writers do with a tensor: serve its bytes in pieces, hashing as they go. */
#ifndef DEROPE_FORMATS_TENSOR_WRITER_H
#define DEROPE_FORMATS_TENSOR_WRITER_H

#include "formats/write_options.h"

struct Hash;

/* The served bytes of a tensor, piece by piece. */
typedef struct TensorStream {
    Tensor *tensor;
    struct Hash *hash;
    uint64_t at;   /* bytes of a mapped tensor, rows of another */
    uint8_t *rows; /* where those are put together */
} TensorStream;

TensorStream tensor_stream(Tensor *t);
/* `*n` bytes, valid until the next call; 0 once, at the end, when t->hash is filled. */
bool tensor_stream_next(TensorStream *s, const uint8_t **bytes, size_t *n, Error *e);
void tensor_stream_close(TensorStream *s);

typedef struct TensorWriter {
    int fd;
    const char *path;
    const WriteOptions *options;
    uint64_t done, total; /* bytes of all tensors, for progress */
    uint64_t unflushed;   /* written since the disk was last told to start */
} TensorWriter;

/* Appends the served bytes of `t` to the file and fills t->hash. */
bool tensor_writer_add(TensorWriter *d, Tensor *t, Error *e);
/* Appends n zero bytes (n < 2^20). */
bool tensor_writer_pad(TensorWriter *d, uint64_t n, Error *e);
/* Zeros for every hash: the length of a manifest is known before the hashes are. */
void tensors_blank_hashes(Checkpoint *c);
/* Sum of the served bytes of all tensors. */
uint64_t tensors_total_bytes(const Checkpoint *c);

#endif

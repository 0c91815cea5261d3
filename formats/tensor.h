/* Tensors whose content is described, not held (tensor.c).
 *
 * A tensor is rows that lie in a mapped file (or in memory we own), in an order, with an element type to
 * serve them in. Nothing is decoded until a writer or the forward pass asks, and then row by row, so memory
 * does not grow with the model. A tensor that no pass touched is served as the very bytes of its file. */
#ifndef DEROPE_FORMATS_TENSOR_H
#define DEROPE_FORMATS_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/buffer.h"
#include "formats/dtype.h"
#include "formats/error.h"

enum { TENSOR_MAX_RANK = 8, SHAPE_TEXT = 128 };

/* Where bytes come from: a mapped file, memory, or a container that has to be asked (a zip entry). */
typedef struct ByteSource {
    const char *path;   /* for messages */
    const uint8_t *map; /* whole content, or NULL: then `read` serves it */
    uint64_t size;
    bool (*read)(const struct ByteSource *s, uint64_t offset, size_t n, void *out, Error *e);
    void *context; /* for `read` */
} ByteSource;

/* Consecutive stored rows. Most tensors are one part; fused or stacked ones are several. */
typedef struct TensorPart {
    const ByteSource *source;
    uint64_t offset; /* of the first row */
    uint64_t n_rows;
} TensorPart;

/* The history of a tensor between source and output, in the order of how much was done to it: an operation
 * only ever raises it. The manifest prints these words. */
typedef enum TensorStatus {
    TENSOR_UNTOUCHED, /* the same bytes as in the source */
    TENSOR_PERMUTED,  /* the same elements in another order */
    TENSOR_WIDENED,   /* the same values in another type that holds them exactly (bf16 -> f32) */
    TENSOR_CHANGED,   /* other values, or values rounded to another type */
    TENSOR_NEW,       /* not in the source */
} TensorStatus;

typedef struct Tensor {
    const char *name;
    uint32_t rank;
    uint64_t shape[TENSOR_MAX_RANK]; /* slowest first, as in safetensors; GGUF writes it reversed */
    DType dtype;                     /* as served */
    DType storage_dtype;             /* as the parts hold it */
    uint64_t n_rows, row_elems;      /* rows are what row_index moves; n_rows * row_elems = elements */
    const TensorPart *parts;
    uint32_t n_parts;
    const uint32_t *row_index; /* served row i is stored row row_index[i]; NULL: in order */
    float scale, add;          /* served value = stored * scale + add; 1 and 0 leave it */
    const float *row_scale;    /* and times a factor of its own for each served row; NULL: none */
    /* What was done to the values before they came into the parts, which the fields above cannot show
     * (trained weights, transposed matrices). tensor_status combines both. */
    TensorStatus status;
    /* The narrowest type known to hold every stored value: storage_dtype, or the type that the values had
     * before a GGUF widened them. Serving them in it loses nothing. */
    DType exact_dtype;
    const char
        *quantization; /* how a quantized source stores it: "f8_e4m3" or "mxfp4"; NULL: as storage_dtype */
    char hash[33];     /* XXH3-128 of the served bytes, lower-case hex; writers fill it */
} Tensor;

/* A tensor over memory: `bytes` is row-major data of `dtype` that outlives the checkpoint (or lies in its
 * arena). Rank 1 gives one row; use tensor_split_rows to move its elements. */
Tensor tensor_over(Arena *a, const char *name, DType dtype, uint32_t rank, const uint64_t *shape,
                   const void *bytes);
/* Bytes as served; false if they wrap (cannot happen for a tensor a reader accepted). */
uint64_t tensor_bytes(const Tensor *t);
uint64_t tensor_elems(const Tensor *t);
/* Bytes of one row in the view dtype, and in the storage dtype. */
uint64_t tensor_row_bytes(const Tensor *t);
uint64_t tensor_storage_row_bytes(const Tensor *t);
/* A shape for messages: "[576, 1536]". `out` has room for SHAPE_TEXT bytes. */
void shape_text(uint32_t rank, const uint64_t *shape, char out[SHAPE_TEXT]);
/* Serves rows [first, first + n) in t->dtype into `out` (n * row bytes). */
bool tensor_read_rows(const Tensor *t, uint64_t first, uint64_t n, void *out, Error *e);
/* Whole tensor as fp32, row-major. */
bool tensor_read_f32(const Tensor *t, float *out, Error *e);
/* The served bytes where they lie contiguous in a map and are served as stored; else NULL. */
const void *tensor_map(const Tensor *t);
/* The history of what the tensor serves: t->status, or more if scale, type or row order say so. */
TensorStatus tensor_status(const Tensor *t);
/* Raises t->status to at least `s`. */
void tensor_raise_status(Tensor *t, TensorStatus s);
/* True if the served type stands in for the stored one, which can be decoded but not encoded (IQ2_XS). */
bool tensor_type_replaced(const Tensor *t);
const char *tensor_status_name(TensorStatus s);
/* XXH3-128 of the served bytes without writing them. */
bool tensor_hash(const Tensor *t, char out[33], Error *e);

#endif

/* Tensors whose bytes are described and read only when somebody asks for them (tensor.c).
 *
 * A Tensor has two sides. Its storage is what lies in the checkpoint: parts, which are runs of consecutive
 * rows in mapped files or in memory, of element type `storage_dtype`. Its view is what readers see: rows in
 * the order of `row_index`, multiplied by scales, in element type `dtype`. Passes and exporters change the
 * view by changing a few fields (formats/tensor_views.h has the larger operations); no element is decoded
 * before a writer or the forward pass reads rows. Memory use therefore does not grow with the model, and a
 * tensor whose view equals its storage is copied byte for byte.
 *
 * A Tensor owns nothing. Names, parts and indices live in an arena, usually that of the checkpoint, and a
 * Tensor may be copied by assignment. */
#ifndef DEROPE_FORMATS_TENSOR_H
#define DEROPE_FORMATS_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/buffer.h"
#include "formats/dtype.h"
#include "formats/error.h"
#include "formats/nonfinite.h"

enum {
    TENSOR_MAX_RANK =
        8, /* dimensions; safetensors and PyTorch files with more are refused, GGUF has at most 4 */
    SHAPE_TEXT = 128, /* bytes that shape_text needs */
};

/* A range of bytes that tensors are read from: a mapped file, memory, or something that computes its bytes
 * when they are asked for (a zip entry whose checksum is compared first, a transposed matrix, a dequantized
 * weight). */
typedef struct ByteSource {
    const char *path;   /* file or tensor name, for messages */
    const uint8_t *map; /* all `size` bytes, or NULL: then `read` has to be called */
    uint64_t size;      /* bytes */
    /* Copies bytes [offset, offset + n) to `out`. Callers have checked that they lie in the source. */
    bool (*read)(const struct ByteSource *s, uint64_t offset, size_t n, void *out, Error *e);
    void *context; /* of `read` */
} ByteSource;

/* A run of consecutive rows in the storage of a tensor. Most tensors have one part. Stacked tensors (the
 * experts of a layer in one tensor) have one for each tensor that they were made of. */
typedef struct TensorPart {
    const ByteSource *source;
    uint64_t offset; /* in `source`, of the first byte of the first row */
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
    const char *name; /* as in the file: "model.layers.0.mlp.up_proj.weight", "blk.0.ffn_up.weight" */
    uint32_t rank;
    uint64_t shape[TENSOR_MAX_RANK]; /* slowest dimension first, as in safetensors; GGUF files have them
                                        reversed */
    DType dtype;                     /* element type of the view: what readers get and writers write */
    DType storage_dtype;             /* element type of the bytes in the parts */
    /* A row is what row_index moves and what is read at once: usually the last dimension, one element after
     * tensor_split_elements. n_rows * row_elems is the number of elements; both are 0 in an empty tensor. */
    uint64_t n_rows, row_elems;
    const TensorPart *parts; /* (n_parts), in the order of storage rows */
    uint32_t n_parts;
    const uint32_t *row_index; /* (n_rows): row i of the view is storage row row_index[i]; NULL: same order */
    float scale, add;          /* view value = storage value * scale + add; 1 and 0 change nothing */
    const float *row_scale;    /* (n_rows): a further factor for each row of the view; NULL: none */
    /* What was done to the values before they came into the parts, which the fields above cannot show
     * (trained weights, transposed matrices). tensor_status combines both. */
    TensorStatus status;
    /* The narrowest type known to hold every storage value exactly: storage_dtype, or the type that the
     * values had before a GGUF widened them to f32. Writing the values in it loses nothing. */
    DType exact_dtype;
    /* The format of a quantized Hugging Face source that the storage is computed from: "f8_e4m3", "mxfp4"
     * (formats/hf_quantization.h). NULL: the parts are the bytes of the file. */
    const char *quantization;
    /* Write values that the view type cannot hold (too large, or NaN in a type of blocks) instead of failing.
     */
    bool allow_nonfinite;
    char hash[33];       /* XXH3-128 of the view's bytes, as lower-case hex digits; filled by the writers */
    NonFinite nonfinite; /* values that are not finite, in the source or in the view; filled by the writers */
} Tensor;

/* A tensor over memory. `bytes` are row-major elements of `dtype` that live at least as long as the tensor.
 * The descriptions come from `a`. A tensor of rank 1 is a single row; tensor_split_rows
 * (formats/tensor_views.h) makes rows of its elements. */
Tensor tensor_over(Arena *a, const char *name, DType dtype, uint32_t rank, const uint64_t *shape,
                   const void *bytes);

/* Size of the view: its bytes, its elements, the bytes of one of its rows; and the bytes of one row of the
 * storage. None of them overflows for a tensor that a reader of formats/ has accepted. */
uint64_t tensor_bytes(const Tensor *t);
uint64_t tensor_elems(const Tensor *t);
uint64_t tensor_row_bytes(const Tensor *t);
uint64_t tensor_storage_row_bytes(const Tensor *t);

/* Formats a shape for messages: "[576, 1536]". `out` has room for SHAPE_TEXT bytes. */
void shape_text(uint32_t rank, const uint64_t *shape, char out[SHAPE_TEXT]);

/* Reads rows [first, first + n) of the view, n * tensor_row_bytes(t) bytes, into `out`. Where view and
 * storage differ in more than the order of rows, values go through fp32: they are decoded, scaled and
 * encoded. Fails with ERR_INPUT if the storage type has no decoder, with ERR_FAILED if the view type has no
 * encoder, or if a value would lose what it is (a finite one become infinite or NaN, a NaN become a number)
 * and t->allow_nonfinite is not set, and with what the source of the bytes reports. */
bool tensor_read_rows(const Tensor *t, uint64_t first, uint64_t n, void *out, Error *e);
/* The same, and adds to `*counts` (may be NULL) how many values are not finite. */
bool tensor_read_rows_counted(const Tensor *t, uint64_t first, uint64_t n, void *out, NonFinite *counts,
                              Error *e);
/* Reads the whole view only to count; fails where tensor_read_rows fails. */
bool tensor_count_nonfinite(const Tensor *t, NonFinite *counts, Error *e);

/* Reads the whole view as fp32 in row-major order. `out` has room for tensor_elems(t) floats. The values are
 * not rounded to t->dtype in between. */
bool tensor_read_f32(const Tensor *t, float *out, Error *e);

/* The address of the view's bytes, if the view equals the storage and lies in one piece of mapped memory;
 * NULL if the bytes have to be read. */
const void *tensor_map(const Tensor *t);

/* The history of the view: t->status, or a higher one if scale, type or row order require it. */
TensorStatus tensor_status(const Tensor *t);
/* The word that manifests use: "untouched", "permuted", ... */
const char *tensor_status_name(TensorStatus s);
/* Raises t->status to `s`, unless it is as high already. */
void tensor_raise_status(Tensor *t, TensorStatus s);
/* True if the view type stands in for a storage type that can be decoded but not encoded, such as IQ2_XS. */
bool tensor_type_replaced(const Tensor *t);

/* Hashes the view's bytes with XXH3-128 without writing them anywhere. */
bool tensor_hash(const Tensor *t, char out[33], Error *e);

#endif

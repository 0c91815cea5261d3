/* Tensors made of other tensors' rows, without reading any: slices, stacks, other orders (tensor_views.c). */
#ifndef DEROPE_FORMATS_TENSOR_VIEWS_H
#define DEROPE_FORMATS_TENSOR_VIEWS_H

#include "formats/tensor.h"

/* Makes each element a row, so that they can be moved like a matrix's rows. An error for types whose elements
 * lie in blocks, and where rows are moved already. */
bool tensor_split_elements(Arena *a, Tensor *t, Error *e);
/* The same of a vector; anything else is left alone. */
bool tensor_split_rows(Arena *a, Tensor *t, Error *e);
/* Composes a further permutation: new served row i is old served row index[i]. Drops to NULL if identity. */
void tensor_permute(Arena *a, Tensor *t, const uint32_t *index);
/* Rows [first, first + n) of `t`, whose shape the caller sets. */
Tensor tensor_slice(Arena *a, const Tensor *t, uint64_t first, uint64_t n);
/* The rows of all `n` tensors, one tensor after the other, which must agree in their types and shapes: rank
 * and shape are those of one, with `n` before them. An error names the two that differ. */
bool tensor_stack(Arena *a, const Tensor *const *tensors, uint32_t n, Tensor *out, Error *e);
/* The same tensor as if it were stored the way it is served. Its rows are read whole. */
Tensor tensor_of_view(Arena *a, const Tensor *t);
/* Holds one transposed matrix at a time. Zero-initialise; free it after the last reading of such a tensor. */
typedef struct TransposeCache {
    uint64_t made;   /* tensors, numbered from 1 */
    uint64_t of;     /* the tensor whose matrix is held; 0: none */
    uint64_t matrix; /* its index in that tensor */
    uint8_t *bytes;
    size_t capacity;
} TransposeCache;
void transpose_cache_free(TransposeCache *t);
/* A matrix, or each of a stack of them, with rows and columns exchanged; served in the type that `t` is
 * served in, which must not have blocks. Twice is `t` itself again. All tensors made with one `held` are read
 * by one thread. */
bool tensor_transposed(Arena *a, TransposeCache *held, const Tensor *t, Tensor *out, Error *e);
/* True if both parts begin at the same stored row, transposed alike. */
bool part_same(const TensorPart *a, const TensorPart *b);

#endif

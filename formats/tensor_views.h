/* Tensors made of other tensors without reading them: slices, stacks, permutations, transposes
 * (tensor_views.c).
 *
 * All of them return descriptions whose parts point into the sources of the original tensors, so those
 * sources have to outlive the result. The arena `a` gets the new parts and indices. Shapes are row-major,
 * slowest dimension first. */
#ifndef DEROPE_FORMATS_TENSOR_VIEWS_H
#define DEROPE_FORMATS_TENSOR_VIEWS_H

#include "formats/tensor.h"

/* Makes each element of `t` a row of its own, so that tensor_permute can move single elements. The shape
 * stays. ERR_INPUT if elements are stored in blocks, or if rows have been permuted or scaled already. */
bool tensor_split_elements(Arena *a, Tensor *t, Error *e);

/* Calls tensor_split_elements for a vector (rank 1), so that biases and norms can be permuted like the rows
 * of a matrix. Leaves tensors of any other rank as they are. */
bool tensor_split_rows(Arena *a, Tensor *t, Error *e);

/* Permutes the rows of the view: row i becomes what row index[i] was. `index` has t->n_rows entries and is
 * copied. A permutation that restores the storage order leaves no index behind, so that the bytes can be
 * copied again. */
void tensor_permute(Arena *a, Tensor *t, const uint32_t *index);

/* The rows [first, first + n) of `t`. The caller sets rank and shape of the result. */
Tensor tensor_slice(Arena *a, const Tensor *t, uint64_t first, uint64_t n);

/* Stacks `n` tensors of one shape and type along a new first dimension: [rows, columns] becomes [n, rows,
 * columns]. ERR_INPUT if two differ in type, shape or scale; the message names them. */
bool tensor_stack(Arena *a, const Tensor *const *tensors, uint32_t n, Tensor *out, Error *e);

/* A tensor whose storage is the view of `t`: same shape, same bytes, but type, order and scales belong to the
 * past, and new ones can be applied. Its bytes are computed row by row when they are read. */
Tensor tensor_of_view(Arena *a, const Tensor *t);

/* The memory that tensors made by tensor_transposed share: the one matrix that was read last, transposed.
 * Initialise to zeros. Free it after the last such tensor has been read. */
typedef struct TransposeCache {
    uint64_t n_made;  /* transposed tensors that share this cache; they are numbered from 1 */
    uint64_t current; /* number of the tensor that `bytes` belong to; 0: none */
    uint64_t matrix;  /* index of the matrix within that tensor, which may be a stack of them */
    uint8_t *bytes;   /* the transposed matrix, row-major */
    size_t capacity;  /* bytes allocated */
} TransposeCache;

void transpose_cache_free(TransposeCache *t);

/* Exchanges the last two dimensions of `t`: [..., rows, columns] becomes [..., columns, rows], with storage
 * and view of type t->dtype. Transposing a transposed tensor gives the original back, so that its bytes can
 * be copied. Tensors that share `cache` must not be read by two threads at a time. ERR_INPUT for block types,
 * whose blocks run along rows. */
bool tensor_transposed(Arena *a, TransposeCache *cache, const Tensor *t, Tensor *out, Error *e);

/* True if two parts begin at the same row of the same storage, also where both are transposes of it. */
bool part_same(const TensorPart *a, const TensorPart *b);

#endif

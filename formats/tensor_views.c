/* Tensors made of other tensors without reading them: see formats/tensor_views.h. surgery uses them to
 * convert between the layouts of transformers and llama.cpp (permuted rows of q and k, fused tensors, stacked
 * and transposed experts). The first half of this file edits the description (parts, order of rows). The
 * second half makes tensors whose bytes are computed when they are read: their single part has a source with
 * a `read` function, whose context remembers the original tensor. */
#include "formats/tensor_views.h"

#include <stdlib.h>
#include <string.h>

/* Makes each element a row, so that elements can be permuted or sliced one by one. All parts then have
 * row_elems times as many rows at the same offsets. Block types cannot be split, and an index or scales of
 * rows would lose their meaning. */
bool tensor_split_elements(Arena *a, Tensor *t, Error *e) {
    if (t->row_elems == 1) return true;
    if (dtype_info(t->storage_dtype)->block_elems != 1 || t->row_index || t->row_scale)
        return error_set(e, ERR_INPUT, "tensor '%s': elements of %s cannot be permuted one by one", t->name,
                         dtype_info(t->storage_dtype)->name);
    /* The parts are shared with other tensors, so copies are changed. */
    TensorPart *parts = arena_alloc(a, t->n_parts * sizeof *parts);
    for (uint32_t i = 0; i < t->n_parts; i++) {
        parts[i] = t->parts[i];
        parts[i].n_rows *= t->row_elems;
    }
    t->n_rows *= t->row_elems;
    t->row_elems = 1;
    t->parts = parts;
    return true;
}

/* A vector, such as a bias, is one row; it has to be split before its elements can be permuted like the rows
 * of the matrix it belongs to. */
bool tensor_split_rows(Arena *a, Tensor *t, Error *e) {
    return t->rank != 1 || tensor_split_elements(a, t, e);
}

/* Row i of the result is row index[i] of the view before. `index` need not outlive the call. */
void tensor_permute(Arena *a, Tensor *t, const uint32_t *index) {
    /* `index` refers to rows of the view, row_index to rows of the storage. Composing the two gives the
     * storage row of each row of the new view. */
    uint32_t *composed = arena_alloc(a, t->n_rows * sizeof *composed);
    bool identity = true;
    for (uint64_t i = 0; i < t->n_rows; i++) {
        composed[i] = t->row_index ? t->row_index[index[i]] : index[i];
        identity &= composed[i] == i;
    }
    t->row_index = identity ? NULL : composed;
}

/* ---- slices and stacks ---- */

/* Rows [first, first + n) as a tensor; the caller sets rank and shape. A slice of a permuted tensor keeps all
 * parts and takes a range of the index. Otherwise the parts themselves are cut to the range. */
Tensor tensor_slice(Arena *a, const Tensor *t, uint64_t first, uint64_t n) {
    Tensor out = *t;
    out.n_rows = n;
    if (t->row_scale) out.row_scale = t->row_scale + first;
    if (t->row_index) {
        out.row_index = t->row_index + first;
        return out;
    }
    TensorPart *parts = arena_alloc(a, t->n_parts * sizeof *parts);
    out.n_parts = 0;
    for (uint32_t i = 0; i < t->n_parts && n; i++) {
        TensorPart part = t->parts[i];
        if (first >= part.n_rows) {
            first -= part.n_rows;
            continue;
        }
        part.offset += first * tensor_storage_row_bytes(t);
        part.n_rows = part.n_rows - first < n ? part.n_rows - first : n;
        n -= part.n_rows;
        first = 0;
        parts[out.n_parts++] = part;
    }
    out.parts = parts;
    return out;
}

/* True if one description (type, scales, shape) suits both tensors, so that they can be stacked; where their
 * rows lie may differ. */
static bool same_layout(const Tensor *a, const Tensor *b) {
    return a->storage_dtype == b->storage_dtype && a->dtype == b->dtype && a->rank == b->rank &&
           a->scale == b->scale && a->add == b->add && a->row_elems == b->row_elems &&
           a->n_rows == b->n_rows && memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

/* The number of rows in the storage. A slice of a permuted tensor has more of them than its view, because it
 * keeps all parts. */
static uint64_t stored_rows(const Tensor *t) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < t->n_parts; i++)
        n += t->parts[i].n_rows;
    return n;
}

/* Returns the row_index of a stack of `n` tensors with `rows` rows each; NULL if no member has an index.
 * Members without one are in storage order. `base` is the storage row at which the member's parts begin, once
 * they are appended to those before it. */
static const uint32_t *stacked_index(Arena *a, const Tensor *const *tensors, uint32_t n, uint64_t rows) {
    /* Is there anything to record? */
    bool any = false;
    for (uint32_t i = 0; i < n; i++)
        any |= tensors[i]->row_index != NULL;
    if (!any) return NULL;
    uint32_t *index = arena_alloc(a, n * rows * sizeof *index);
    /* Concatenate the indices, each shifted to its member's rows. */
    uint64_t base = 0;
    for (uint32_t i = 0; i < n; i++) {
        for (uint64_t j = 0; j < rows; j++)
            index[i * rows + j] = (uint32_t)(base + (tensors[i]->row_index ? tensors[i]->row_index[j] : j));
        base += stored_rows(tensors[i]);
    }
    return index;
}

/* Stacks `n` tensors along a new first dimension, such as the experts of a layer. The parts of all members
 * follow each other in the parts of the stack. */
bool tensor_stack(Arena *a, const Tensor *const *tensors, uint32_t n, Tensor *out, Error *e) {
    uint32_t n_parts = 0;
    for (uint32_t i = 0; i < n; i++) {
        n_parts += tensors[i]->n_parts;
        if (!same_layout(tensors[0], tensors[i]))
            return error_set(e, ERR_INPUT, "tensors '%s' (%s) and '%s' (%s) differ in type or shape",
                             tensors[0]->name, dtype_info(tensors[0]->storage_dtype)->name, tensors[i]->name,
                             dtype_info(tensors[i]->storage_dtype)->name);
    }
    /* Join the parts. The stack has the history of the member that was changed most. */
    *out = *tensors[0];
    TensorPart *parts = arena_alloc(a, n_parts * sizeof *parts);
    out->parts = parts;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(parts, tensors[i]->parts, tensors[i]->n_parts * sizeof *parts);
        parts += tensors[i]->n_parts;
        tensor_raise_status(out, tensors[i]->status);
    }
    out->n_parts = n_parts;
    out->row_index = stacked_index(a, tensors, n, out->n_rows);
    out->n_rows *= n;
    /* The new dimension comes first. */
    memmove(out->shape + 1, out->shape, out->rank * sizeof *out->shape);
    out->shape[0] = n;
    out->rank++;
    return true;
}

/* ---- tensors whose bytes are computed ---- */

/* The type of ByteSource.read. */
typedef bool ReadBytes(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e);

/* A tensor with the shape and view type of `t` whose storage bytes come from `read` and are divided into rows
 * of `row_elems` elements. Its `status` is the status of the view of `t`, because the row order and the
 * scales of `t`, from which tensor_status would derive it, are not among the fields of the new tensor. */
static Tensor tensor_over_read(Arena *a, const Tensor *t, uint64_t row_elems, ReadBytes *read,
                               void *context) {
    ByteSource *source = arena_alloc(a, sizeof *source);
    TensorPart *part = arena_alloc(a, sizeof *part);
    *source = (ByteSource){.path = t->name, .size = tensor_bytes(t), .read = read, .context = context};
    *part = (TensorPart){.source = source, .n_rows = tensor_elems(t) / row_elems};
    Tensor out = {.name = t->name,
                  .rank = t->rank,
                  .dtype = t->dtype,
                  .storage_dtype = t->dtype,
                  .exact_dtype = t->dtype,
                  .n_rows = part->n_rows,
                  .row_elems = row_elems,
                  .parts = part,
                  .n_parts = 1,
                  .scale = 1,
                  .status = tensor_status(t)};
    memcpy(out.shape, t->shape, sizeof out.shape);
    return out;
}

/* ByteSource.read of tensor_of_view: reads whole rows of the view of the tensor in `context`. */
static bool read_view(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e) {
    const Tensor *t = s->context;
    uint64_t row = tensor_row_bytes(t);
    return tensor_read_rows(t, offset / row, n / row, out, e);
}

/* Makes a tensor whose storage is the view of `t`, so that further edits apply on top of the ones that `t`
 * has. The original is copied into the arena, where the source finds it. */
Tensor tensor_of_view(Arena *a, const Tensor *t) {
    Tensor *inner = arena_alloc(a, sizeof *inner);
    *inner = *t;
    return tensor_over_read(a, t, t->row_elems, read_view, inner);
}

/* ---- transposed tensors ---- */

/* The context of a transposed tensor's source. */
typedef struct Transposed {
    Tensor inner;          /* the original, [..., rows, columns] */
    TransposeCache *cache; /* where the matrix that was read last is kept */
    uint64_t number;       /* from 1; equals cache->current while the cache holds a matrix of this tensor */
} Transposed;

/* `current` 0 belongs to no tensor, so the cache is empty afterwards. */
void transpose_cache_free(TransposeCache *t) {
    free(t->bytes);
    t->bytes = NULL;
    t->capacity = t->current = 0;
}

/* Transposes `from` [rows, cols] into `to` [cols, rows], in blocks of SIDE x SIDE elements, so that every
 * cache line of source and destination is used completely before it is evicted. `size` is the size of an
 * element in bytes. Callers pass a constant where they can, so that the compiler turns memcpy into one load
 * and one store. */
static inline void transpose_by(uint8_t *to, const uint8_t *from, uint64_t rows, uint64_t cols, size_t size) {
    enum { SIDE = 32 };
    for (uint64_t r0 = 0; r0 < rows; r0 += SIDE)
        for (uint64_t c0 = 0; c0 < cols; c0 += SIDE)
            for (uint64_t c = c0; c < cols && c < c0 + SIDE; c++)
                for (uint64_t r = r0; r < rows && r < r0 + SIDE; r++)
                    memcpy(to + (c * rows + r) * size, from + (r * cols + c) * size, size);
}

/* Calls transpose_by with a constant element size for the usual sizes of 1, 2 and 4 bytes. */
static void transpose(uint8_t *to, const uint8_t *from, uint64_t rows, uint64_t cols, size_t size) {
    switch (size) {
    case 1:
        transpose_by(to, from, rows, cols, 1);
        break;
    case 2:
        transpose_by(to, from, rows, cols, 2);
        break;
    case 4:
        transpose_by(to, from, rows, cols, 4);
        break;
    default:
        transpose_by(to, from, rows, cols, size);
    }
}

/* Makes sure that the cache holds matrix number `matrix` of this tensor, transposed. Rows of a transposed
 * matrix are columns of the stored one, so reading them one by one would touch the whole matrix each time.
 * Readers ask for rows in order, so each matrix is read and transposed once. */
static bool cache_matrix(const Transposed *t, uint64_t matrix, Error *e) {
    TransposeCache *cache = t->cache;
    if (cache->current == t->number && cache->matrix == matrix) return true;
    uint64_t rows = t->inner.shape[t->inner.rank - 2], cols = t->inner.row_elems;
    size_t size = dtype_info(t->inner.dtype)->block_bytes, bytes = rows * cols * size;
    /* The cache grows to the largest matrix. */
    if (cache->capacity < bytes) {
        transpose_cache_free(cache);
        cache->bytes = big_alloc_unset(rows, cols * size, t->inner.name, e);
        if (!cache->bytes) return false;
        cache->capacity = bytes;
    }
    /* A mapped matrix is transposed directly from the mapping; any other is read into a buffer first. */
    const uint8_t *map = tensor_map(&t->inner);
    uint8_t *read = map ? NULL : big_alloc_unset(rows, cols * size, t->inner.name, e);
    bool ok = map || (read && tensor_read_rows(&t->inner, matrix * rows, rows, read, e));
    if (ok) transpose(cache->bytes, map ? map + matrix * bytes : read, rows, cols, size);
    free(read);
    cache->current = ok ? t->number : 0;
    cache->matrix = matrix;
    return ok;
}

/* ByteSource.read of a transposed tensor. The transposed matrices follow each other in memory order; a
 * request may span several. */
static bool read_transposed(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e) {
    const Transposed *t = s->context;
    uint64_t size =
        t->inner.shape[t->inner.rank - 2] * t->inner.row_elems * dtype_info(t->inner.dtype)->block_bytes;
    uint8_t *to = out;
    while (n) {
        uint64_t at = offset % size, take = size - at < n ? size - at : n;
        if (!cache_matrix(t, offset / size, e)) return false;
        memcpy(to, t->cache->bytes + at, take);
        to += take;
        offset += take;
        n -= take;
    }
    return true;
}

/* True if both parts have the same bytes, for finding tied tensors. Each transposition has a source of its
 * own, so two transposed parts are compared by what they were transposed from. */
bool part_same(const TensorPart *a, const TensorPart *b) {
    if (a->source->read == read_transposed && b->source->read == read_transposed) {
        const Transposed *x = a->source->context, *y = b->source->context;
        return a->offset == b->offset && x->inner.n_parts == 1 && y->inner.n_parts == 1 &&
               !x->inner.row_index && !y->inner.row_index && part_same(x->inner.parts, y->inner.parts);
    }
    return a->source == b->source && a->offset == b->offset;
}

/* Returns the context of `t` if `t` is a whole tensor made by tensor_transposed that has not been permuted,
 * sliced or scaled by row since then; NULL otherwise. Transposing such a tensor again restores the
 * original. */
static const Transposed *find_transposed(const Tensor *t) {
    const TensorPart *part = t->parts;
    if (t->n_parts != 1 || t->row_index || t->row_scale || part->source->read != read_transposed ||
        part->offset)
        return NULL;
    return t->n_rows == part->n_rows && part->source->size == t->n_rows * tensor_storage_row_bytes(t)
               ? part->source->context
               : NULL;
}

/* Swaps the last two dimensions. If `t` is a transposed tensor, the original comes back; otherwise the result
 * has a source that transposes when it is read. */
bool tensor_transposed(Arena *a, TransposeCache *cache, const Tensor *t, Tensor *out, Error *e) {
    const Transposed *before = find_transposed(t);
    *out = *t;
    if (before) {
        /* The original parts come back, with scale and offset composed: y = s2 * (s1 * x + a1) + a2. */
        const Tensor *inner = &before->inner;
        out->parts = inner->parts;
        out->n_parts = inner->n_parts;
        out->row_index = inner->row_index;
        out->row_scale = inner->row_scale;
        out->storage_dtype = inner->storage_dtype;
        out->scale = t->scale * inner->scale;
        out->add = t->scale * inner->add + t->add;
        out->exact_dtype = inner->exact_dtype;
        /* The first transposition raised the status to at most TENSOR_PERMUTED, and this one undoes it. A
         * status of TENSOR_CHANGED means that values were changed, which still holds. */
        if (t->status < TENSOR_CHANGED) out->status = inner->status;
    } else {
        /* Elements of block types have no address of their own. */
        if (dtype_info(t->dtype)->block_elems != 1)
            return error_set(e, ERR_INPUT, "tensor '%s': a matrix of %s cannot be transposed", t->name,
                             dtype_info(t->dtype)->name);
        Transposed *transposed = arena_alloc(a, sizeof *transposed);
        *transposed = (Transposed){.inner = *t, .cache = cache, .number = ++cache->n_made};
        *out = tensor_over_read(a, t, t->shape[t->rank - 2], read_transposed, transposed);
        tensor_raise_status(out, TENSOR_PERMUTED);
    }
    /* The new shape; what was a column is a row now. */
    out->shape[t->rank - 2] = t->row_elems;
    out->shape[t->rank - 1] = t->shape[t->rank - 2];
    out->n_rows = t->n_rows / t->shape[t->rank - 2] * t->row_elems;
    out->row_elems = t->shape[t->rank - 2];
    return true;
}

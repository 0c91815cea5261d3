/* Tensors made of other tensors' rows, without reading any: slices, stacks, other orders. */
#include "formats/tensor_views.h"

#include <stdlib.h>
#include <string.h>

bool tensor_split_elements(Arena *a, Tensor *t, Error *e) {
    if (t->row_elems == 1) return true;
    if (dtype_info(t->storage_dtype)->block_elems != 1 || t->row_index || t->row_scale)
        return error_set(e, ERR_INPUT, "tensor '%s': elements of %s cannot be moved one by one", t->name,
                         dtype_info(t->storage_dtype)->name);
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

bool tensor_split_rows(Arena *a, Tensor *t, Error *e) {
    return t->rank != 1 || tensor_split_elements(a, t, e);
}

void tensor_permute(Arena *a, Tensor *t, const uint32_t *index) {
    uint32_t *composed = arena_alloc(a, t->n_rows * sizeof *composed);
    bool identity = true;
    for (uint64_t i = 0; i < t->n_rows; i++) {
        composed[i] = t->row_index ? t->row_index[index[i]] : index[i];
        identity &= composed[i] == i;
    }
    t->row_index = identity ? NULL : composed;
}

/* ---- slices and stacks ---- */

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

static bool agree(const Tensor *a, const Tensor *b) {
    return a->storage_dtype == b->storage_dtype && a->dtype == b->dtype && a->rank == b->rank &&
           a->scale == b->scale && a->add == b->add && a->row_elems == b->row_elems &&
           a->n_rows == b->n_rows && memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

static uint64_t stored_rows(const Tensor *t) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < t->n_parts; i++)
        n += t->parts[i].n_rows;
    return n;
}

/* The row_index of a stack whose members may have one each. */
static const uint32_t *stacked_index(Arena *a, const Tensor *const *tensors, uint32_t n, uint64_t rows) {
    bool any = false;
    for (uint32_t i = 0; i < n; i++)
        any |= tensors[i]->row_index != NULL;
    if (!any) return NULL;
    uint32_t *index = arena_alloc(a, n * rows * sizeof *index);
    uint64_t base = 0;
    for (uint32_t i = 0; i < n; i++) {
        for (uint64_t j = 0; j < rows; j++)
            index[i * rows + j] = (uint32_t)(base + (tensors[i]->row_index ? tensors[i]->row_index[j] : j));
        base += stored_rows(tensors[i]);
    }
    return index;
}

bool tensor_stack(Arena *a, const Tensor *const *tensors, uint32_t n, Tensor *out, Error *e) {
    uint32_t n_parts = 0;
    for (uint32_t i = 0; i < n; i++) {
        n_parts += tensors[i]->n_parts;
        if (!agree(tensors[0], tensors[i]))
            return error_set(e, ERR_INPUT, "tensors '%s' (%s) and '%s' (%s) differ in type or shape",
                             tensors[0]->name, dtype_info(tensors[0]->storage_dtype)->name, tensors[i]->name,
                             dtype_info(tensors[i]->storage_dtype)->name);
    }
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
    memmove(out->shape + 1, out->shape, out->rank * sizeof *out->shape);
    out->shape[0] = n;
    out->rank++;
    return true;
}

/* ---- as they are served ---- */

typedef bool ReadBytes(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e);

/* What `t` serves, as rows of `row_elems` that `read` gives. */
static Tensor over_read(Arena *a, const Tensor *t, uint64_t row_elems, ReadBytes *read, void *context) {
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

static bool read_served(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e) {
    const Tensor *t = s->context;
    uint64_t row = tensor_row_bytes(t);
    return tensor_read_rows(t, offset / row, n / row, out, e);
}

Tensor tensor_of_view(Arena *a, const Tensor *t) {
    Tensor *inner = arena_alloc(a, sizeof *inner);
    *inner = *t;
    return over_read(a, t, t->row_elems, read_served, inner);
}

/* ---- transposed ---- */

/* The context of a transposed tensor's source. */
typedef struct Turned {
    Tensor inner;
    TransposeCache *cache;
    uint64_t number; /* from 1: what cache->current says */
} Turned;

void transpose_cache_free(TransposeCache *t) {
    free(t->bytes);
    t->bytes = NULL;
    t->capacity = t->current = 0;
}

/* In squares, so that neither side leaves the cache. `size` is a constant where it is called. */
static inline void turn_by(uint8_t *to, const uint8_t *from, uint64_t rows, uint64_t cols, size_t size) {
    enum { SIDE = 32 };
    for (uint64_t r0 = 0; r0 < rows; r0 += SIDE)
        for (uint64_t c0 = 0; c0 < cols; c0 += SIDE)
            for (uint64_t c = c0; c < cols && c < c0 + SIDE; c++)
                for (uint64_t r = r0; r < rows && r < r0 + SIDE; r++)
                    memcpy(to + (c * rows + r) * size, from + (r * cols + c) * size, size);
}

static void turn(uint8_t *to, const uint8_t *from, uint64_t rows, uint64_t cols, size_t size) {
    switch (size) {
    case 1:
        turn_by(to, from, rows, cols, 1);
        break;
    case 2:
        turn_by(to, from, rows, cols, 2);
        break;
    case 4:
        turn_by(to, from, rows, cols, 4);
        break;
    default:
        turn_by(to, from, rows, cols, size);
    }
}

/* Sees to it that cache->bytes is this matrix, transposed. */
static bool hold(const Turned *t, uint64_t matrix, Error *e) {
    TransposeCache *cache = t->cache;
    if (cache->current == t->number && cache->matrix == matrix) return true;
    uint64_t rows = t->inner.shape[t->inner.rank - 2], cols = t->inner.row_elems;
    size_t size = dtype_info(t->inner.dtype)->block_bytes, bytes = rows * cols * size;
    if (cache->capacity < bytes) {
        transpose_cache_free(cache);
        cache->bytes = big_alloc_unset(rows, cols * size, t->inner.name, e);
        if (!cache->bytes) return false;
        cache->capacity = bytes;
    }
    const uint8_t *map = tensor_map(&t->inner);
    uint8_t *read = map ? NULL : big_alloc_unset(rows, cols * size, t->inner.name, e);
    bool ok = map || (read && tensor_read_rows(&t->inner, matrix * rows, rows, read, e));
    if (ok) turn(cache->bytes, map ? map + matrix * bytes : read, rows, cols, size);
    free(read);
    cache->current = ok ? t->number : 0;
    cache->matrix = matrix;
    return ok;
}

static bool read_turned(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e) {
    const Turned *t = s->context;
    uint64_t size =
        t->inner.shape[t->inner.rank - 2] * t->inner.row_elems * dtype_info(t->inner.dtype)->block_bytes;
    uint8_t *to = out;
    while (n) {
        uint64_t at = offset % size, take = size - at < n ? size - at : n;
        if (!hold(t, offset / size, e)) return false;
        memcpy(to, t->cache->bytes + at, take);
        to += take;
        offset += take;
        n -= take;
    }
    return true;
}

bool part_same(const TensorPart *a, const TensorPart *b) {
    if (a->source->read == read_turned && b->source->read == read_turned) {
        const Turned *x = a->source->context, *y = b->source->context;
        return a->offset == b->offset && x->inner.n_parts == 1 && y->inner.n_parts == 1 &&
               !x->inner.row_index && !y->inner.row_index && part_same(x->inner.parts, y->inner.parts);
    }
    return a->source == b->source && a->offset == b->offset;
}

/* What `t` was transposed from, if nothing was done to it since but a change of the served type. */
static const Turned *turned_before(const Tensor *t) {
    const TensorPart *part = t->parts;
    if (t->n_parts != 1 || t->row_index || t->row_scale || part->source->read != read_turned || part->offset)
        return NULL;
    return t->n_rows == part->n_rows && part->source->size == t->n_rows * tensor_storage_row_bytes(t)
               ? part->source->context
               : NULL;
}

bool tensor_transposed(Arena *a, TransposeCache *cache, const Tensor *t, Tensor *out, Error *e) {
    const Turned *before = turned_before(t);
    *out = *t;
    if (before) {
        const Tensor *inner = &before->inner;
        out->parts = inner->parts;
        out->n_parts = inner->n_parts;
        out->row_index = inner->row_index;
        out->row_scale = inner->row_scale;
        out->storage_dtype = inner->storage_dtype;
        out->scale = t->scale * inner->scale;
        out->add = t->scale * inner->add + t->add;
        out->exact_dtype = inner->exact_dtype;
        /* Transposing alone has raised the status, and is undone; other values stay other values. */
        if (t->status < TENSOR_CHANGED) out->status = inner->status;
    } else {
        if (dtype_info(t->dtype)->block_elems != 1)
            return error_set(e, ERR_INPUT, "tensor '%s': a matrix of %s cannot be transposed", t->name,
                             dtype_info(t->dtype)->name);
        Turned *turned = arena_alloc(a, sizeof *turned);
        *turned = (Turned){.inner = *t, .cache = cache, .number = ++cache->n_made};
        *out = over_read(a, t, t->shape[t->rank - 2], read_turned, turned);
        tensor_raise_status(out, TENSOR_PERMUTED);
    }
    out->shape[t->rank - 2] = t->row_elems;
    out->shape[t->rank - 1] = t->shape[t->rank - 2];
    out->n_rows = t->n_rows / t->shape[t->rank - 2] * t->row_elems;
    out->row_elems = t->shape[t->rank - 2];
    return true;
}

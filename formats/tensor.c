/* Reading of tensors: see formats/tensor.h for the model of storage and view.
 *
 * Reading goes through up to four steps. read_storage copies consecutive storage rows from the parts.
 * read_in_order applies row_index. read_decoded decodes to fp32 and applies the scales. tensor_read_rows
 * encodes to the view's type. A tensor whose view equals its storage stops after the second step, so its
 * bytes pass unchanged. */
#include "formats/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/hash.h"

/* Rows are read and converted in chunks of about this many bytes, so that the buffers stay in the
 * second-level cache. */
enum { CHUNK = 1 << 20 };

/* Makes a tensor over bytes in memory, for tests and for tensors that surgery creates. The last dimension is
 * a row; a tensor without dimensions has one element. `bytes` are not copied. */
Tensor tensor_over(Arena *a, const char *name, DType dtype, uint32_t rank, const uint64_t *shape,
                   const void *bytes) {
    Tensor t = {.name = arena_strdup(a, name),
                .rank = rank,
                .dtype = dtype,
                .storage_dtype = dtype,
                .exact_dtype = dtype,
                .scale = 1};
    t.n_rows = 1;
    t.row_elems = rank ? shape[rank - 1] : 1;
    /* All dimensions but the last make up the rows. */
    for (uint32_t i = 0; i < rank; i++) {
        t.shape[i] = shape[i];
        if (i + 1 < rank) t.n_rows *= shape[i];
    }
    /* One part, whose source is the given memory. */
    ByteSource *s = arena_alloc(a, sizeof *s);
    s->path = t.name;
    s->map = bytes;
    s->size = tensor_bytes(&t);
    TensorPart *part = arena_alloc(a, sizeof *part);
    *part = (TensorPart){.source = s, .offset = 0, .n_rows = t.n_rows};
    t.parts = part;
    t.n_parts = 1;
    return t;
}

/* The product of the dimensions, which readers have checked for overflow. */
uint64_t tensor_elems(const Tensor *t) {
    return t->n_rows * t->row_elems;
}

/* Bytes of a row in type `d`. dtype_bytes cannot fail here, because readers have checked that rows are whole
 * blocks. */
static uint64_t row_bytes(const Tensor *t, DType d) {
    uint64_t n = 0;
    dtype_bytes(d, t->row_elems, &n);
    return n;
}

uint64_t tensor_row_bytes(const Tensor *t) {
    return row_bytes(t, t->dtype);
}

uint64_t tensor_storage_row_bytes(const Tensor *t) {
    return row_bytes(t, t->storage_dtype);
}

/* "[2048, 512]". Stops early enough that a further dimension (20 digits), a comma and the bracket always
 * fit. */
void shape_text(uint32_t rank, const uint64_t *shape, char out[SHAPE_TEXT]) {
    size_t n = (size_t)snprintf(out, SHAPE_TEXT, "[");
    for (uint32_t i = 0; i < rank && n < SHAPE_TEXT - 28; i++)
        n += (size_t)snprintf(out + n, SHAPE_TEXT - n, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
    snprintf(out + n, SHAPE_TEXT - n, "]");
}

/* Bytes of the view, as a writer writes it. */
uint64_t tensor_bytes(const Tensor *t) {
    return t->n_rows * tensor_row_bytes(t);
}

/* True if the view has the bytes of the storage, apart from the order of rows. Such tensors are copied
 * without being decoded, whatever their type. */
static bool view_is_storage(const Tensor *t) {
    return t->dtype == t->storage_dtype && t->scale == 1 && t->add == 0 && !t->row_scale;
}

/* NULL unless the view is one range of a mapped file, in which case it can be used in place. */
const void *tensor_map(const Tensor *t) {
    if (!view_is_storage(t) || t->row_index || t->n_parts != 1 || !t->parts->source->map) return NULL;
    return t->parts->source->map + t->parts->offset;
}

/* The status follows from how the view differs from the storage; t->status is a lower bound, for history that
 * the view no longer shows. Values that had to be dequantized count as changed. A change of type that keeps
 * every value, judged from the type that holds the values exactly, counts as widened. */
TensorStatus tensor_status(const Tensor *t) {
    /* What the view alone does to the storage; t->status may record more that was done before. */
    TensorStatus of_view = TENSOR_UNTOUCHED;
    bool exact = t->dtype == t->exact_dtype || dtype_widens(t->exact_dtype, t->dtype);
    if (t->quantization || t->scale != 1 || t->add != 0 || t->row_scale)
        of_view = TENSOR_CHANGED;
    else if (t->dtype != t->storage_dtype)
        of_view = exact ? TENSOR_WIDENED : TENSOR_CHANGED;
    else if (t->row_index)
        of_view = TENSOR_PERMUTED;
    return of_view > t->status ? of_view : t->status;
}

/* A status never falls, because later steps cannot undo earlier ones. */
void tensor_raise_status(Tensor *t, TensorStatus s) {
    if (s > t->status) t->status = s;
}

/* True if the type changed only because the storage type has no encoder. */
bool tensor_type_replaced(const Tensor *t) {
    return t->dtype != t->storage_dtype && t->dtype == dtype_written(t->storage_dtype);
}

/* In the order of TensorStatus; manifests use these names. */
const char *tensor_status_name(TensorStatus s) {
    static const char *const names[] = {"untouched", "permuted", "widened", "changed", "new"};
    return names[s];
}

/* ---- reading ---- */

/* Reads `n` bytes of a source from `offset` on: by memcpy from a mapping, or by the source's own function. */
static bool read_source(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e) {
    if (s->map) {
        memcpy(out, s->map + offset, n);
        return true;
    }
    return s->read(s, offset, n, out, e);
}

/* Copies `n` consecutive storage rows from `first` on, which may lie in several parts (shards of a stack, for
 * example). */
static bool read_storage(const Tensor *t, uint64_t first, uint64_t n, uint8_t *out, Error *e) {
    uint64_t size = tensor_storage_row_bytes(t);
    for (uint32_t p = 0; p < t->n_parts && n; p++) {
        const TensorPart *part = &t->parts[p];
        if (first >= part->n_rows) {
            first -= part->n_rows;
            continue;
        }
        uint64_t take = part->n_rows - first < n ? part->n_rows - first : n;
        if (!read_source(part->source, part->offset + first * size, take * size, out, e)) return false;
        out += take * size;
        n -= take;
        first = 0;
    }
    return !n || error_set(e, ERR_FAILED, "tensor '%s': %llu rows past its end were requested", t->name,
                           (unsigned long long)n);
}

/* Copies rows [first, first + n) of the view in the storage type: with one copy if the view has the order of
 * the storage, otherwise with one copy for each row. */
static bool read_in_order(const Tensor *t, uint64_t first, uint64_t n, uint8_t *out, Error *e) {
    if (!t->row_index) return read_storage(t, first, n, out, e);
    uint64_t size = tensor_storage_row_bytes(t);
    for (uint64_t i = 0; i < n; i++)
        if (!read_storage(t, t->row_index[first + i], 1, out + i * size, e)) return false;
    return true;
}

/* Decodes rows [first, first + n) of the view to fp32 and applies scale, add and row_scale. `stored` is a
 * buffer for the n encoded rows, `out` takes n * row_elems floats. */
static bool read_decoded(const Tensor *t, uint64_t first, uint64_t n, uint8_t *stored, float *out, Error *e) {
    const DTypeInfo *from = dtype_info(t->storage_dtype);
    if (!from->decode)
        return error_set(
            e, ERR_INPUT,
            "tensor '%s': values of type %s cannot be decoded; tensors of this type can only be copied",
            t->name, from->name);
    if (!read_in_order(t, first, n, stored, e)) return false;
    uint64_t elems = n * t->row_elems;
    from->decode(stored, elems, out);
    if (t->scale != 1 || t->add != 0)
        for (uint64_t i = 0; i < elems; i++)
            out[i] = out[i] * t->scale + t->add;
    for (uint64_t i = 0; t->row_scale && i < elems; i++)
        out[i] *= t->row_scale[first + i / t->row_elems];
    return true;
}

/* The values of `n` elements as the source has them, before scales and before f64 is rounded to fp32.
 * `scratch` has room for n floats. */
static void source_values(const Tensor *t, const uint8_t *stored, uint64_t n, float *scratch, double *out) {
    if (t->storage_dtype == DTYPE_F64) {
        memcpy(out, stored, n * sizeof *out);
        return;
    }
    dtype_info(t->storage_dtype)->decode(stored, n, scratch);
    for (uint64_t i = 0; i < n; i++)
        out[i] = scratch[i];
}

/* Counts what encoding did to `n` values of which some are not finite or too large: `stored` has them in the
 * storage type, `values` as they were encoded, `encoded` is the result. */
static bool count_nonfinite(const Tensor *t, const uint8_t *stored, const float *values, const void *encoded,
                            uint64_t n, NonFinite *counts, Error *e) {
    double *source = big_alloc(n, sizeof *source, t->name, e);
    float *back = source ? big_alloc(n, sizeof *back, t->name, e) : NULL;
    if (back) {
        source_values(t, stored, n, back, source);
        if (dtype_info(t->dtype)->block_elems > 1) dtype_info(t->dtype)->decode(encoded, n, back);
        nonfinite_compare(t->dtype, source, values, back, n, counts);
    }
    free(source);
    free(back);
    return back != NULL;
}

/* The number of rows to convert at a time, at least one: encoded and decoded form together do not exceed
 * CHUNK bytes. */
static uint64_t rows_per_chunk(const Tensor *t) {
    uint64_t size = t->row_elems * sizeof(float) + tensor_storage_row_bytes(t);
    return size && size < CHUNK ? CHUNK / size : 1;
}

/* Reads rows [first, first + n) of a view that differs from its storage: values go through fp32. What happens
 * to values that are not finite is added to `*counts`. */
static bool convert_rows(const Tensor *t, uint64_t first, uint64_t n, uint8_t *out, NonFinite *counts,
                         Error *e) {
    const DTypeInfo *to = dtype_info(t->dtype);
    if (!to->encode)
        return error_set(e, ERR_FAILED, "tensor '%s': values cannot be written as %s", t->name, to->name);
    uint64_t step = rows_per_chunk(t);
    uint8_t *stored = big_alloc(step, tensor_storage_row_bytes(t), t->name, e);
    float *values = stored ? big_alloc(step * t->row_elems, sizeof *values, t->name, e) : NULL;
    bool ok = values != NULL;
    /* For each chunk of rows: read and decode, encode, and look closely where a value is suspect. */
    for (uint64_t i = 0; ok && i < n; i += step) {
        uint64_t rows = n - i < step ? n - i : step, elems = rows * t->row_elems;
        ok = read_decoded(t, first + i, rows, stored, values, e);
        if (ok) to->encode(values, elems, out);
        if (ok && nonfinite_suspected(t->dtype, values, elems))
            ok = count_nonfinite(t, stored, values, out, elems, counts, e);
        out += rows * tensor_row_bytes(t);
    }
    free(stored);
    free(values);
    return ok;
}

bool tensor_count_nonfinite(const Tensor *t, NonFinite *counts, Error *e) {
    if (!tensor_elems(t)) return true;
    uint64_t size = tensor_row_bytes(t), step = size && size < CHUNK ? CHUNK / size : 1;
    uint8_t *chunk = big_alloc(step, size, t->name, e);
    bool ok = chunk != NULL;
    for (uint64_t i = 0; ok && i < t->n_rows; i += step) {
        uint64_t rows = t->n_rows - i < step ? t->n_rows - i : step;
        ok = tensor_read_rows_counted(t, i, rows, chunk, counts, e);
    }
    free(chunk);
    return ok;
}

/* The error for values that would lose what they are. It tells about the whole tensor, so all of it is read.
 * The numbers also go to `*counts` (may be NULL), so that a writer knows why it failed. */
static bool refuse_loss(const Tensor *t, NonFinite *counts, Error *e) {
    Tensor all = *t;
    NonFinite found = {0};
    Buffer words = {0};
    all.allow_nonfinite = true;
    if (!tensor_count_nonfinite(&all, &found, e)) return false;
    if (counts) *counts = found;
    nonfinite_text(&found, t->dtype, &words);
    error_set(e, ERR_FAILED,
              "tensor '%s': %s; choose another --dtype, or write them so with --allow-nonfinite", t->name,
              buffer_string(&words));
    buffer_free(&words);
    return false;
}

/* Copies are counted too, so that an output can tell of values that were not finite in the source already. */
bool tensor_read_rows_counted(const Tensor *t, uint64_t first, uint64_t n, void *out, NonFinite *counts,
                              Error *e) {
    if (!n || !t->row_elems) return true; /* a header may give an empty tensor any number of rows */
    if (view_is_storage(t)) {
        if (!read_in_order(t, first, n, out, e)) return false;
        if (counts) nonfinite_scan(t->dtype, out, n * t->row_elems, counts);
        return true;
    }
    NonFinite here = {0};
    if (!convert_rows(t, first, n, out, &here, e)) return false;
    if (nonfinite_is_loss(&here) && !t->allow_nonfinite) return refuse_loss(t, counts, e);
    if (counts) nonfinite_add(counts, &here);
    return true;
}

/* f64 and integers have no encoder, so that a conversion to them, which could lose digits, is an error. */
bool tensor_read_rows(const Tensor *t, uint64_t first, uint64_t n, void *out, Error *e) {
    return tensor_read_rows_counted(t, first, n, out, NULL, e);
}

/* Reads the whole tensor as fp32. The decoded values go straight to `out`, so only one buffer, for the
 * encoded rows, is needed. */
bool tensor_read_f32(const Tensor *t, float *out, Error *e) {
    if (!tensor_elems(t)) return true;
    uint64_t step = rows_per_chunk(t);
    uint8_t *stored = big_alloc(step, tensor_storage_row_bytes(t), t->name, e);
    bool ok = stored != NULL;
    for (uint64_t i = 0; ok && i < t->n_rows; i += step) {
        uint64_t rows = t->n_rows - i < step ? t->n_rows - i : step;
        ok = read_decoded(t, i, rows, stored, out + i * t->row_elems, e);
    }
    free(stored);
    return ok;
}

/* Hashes the bytes of the view. A mapped tensor is hashed in place; others are read chunk by chunk, as a
 * writer would read them. */
bool tensor_hash(const Tensor *t, char out[33], Error *e) {
    const void *map = tensor_elems(t) ? tensor_map(t) : "";
    if (map) {
        hash_bytes(map, tensor_bytes(t), out);
        return true;
    }
    uint64_t size = tensor_row_bytes(t), step = size && size < CHUNK ? CHUNK / size : 1;
    uint8_t *chunk = big_alloc(step, size, t->name, e);
    Hash *h = hash_new();
    bool ok = chunk != NULL;
    for (uint64_t i = 0; ok && i < t->n_rows; i += step) {
        uint64_t rows = t->n_rows - i < step ? t->n_rows - i : step;
        ok = tensor_read_rows(t, i, rows, chunk, e);
        if (ok) hash_update(h, chunk, rows * size);
    }
    hash_finish(h, out);
    free(chunk);
    return ok;
}

/* Reads a safetensors file: see formats/safetensors.h for the format.
 *
 * The header is untrusted. All its numbers are checked before anything is added to the checkpoint: shapes
 * whose product overflows, ranges that pass the end of the file, sizes that disagree with shape and type,
 * ranges that overlap or leave a hole. A hole could hide data, and an overlap would let one edit change two
 * tensors; the reference implementation refuses both (safetensors/src/tensor.rs, Metadata::validate). */
#include "formats/safetensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"

enum { MAX_HEADER = 100 * 1000 * 1000 }; /* bytes; MAX_HEADER_SIZE of the reference implementation */

/* The file, and where its data lies; all functions below take it. */
typedef struct Header {
    Checkpoint *c;
    const ByteSource *file;
    uint64_t data;      /* offset in the file at which the data begins */
    uint64_t data_size; /* bytes from there to the end of the file */
    Error *e;
} Header;

/* A tensor of the header with the range of its data. Entries are collected first and added to the checkpoint
 * only when the layout of all of them was checked. */
typedef struct Entry {
    Tensor tensor;
    uint64_t begin, end; /* data_offsets, relative to the data */
    size_t position;     /* index in the header; orders empty tensors that begin at one offset */
} Entry;

/* Fails with the path of the file, the name of the tensor and the formatted reason. */
static bool bad_tensor(const Header *h, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool bad_tensor(const Header *h, const char *name, const char *fmt, ...) {
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(h->e, ERR_INPUT, "%s: tensor '%.200s': %s", h->file->path, name, text);
}

/* Reads "shape" into rank, shape, n_rows and row_elems of `t`. `*elems` becomes the product of the
 * dimensions, which is checked for overflow. */
static bool read_shape(const Header *h, const char *name, const json_t *shape, Tensor *t, uint64_t *elems) {
    if (!json_is_array(shape)) return bad_tensor(h, name, "its shape is not a list");
    if (json_array_size(shape) > TENSOR_MAX_RANK)
        return bad_tensor(h, name, "rank %zu, at most %d", json_array_size(shape), TENSOR_MAX_RANK);
    t->rank = (uint32_t)json_array_size(shape);
    *elems = 1;
    for (uint32_t i = 0; i < t->rank; i++) {
        const json_t *n = json_array_get(shape, i);
        if (!json_is_integer(n) || json_integer_value(n) < 0)
            return bad_tensor(h, name, "dimension %u of its shape is not a whole number", i);
        t->shape[i] = (uint64_t)json_integer_value(n);
        if (!mul_u64(*elems, t->shape[i], elems))
            return bad_tensor(h, name, "the product of its dimensions does not fit in 64 bits");
    }
    t->row_elems = t->rank ? t->shape[t->rank - 1] : 1;
    if (*elems == 0) t->row_elems = 0; /* the other dimensions of an empty tensor may be any numbers */
    t->n_rows = t->row_elems ? *elems / t->row_elems : 0;
    return true;
}

/* Reads "data_offsets", [begin, end) relative to the data, and checks that they lie in the file. */
static bool read_range(const Header *h, const char *name, const json_t *range, Entry *entry) {
    const json_t *begin = json_array_get(range, 0), *end = json_array_get(range, 1);
    if (json_array_size(range) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return bad_tensor(h, name, "its data_offsets are not [begin, end]");
    entry->begin = (uint64_t)json_integer_value(begin);
    entry->end = (uint64_t)json_integer_value(end);
    if (entry->end > h->data_size)
        return bad_tensor(h, name, "its data ends at %llu, the file's data at %llu",
                          (unsigned long long)entry->end, (unsigned long long)h->data_size);
    return true;
}

/* Reads one entry of the header, {"dtype", "shape", "data_offsets"}, into `entry`. */
static bool read_tensor(const Header *h, const char *name, const json_t *info, Entry *entry) {
    if (!json_is_object(info)) return bad_tensor(h, name, "its entry is not an object");
    /* The element type. */
    const char *dtype = json_get_string(info, "dtype");
    Tensor *t = &entry->tensor;
    *t = (Tensor){.name = name, .scale = 1};
    if (!dtype || !dtype_from_safetensors(dtype, &t->dtype))
        return bad_tensor(h, name, "unknown dtype '%.40s'", dtype ? dtype : "(none)");
    t->storage_dtype = t->exact_dtype = t->dtype;
    /* The shape and the byte range. Both give the size of the tensor in bytes, and the two have to agree. */
    uint64_t elems = 0, bytes = 0;
    if (!read_shape(h, name, json_object_get(info, "shape"), t, &elems) ||
        !read_range(h, name, json_object_get(info, "data_offsets"), entry))
        return false;
    if (!dtype_bytes(t->dtype, elems, &bytes) || bytes != entry->end - entry->begin)
        return bad_tensor(h, name, "%llu elements of %s do not take the %llu bytes of its data_offsets",
                          (unsigned long long)elems, dtype, (unsigned long long)(entry->end - entry->begin));
    /* A row of a 4-bit or 6-bit type may end inside a byte. Such a tensor is described as a single row, which
     * is enough for copying it; nothing else is done with it. */
    if (!dtype_bytes(t->dtype, t->row_elems, &bytes)) {
        t->row_elems = elems;
        t->n_rows = 1;
    }
    return true;
}

/* Comparison function of qsort: sorts entries by the position of their data in the file. An empty tensor is
 * sorted before the tensor that begins at the same offset, so that each entry begins where its predecessor
 * ends. */
static int compare_offsets(const void *a, const void *b) {
    const Entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return x->position < y->position ? -1 : 1;
}

/* Checks that the entries, in the order of their data, cover the data exactly: each begins where the one
 * before it ends, and the last ends with the file. */
static bool check_layout(const Header *h, const Entry *entries, size_t n) {
    uint64_t end = 0;
    for (size_t i = 0; i < n; i++) {
        const Entry *x = &entries[i];
        if (x->begin != end)
            return bad_tensor(h, x->tensor.name,
                              "its data begins at %llu, but the data before it ends at %llu (%s)",
                              (unsigned long long)x->begin, (unsigned long long)end,
                              x->begin < end ? "an overlap" : "a hole");
        end = x->end;
    }
    if (end != h->data_size)
        return error_set(h->e, ERR_INPUT, "%s: %llu bytes of data belong to no tensor", h->file->path,
                         (unsigned long long)(h->data_size - end));
    return true;
}

/* Adds the entries to the checkpoint. A name that the checkpoint already has must come from another shard,
 * because json_parse refuses duplicate keys within one header. */
static bool add_tensors(const Header *h, const Entry *entries, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Tensor t = entries[i].tensor;
        if (checkpoint_find(h->c, t.name)) return bad_tensor(h, t.name, "occurs in another shard too");
        TensorPart part = {.source = h->file, .offset = h->data + entries[i].begin, .n_rows = t.n_rows};
        t.parts = &part;
        t.n_parts = 1;
        checkpoint_add_tensor(h->c, &t);
    }
    return true;
}

/* Checks that __metadata__ maps strings to strings, as the format demands, and merges it with that of other
 * shards; a later shard's value wins. */
static bool read_metadata(const Header *h, json_t *metadata) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return error_set(h->e, ERR_INPUT, "%s: __metadata__ is not an object", h->file->path);
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return error_set(h->e, ERR_INPUT, "%s: __metadata__: '%.80s' is not a string", h->file->path,
                             key);
    }
    /* The first shard's metadata is taken over, that of others is merged into it. */
    if (!h->c->st_metadata)
        h->c->st_metadata = json_incref(metadata);
    else
        json_object_update(h->c->st_metadata, metadata);
    return true;
}

/* Reads the parsed header in three steps: all entries, then their layout as a whole, then the tensors are
 * added. */
static bool read_header(const Header *h, json_t *header) {
    Entry *entries = xcalloc(json_object_size(header), sizeof *entries);
    size_t n = 0;
    bool ok = true;
    const char *name;
    json_t *info;
    json_object_foreach(header, name, info) {
        if (strcmp(name, "__metadata__") == 0) {
            ok = read_metadata(h, info);
        } else {
            entries[n].position = n;
            ok = read_tensor(h, name, info, &entries[n++]);
        }
        if (!ok) break;
    }
    if (ok) qsort(entries, n, sizeof *entries, compare_offsets);
    ok = ok && check_layout(h, entries, n) && add_tensors(h, entries, n);
    free(entries);
    return ok;
}

/* The entry point for a path; safetensors_parse is the one for bytes that are mapped already, such as an
 * entry of a zip. */
bool safetensors_read(Checkpoint *c, const char *path, Error *e) {
    const ByteSource *file = checkpoint_map(c, path, e);
    return file && safetensors_parse(c, file, e);
}

/* Only the header is parsed here; the data is not touched. */
bool safetensors_parse(Checkpoint *c, const ByteSource *file, Error *e) {
    Header h = {.c = c, .file = file, .e = e};
    const char *path = file->path;
    uint64_t n = 0;
    if (h.file->size < 8)
        return error_set(e, ERR_INPUT, "%s: %llu bytes, but a safetensors file has at least 8", path,
                         (unsigned long long)h.file->size);
    /* The file begins with the length of the header, a little-endian 64-bit number. */
    memcpy(&n, h.file->map, sizeof n);
    if (n > MAX_HEADER || n > h.file->size - 8)
        return error_set(
            e, ERR_INPUT,
            "%s: offset 0: the header is said to have %llu bytes, but the file has %llu (limit %d)", path,
            (unsigned long long)n, (unsigned long long)(h.file->size - 8), MAX_HEADER);
    /* The header follows. Like the reference implementation, require that its first byte is '{': JSON would
     * also allow white space before it, but then files of other formats could be taken for safetensors. */
    h.data = 8 + n;
    h.data_size = h.file->size - h.data;
    if (n == 0 || h.file->map[8] != '{')
        return error_set(e, ERR_INPUT, "%s: offset 8: the header does not begin with '{'", path);
    json_t *header = json_parse(path, h.file->map + 8, n, e);
    if (!header) return false;
    bool ok = read_header(&h, header);
    json_decref(header);
    return ok;
}

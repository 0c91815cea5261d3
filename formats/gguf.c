/* GGUF v2 and v3 (ggml docs/gguf.md): header, key-values, tensor table, padding, data. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/containers.h"
#include "formats/file.h"

/* Limits of ggml's own reader, and of sense: what passes them is an attack or damage. */
enum { MAX_KEY = 65535, MAX_NAME = 1024, MAX_GGUF_RANK = 4, MAX_ALIGNMENT = 1 << 20 };

typedef struct Cursor {
    const ByteSource *file;
    uint64_t at;
    Error *e;
} Cursor;

static bool bad(const Cursor *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool bad(const Cursor *c, const char *fmt, ...) {
    char text[700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(c->e, ERR_INPUT, "%s: offset %llu: %s", c->file->path, (unsigned long long)c->at, text);
}

static const uint8_t *take(Cursor *c, uint64_t n, const char *what) {
    if (n > c->file->size - c->at) {
        bad(c, "%s needs %llu bytes, the file ends after %llu", what, (unsigned long long)n,
            (unsigned long long)(c->file->size - c->at));
        return NULL;
    }
    const uint8_t *p = c->file->map + c->at;
    c->at += n;
    return p;
}

static bool take_u32(Cursor *c, const char *what, uint32_t *out) {
    const uint8_t *p = take(c, sizeof *out, what);
    if (p) memcpy(out, p, sizeof *out);
    return p != NULL;
}

static bool take_u64(Cursor *c, const char *what, uint64_t *out) {
    const uint8_t *p = take(c, sizeof *out, what);
    if (p) memcpy(out, p, sizeof *out);
    return p != NULL;
}

static const uint8_t *take_string(Cursor *c, uint64_t limit, const char *what, uint64_t *len) {
    uint64_t start = c->at;
    if (!take_u64(c, what, len)) return NULL;
    if (*len > limit || *len > c->file->size - c->at) {
        c->at = start;
        bad(c, "%s claims %llu bytes (at most %llu, and the file has %llu left)", what,
            (unsigned long long)*len, (unsigned long long)limit,
            (unsigned long long)(c->file->size - start - 8));
        return NULL;
    }
    return take(c, *len, what);
}

/* A name: a string without NULs, copied. */
static const char *take_name(Cursor *c, Checkpoint *ck, uint64_t limit, const char *what) {
    uint64_t start = c->at, len;
    const uint8_t *p = take_string(c, limit, what, &len);
    if (!p) return NULL;
    if (len == 0 || memchr(p, 0, len)) {
        c->at = start;
        bad(c, len ? "%s contains a zero byte" : "%s is empty", what);
        return NULL;
    }
    return arena_strndup(&ck->arena, (const char *)p, len);
}

/* Steps over a value of the entry's type and notes where it lies. */
static bool take_value(Cursor *c, MetaEntry *m) {
    uint64_t start = c->at, n;
    m->count = 1;
    if (m->type == META_STRING) {
        if (!take_string(c, UINT64_MAX, m->key, &n)) return false;
    } else if (m->type == META_ARRAY) {
        uint32_t elem;
        if (!take_u32(c, m->key, &elem) || !take_u64(c, m->key, &m->count)) return false;
        if (elem >= META_TYPE_COUNT || elem == META_ARRAY)
            return bad(c, "key '%s': array of %s", m->key, elem == META_ARRAY ? "arrays" : "an unknown type");
        m->elem_type = (MetaType)elem;
        start = c->at;
        uint64_t size = elem == META_STRING ? 8 : meta_type_size(m->elem_type);
        if (m->count > (c->file->size - c->at) / size)
            return bad(c, "key '%s': an array of %llu elements is longer than the file", m->key,
                       (unsigned long long)m->count);
        if (elem == META_STRING) {
            for (uint64_t i = 0; i < m->count; i++)
                if (!take_string(c, UINT64_MAX, m->key, &n)) return false;
        } else if (!take(c, m->count * size, m->key)) {
            return false;
        }
    } else if (!take(c, meta_type_size(m->type), m->key)) {
        return false;
    }
    m->bytes = c->file->map + start;
    m->size = c->at - start;
    return true;
}

static bool read_meta(Cursor *c, Checkpoint *ck, uint64_t count) {
    /* a key-value takes at least 8 + 1 + 4 + 1 bytes */
    if (count > (c->file->size - c->at) / 14)
        return bad(c, "%llu key-values do not fit in the file", (unsigned long long)count);
    ck->meta = xcalloc(count, sizeof *ck->meta);
    ck->meta_capacity = count;
    for (uint64_t i = 0; i < count; i++) {
        MetaEntry m = {0};
        uint32_t type;
        m.key = take_name(c, ck, MAX_KEY, "a key");
        if (!m.key || !take_u32(c, m.key, &type)) return false;
        if (type >= META_TYPE_COUNT) return bad(c, "key '%s': unknown value type %u", m.key, type);
        m.type = (MetaType)type;
        if (!take_value(c, &m)) return false;
        ck->meta[ck->n_meta++] = m;
    }
    return true;
}

static int by_key(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool refuse_duplicate_keys(Cursor *c, const Checkpoint *ck) {
    const char **keys = xcalloc(ck->n_meta, sizeof *keys);
    for (size_t i = 0; i < ck->n_meta; i++)
        keys[i] = ck->meta[i].key;
    qsort(keys, ck->n_meta, sizeof *keys, by_key);
    bool ok = true;
    for (size_t i = 1; ok && i < ck->n_meta; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0) ok = bad(c, "key '%s' appears twice", keys[i]);
    free(keys);
    return ok;
}

/* One row of the tensor table; the data offset goes to *offset. */
static bool read_tensor_info(Cursor *c, Checkpoint *ck, uint64_t i, Tensor *t, uint64_t *offset) {
    char what[64];
    snprintf(what, sizeof what, "the name of tensor %llu", (unsigned long long)i);
    uint32_t type;
    t->name = take_name(c, ck, MAX_NAME, what);
    if (!t->name || !take_u32(c, t->name, &t->rank)) return false;
    if (t->rank > MAX_GGUF_RANK)
        return bad(c, "tensor '%s': rank %u, at most %d", t->name, t->rank, MAX_GGUF_RANK);
    uint64_t elems = 1;
    for (uint32_t d = 0; d < t->rank; d++) {
        uint64_t ne;
        if (!take_u64(c, t->name, &ne)) return false;
        t->shape[t->rank - 1 - d] = ne; /* the file has the fastest dimension first */
        if (!mul_u64(elems, ne, &elems) || elems > INT64_MAX)
            return bad(c, "tensor '%s': the product of its dimensions does not fit in 63 bits", t->name);
    }
    if (!take_u32(c, t->name, &type) || !take_u64(c, t->name, offset)) return false;
    if (!dtype_from_ggml(type, &t->dtype))
        return bad(c, "tensor '%s': unknown element type %u", t->name, type);
    t->stored = t->dtype;
    t->scale = 1;
    t->row_elems = t->rank ? t->shape[t->rank - 1] : 1;
    t->n_rows = t->row_elems ? elems / t->row_elems : 0;
    uint64_t bytes;
    if (!dtype_bytes(t->dtype, t->row_elems, &bytes))
        return bad(c, "tensor '%s': rows of %llu elements are not whole blocks of %s", t->name,
                   (unsigned long long)t->row_elems, dtype_info(t->dtype)->name);
    if (!mul_u64(bytes, t->n_rows, &bytes))
        return bad(c, "tensor '%s': its size does not fit in 64 bits", t->name);
    return true;
}

static int by_offset(const void *a, const void *b) {
    const TensorPart *x = (*(const Tensor *const *)a)->parts, *y = (*(const Tensor *const *)b)->parts;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* No tensor may reach into another; holes are only ever padding. */
static bool check_layout(Cursor *c, Checkpoint *ck, uint64_t data) {
    const Tensor **order = xcalloc(ck->n_tensors, sizeof *order);
    for (size_t i = 0; i < ck->n_tensors; i++)
        order[i] = &ck->tensors[i];
    qsort(order, ck->n_tensors, sizeof *order, by_offset);
    uint64_t end = data;
    const char *before = "the header";
    bool ok = true;
    for (size_t i = 0; ok && i < ck->n_tensors; i++) {
        uint64_t start = order[i]->parts->offset;
        c->at = start;
        if (start < end)
            ok = bad(c, "tensor '%s' overlaps %s, which ends at %llu", order[i]->name, before,
                     (unsigned long long)end);
        else if (start - end >= ck->alignment)
            ok = bad(c, "tensor '%s' leaves a hole of %llu bytes after %s", order[i]->name,
                     (unsigned long long)(start - end), before);
        end = start + tensor_bytes(order[i]);
        before = order[i]->name;
    }
    free(order);
    return ok;
}

static bool read_tensors(Cursor *c, Checkpoint *ck, uint64_t count) {
    /* a row takes at least 8 + 1 + 4 + 4 + 8 bytes */
    if (count > (c->file->size - c->at) / 25)
        return bad(c, "%llu tensors do not fit in the file", (unsigned long long)count);
    uint64_t *offsets = xcalloc(count, sizeof *offsets);
    bool ok = true;
    for (uint64_t i = 0; ok && i < count; i++) {
        Tensor t = {0};
        TensorPart part = {.source = c->file};
        ok = read_tensor_info(c, ck, i, &t, &offsets[i]);
        if (ok && checkpoint_find(ck, t.name)) ok = bad(c, "tensor '%s' appears twice", t.name);
        part.n_rows = t.n_rows;
        t.parts = &part;
        t.n_parts = 1;
        if (ok) checkpoint_add_tensor(ck, &t);
    }
    uint64_t data = (c->at + ck->alignment - 1) / ck->alignment * ck->alignment;
    for (uint64_t i = 0; ok && i < count; i++) {
        Tensor *t = &ck->tensors[i];
        uint64_t start, end;
        if (offsets[i] % ck->alignment) {
            ok = bad(c, "tensor '%s': offset %llu is not a multiple of the alignment %u", t->name,
                     (unsigned long long)offsets[i], ck->alignment);
        } else if (!add_u64(data, offsets[i], &start) || !add_u64(start, tensor_bytes(t), &end) ||
                   end > c->file->size) {
            ok = bad(c, "tensor '%s': offset %llu + %llu bytes passes the end of data (%llu)", t->name,
                     (unsigned long long)offsets[i], (unsigned long long)tensor_bytes(t),
                     (unsigned long long)(c->file->size > data ? c->file->size - data : 0));
        } else {
            ((TensorPart *)t->parts)->offset = start;
        }
    }
    free(offsets);
    return ok && check_layout(c, ck, data);
}

static bool read_alignment(Cursor *c, Checkpoint *ck) {
    if (!meta_find(ck, "general.alignment")) return true;
    uint64_t a;
    if (!meta_u64(ck, "general.alignment", &a) || a == 0 || a & (a - 1) || a > MAX_ALIGNMENT)
        return bad(c, "general.alignment is not a power of two up to %d", MAX_ALIGNMENT);
    ck->alignment = (uint32_t)a;
    return true;
}

bool gguf_read(Checkpoint *ck, const char *path, Error *e) {
    const ByteSource *file = checkpoint_map(ck, path, e);
    if (!file) return false;
    ck->format = FORMAT_GGUF;
    Cursor c = {.file = file, .e = e};
    const uint8_t *magic = take(&c, 4, "the magic");
    uint64_t n_tensors, n_meta;
    if (!magic) return false;
    if (memcmp(magic, "GGUF", 4) != 0) {
        c.at = 0;
        return bad(&c, "not a GGUF file");
    }
    if (!take_u32(&c, "the version", &ck->gguf_version)) return false;
    if (ck->gguf_version != 2 && ck->gguf_version != 3) {
        c.at = 4;
        uint32_t swapped = __builtin_bswap32(ck->gguf_version);
        if (swapped == 2 || swapped == 3) return bad(&c, "a big-endian GGUF, which is not supported");
        return bad(&c, "GGUF version %u; versions 2 and 3 are read", ck->gguf_version);
    }
    uint64_t splits = 0;
    if (!take_u64(&c, "the number of tensors", &n_tensors) ||
        !take_u64(&c, "the number of key-values", &n_meta) || !read_meta(&c, ck, n_meta) ||
        !refuse_duplicate_keys(&c, ck) || !read_alignment(&c, ck))
        return false;
    if (meta_u64(ck, "split.count", &splits) && splits > 1)
        return bad(&c, "one part of a GGUF split in %llu; join them first (llama-gguf-split --merge)",
                   (unsigned long long)splits);
    return read_tensors(&c, ck, n_tensors);
}

/* Reads GGUF files: see formats/gguf.h for the format.
 *
 * A Cursor goes through the file from the beginning. Each take_* function checks that what it takes lies in
 * the file, so no length that the file claims can lead outside it or make derope allocate more than the file
 * is large. The steps: magic and version, counts, key-values, alignment, tensor table, then the layout of the
 * data as a whole, and, for split models, the other parts. */
#include "formats/gguf.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/meta.h"
#include "formats/text.h"

/* Limits that valid files keep. ggml limits keys to 65535 bytes (docs/gguf.md) and tensors to 4 dimensions;
 * names and alignments beyond these bounds occur only in damaged or hostile files. */
enum { MAX_KEY = 65535, MAX_NAME = 1024, MAX_GGUF_RANK = 4, MAX_ALIGNMENT = 1 << 20 };

/* A position in the file, which all take_* functions move on. */
typedef struct Cursor {
    const ByteSource *file; /* mapped as a whole */
    uint64_t at;            /* offset of the next byte */
    Error *e;
} Cursor;

/* Reports what is wrong at the current offset; always false, so that callers can return it. */
static bool bad(const Cursor *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool bad(const Cursor *c, const char *fmt, ...) {
    char text[700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(c->e, ERR_INPUT, "%s: offset %llu: %s", c->file->path, (unsigned long long)c->at, text);
}

/* Takes `n` bytes. NULL, with an error that names `what`, if the file ends before. */
static const uint8_t *take(Cursor *c, uint64_t n, const char *what) {
    if (n > c->file->size - c->at) {
        bad(c, "%s takes %llu bytes, but the file ends after %llu", what, (unsigned long long)n,
            (unsigned long long)(c->file->size - c->at));
        return NULL;
    }
    const uint8_t *p = c->file->map + c->at;
    c->at += n;
    return p;
}

/* GGUF is little-endian, as the processors that derope runs on are, so numbers are copied. */
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

/* Takes a string: its length as u64, at most `limit`, then its bytes. Errors are reported at the offset of
 * the length. */
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

/* Takes a string that has to be a name: not empty, valid UTF-8, no zero bytes. Returns a terminated copy. */
static const char *take_name(Cursor *c, Checkpoint *ck, uint64_t limit, const char *what) {
    uint64_t start = c->at, len;
    const uint8_t *p = take_string(c, limit, what, &len);
    if (!p) return NULL;
    const char *wrong = len == 0 ? "is empty" : memchr(p, 0, len) ? "contains a zero byte" : NULL;
    if (!wrong && !text_is_utf8(p, len)) wrong = "is not UTF-8";
    if (wrong) {
        c->at = start;
        bad(c, "%s %s", what, wrong);
        return NULL;
    }
    return arena_strndup(&ck->arena, (const char *)p, len);
}

/* Takes an array: type of its elements, their number, the elements. The number is compared with the bytes
 * left in the file before it is used. */
static bool take_array(Cursor *c, MetaEntry *m) {
    uint32_t elem;
    /* Type and number of the elements. */
    if (!take_u32(c, m->key, &elem) || !take_u64(c, m->key, &m->count)) return false;
    if (elem == META_ARRAY) return bad(c, "key '%s': an array of arrays, which is not supported", m->key);
    if (elem >= META_TYPE_COUNT) return bad(c, "key '%s': array elements of unknown type %u", m->key, elem);
    /* Elements of a fixed size are stepped over at once, strings one by one. A string takes at least the 8
     * bytes of its length, which bounds the loop. */
    m->elem_type = (MetaType)elem;
    m->bytes = c->file->map + c->at;
    uint64_t start = c->at, length, size = elem == META_STRING ? 8 : meta_type_size(m->elem_type);
    if (m->count > (c->file->size - c->at) / size)
        return bad(c, "key '%s': an array of %llu elements is longer than the file", m->key,
                   (unsigned long long)m->count);
    if (elem != META_STRING) c->at += m->count * size;
    for (uint64_t i = 0; elem == META_STRING && i < m->count; i++)
        if (!take_string(c, UINT64_MAX, m->key, &length)) return false;
    m->size = c->at - start;
    return true;
}

/* Steps over a value of type m->type and notes where its bytes lie. Booleans other than 0 and 1 are refused,
 * because C would read them as true and writers would copy them. */
static bool take_value(Cursor *c, MetaEntry *m) {
    if (m->type == META_ARRAY) {
        if (!take_array(c, m)) return false;
    } else {
        uint64_t start = c->at, length;
        m->bytes = c->file->map + start;
        m->count = 1;
        if (m->type == META_STRING ? !take_string(c, UINT64_MAX, m->key, &length)
                                   : !take(c, meta_type_size(m->type), m->key))
            return false;
        m->size = c->at - start;
    }
    /* A boolean, or an array of them. */
    if ((m->type == META_ARRAY ? m->elem_type : m->type) != META_BOOL) return true;
    for (uint64_t i = 0; i < m->size; i++)
        if (m->bytes[i] > 1)
            return bad(c, "key '%s': %u is neither false (0) nor true (1)", m->key, m->bytes[i]);
    return true;
}

/* Reads `count` key-values into ck->meta. Values are not copied: entries point into the mapped file. */
static bool read_meta(Cursor *c, Checkpoint *ck, uint64_t count) {
    /* A key-value takes at least a length of 8 bytes, a key of 1, a type of 4 and a value of 1. */
    if (count > (c->file->size - c->at) / 14)
        return bad(c, "%llu key-values do not fit in the file", (unsigned long long)count);
    for (uint64_t i = 0; i < count; i++) {
        MetaEntry m = {0};
        /* Key and type of the value. */
        uint32_t type;
        m.key = take_name(c, ck, MAX_KEY, "a key");
        if (!m.key || !take_u32(c, m.key, &type)) return false;
        if (type >= META_TYPE_COUNT) return bad(c, "key '%s': unknown value type %u", m.key, type);
        m.type = (MetaType)type;
        /* The value, whose bytes stay where they are in the file. */
        if (!take_value(c, &m)) return false;
        meta_append(ck, &m);
    }
    return true;
}

/* Order of strings, for qsort. */
static int by_key(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Refuses a key that occurs twice, because readers would disagree on which one counts. Sorting keeps the
 * check fast for a hostile file with millions of keys. */
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

/* Reads one row of the tensor table: name, dimensions (fastest first), type, and offset relative to the data,
 * which goes to `*offset`. Fills all of `t` but its parts. */
static bool read_tensor_info(Cursor *c, Checkpoint *ck, uint64_t i, Tensor *t, uint64_t *offset) {
    /* Name and dimensions. */
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
        t->shape[t->rank - 1 - d] = ne; /* reversed: our shapes have the slowest dimension first */
        if (!mul_u64(elems, ne, &elems) || elems > INT64_MAX)
            return bad(c, "tensor '%s': the product of its dimensions does not fit in 63 bits", t->name);
    }
    /* Type and offset. */
    if (!take_u32(c, t->name, &type) || !take_u64(c, t->name, offset)) return false;
    if (!dtype_from_ggml(type, &t->dtype))
        return bad(c, "tensor '%s': unknown element type %u", t->name, type);
    t->storage_dtype = t->exact_dtype = t->dtype;
    t->scale = 1;
    /* Rows: blocks must not cross their ends. */
    t->row_elems = t->rank ? t->shape[t->rank - 1] : 1;
    uint64_t bytes;
    if (!dtype_bytes(t->dtype, t->row_elems, &bytes))
        return bad(c, "tensor '%s': rows of %llu elements are not whole blocks of %s", t->name,
                   (unsigned long long)t->row_elems, dtype_info(t->dtype)->name);
    if (elems == 0) t->row_elems = 0; /* the other dimensions of an empty tensor may be any numbers */
    t->n_rows = t->row_elems ? elems / t->row_elems : 0;
    if (!mul_u64(bytes, t->n_rows, &bytes))
        return bad(c, "tensor '%s': its size does not fit in 64 bits", t->name);
    return true;
}

/* Order of the data. An empty tensor comes before the tensor that begins at the same place. */
static int by_offset(const void *a, const void *b) {
    const Tensor *x = *(const Tensor *const *)a, *y = *(const Tensor *const *)b;
    if (x->parts->offset != y->parts->offset) return x->parts->offset < y->parts->offset ? -1 : 1;
    uint64_t m = tensor_bytes(x), n = tensor_bytes(y);
    return m < n ? -1 : m > n;
}

/* Checks that the data of the tensors, in the order of offsets, covers the data section: no overlap, and no
 * gap larger than the padding to the next multiple of the alignment. Errors are reported at the offset of the
 * data. */
static bool check_layout(Cursor *c, const Checkpoint *ck, uint64_t data) {
    const Tensor **order = xcalloc(ck->n_tensors, sizeof *order);
    for (size_t i = 0; i < ck->n_tensors; i++)
        order[i] = &ck->tensors[i];
    qsort(order, ck->n_tensors, sizeof *order, by_offset);
    /* Go through the tensors by offset; `end` is where the one before ends. */
    uint64_t end = data;
    const char *before = "the header";
    bool ok = true;
    for (size_t i = 0; ok && i < ck->n_tensors; i++) {
        uint64_t start = order[i]->parts->offset;
        c->at = start;
        if (start < end)
            ok = bad(c, "tensor '%s' overlaps '%s', which ends at %llu", order[i]->name, before,
                     (unsigned long long)end);
        else if (start - end >= ck->alignment)
            ok = bad(c, "tensor '%s' leaves a hole of %llu bytes after '%s'", order[i]->name,
                     (unsigned long long)(start - end), before);
        end = start + tensor_bytes(order[i]);
        before = order[i]->name;
    }
    /* The last tensor may be followed by padding only. */
    free(order);
    c->at = end;
    if (ok && c->file->size > end && c->file->size - end >= ck->alignment)
        ok = bad(c, "%llu bytes after '%s' belong to no tensor", (unsigned long long)(c->file->size - end),
                 before);
    return ok;
}

/* Makes the offsets of the table, which are relative to the data, offsets in the file, and checks them. */
static bool place_tensors(Cursor *c, Checkpoint *ck, uint64_t data) {
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const Tensor *t = &ck->tensors[i];
        TensorPart *part = (TensorPart *)t->parts;
        uint64_t offset = part->offset, end;
        if (offset % ck->alignment)
            return bad(c, "tensor '%s': offset %llu is not a multiple of the alignment %u", t->name,
                       (unsigned long long)offset, ck->alignment);
        if (!add_u64(data, offset, &part->offset) || !add_u64(part->offset, tensor_bytes(t), &end) ||
            end > c->file->size)
            return bad(c, "tensor '%s': offset %llu + %llu bytes passes the end of data (%llu)", t->name,
                       (unsigned long long)offset, (unsigned long long)tensor_bytes(t),
                       (unsigned long long)(c->file->size > data ? c->file->size - data : 0));
    }
    return true;
}

/* Reads the tensor table. Offsets in the table are relative to the data, which begins at the next multiple of
 * the alignment and is only known after the table; place_tensors then makes them offsets in the file. */
static bool read_tensors(Cursor *c, Checkpoint *ck, uint64_t count) {
    /* A row takes at least a length of 8 bytes, a name of 1, a rank of 4, a type of 4 and an offset of 8. */
    if (count > (c->file->size - c->at) / 25)
        return bad(c, "%llu tensors do not fit in the file", (unsigned long long)count);
    for (uint64_t i = 0; i < count; i++) {
        Tensor t = {0};
        TensorPart part = {.source = c->file};
        if (!read_tensor_info(c, ck, i, &t, &part.offset)) return false;
        if (checkpoint_find(ck, t.name)) return bad(c, "tensor '%s' appears twice", t.name);
        part.n_rows = t.n_rows;
        t.parts = &part;
        t.n_parts = 1;
        checkpoint_add_tensor(ck, &t);
    }
    /* Now the beginning of the data is known. */
    uint64_t data = (c->at + ck->alignment - 1) / ck->alignment * ck->alignment;
    /* A file without tensors, such as a vocabulary of llama.cpp, may end without the padding. */
    if (count == 0 && data > c->file->size) data = c->file->size;
    return place_tensors(c, ck, data) && check_layout(c, ck, data);
}

/* Reads general.alignment. The specification asks for a multiple of 8; ggml itself accepts any power of
 * two. */
static bool read_alignment(Cursor *c, Checkpoint *ck) {
    if (!meta_find(ck, "general.alignment")) return true;
    uint64_t a;
    if (!meta_u64(ck, "general.alignment", &a) || a == 0 || a & (a - 1) || a > MAX_ALIGNMENT)
        return bad(c, "general.alignment is not a power of two up to %d", MAX_ALIGNMENT);
    ck->alignment = (uint32_t)a;
    return true;
}

/* Reads one file, which may be a part of a split model. */
static bool parse(Checkpoint *ck, const ByteSource *file, Error *e) {
    ck->format = FORMAT_GGUF;
    Cursor c = {.file = file, .e = e};
    /* Magic and version. A file in the other byte order shows its version byte-swapped. */
    const uint8_t *magic = take(&c, 4, "the magic");
    uint64_t n_tensors, n_meta;
    if (!magic) return false;
    /* Errors are reported at the offset of what is wrong, so c.at goes back. */
    if (memcmp(magic, "GGUF", 4) != 0) {
        c.at = 0;
        return bad(&c, "not a GGUF file");
    }
    if (!take_u32(&c, "the version", &ck->gguf_version)) return false;
    if (ck->gguf_version != 2 && ck->gguf_version != 3) {
        c.at = 4;
        uint32_t swapped = __builtin_bswap32(ck->gguf_version);
        if (swapped == 2 || swapped == 3) return bad(&c, "a big-endian GGUF, which is not supported");
        return bad(&c, "GGUF version %u; versions 2 and 3 are supported", ck->gguf_version);
    }
    /* Counts, key-values, tensors. */
    if (!take_u64(&c, "the number of tensors", &n_tensors) ||
        !take_u64(&c, "the number of key-values", &n_meta) || !read_meta(&c, ck, n_meta) ||
        !refuse_duplicate_keys(&c, ck) || !read_alignment(&c, ck))
        return false;
    return read_tensors(&c, ck, n_tensors);
}

/* The number of parts of a split model; 1 if the model is whole. */
static uint64_t split_count(const Checkpoint *ck) {
    uint64_t n = 1;
    return meta_u64(ck, "split.count", &n) ? n : 1;
}

/* For bytes that are mapped or in memory already, such as the keys that surgery/gguf_keys.c takes from a
 * folder. The other parts of a split model could not be found by name there, so one part is refused. */
bool gguf_parse(Checkpoint *ck, const ByteSource *file, Error *e) {
    if (!parse(ck, file, e)) return false;
    return split_count(ck) <= 1 || error_set(e, ERR_INPUT, "%s: one of %llu parts of a split GGUF",
                                             file->path, (unsigned long long)split_count(ck));
}

/* ---- split files: NAME-00001-of-00003.gguf and so on (llama-gguf-split) ---- */

enum { SPLIT_TAIL = sizeof "-00001-of-00003.gguf" - 1, MAX_SPLITS = 99999 };

/* Checks that a file is the part of the split model that its name says. split.no counts from 0. */
static bool is_part(const Checkpoint *ck, const char *path, uint64_t number, uint64_t count, Error *e) {
    uint64_t no = UINT64_MAX;
    meta_u64(ck, "split.no", &no);
    if (no == number && split_count(ck) == count) return true;
    return error_set(e, ERR_INPUT, "%s: expected part %llu of %llu of a split GGUF, found part %llu of %llu",
                     path, (unsigned long long)number + 1, (unsigned long long)count,
                     (unsigned long long)no + 1, (unsigned long long)split_count(ck));
}

/* Adds the tensors of a further part. Its key-values are not needed: llama-gguf-split writes all of the
 * model's keys into the first part. */
static bool add_part(Checkpoint *ck, const char *path, uint64_t number, uint64_t count, Error *e) {
    /* The part's own checkpoint is only needed to parse it; tensors and mapping move to `ck`. */
    const ByteSource *file = checkpoint_map(ck, path, e);
    Checkpoint *part = checkpoint_new(FORMAT_GGUF);
    bool ok = file && parse(part, file, e) && is_part(part, path, number, count, e);
    /* A name that is there already would make one of the two tensors unreachable. */
    for (size_t i = 0; ok && i < part->n_tensors; i++) {
        if (checkpoint_find(ck, part->tensors[i].name))
            ok = error_set(e, ERR_INPUT, "%s: tensor '%s' occurs in an earlier part too", path,
                           part->tensors[i].name);
        else
            checkpoint_add_tensor(ck, &part->tensors[i]);
    }
    checkpoint_close(part);
    return ok;
}

/* Reads the other parts of a split model. Their names are derived from that of the first part, so the path
 * has to end as llama-gguf-split names it. `ck` holds the first part already and holds the whole model
 * afterwards. */
static bool read_split(Checkpoint *ck, const char *path, Error *e) {
    /* The path of the first part has to end in "-00001-of-COUNT.gguf". */
    uint64_t count = split_count(ck), all;
    char tail[SPLIT_TAIL + 1] = "", name[PATH_MAX];
    size_t n = strlen(path);
    if (count <= MAX_SPLITS) snprintf(tail, sizeof tail, "-00001-of-%05u.gguf", (unsigned)count);
    if (n < SPLIT_TAIL || n >= sizeof name || strcmp(path + n - SPLIT_TAIL, tail) != 0 || count > MAX_SPLITS)
        return error_set(e, ERR_INPUT,
                         "%s: one of %llu parts of a split GGUF; give the path of the first one, "
                         "NAME-00001-of-%05llu.gguf",
                         path, (unsigned long long)count, (unsigned long long)count);
    /* Each part is opened under its own name and has to be the part that its name says. */
    if (!is_part(ck, path, 0, count, e)) return false;
    for (uint64_t i = 1; i < count; i++) {
        snprintf(name, sizeof name, "%.*s-%05u-of-%05u.gguf", (int)(n - SPLIT_TAIL), path, (unsigned)i + 1,
                 (unsigned)count);
        if (!add_part(ck, arena_strdup(&ck->arena, name), i, count, e)) return false;
    }
    /* Together they have as many tensors as the whole model; without the keys of the split, the result
     * equals it. */
    if (meta_u64(ck, "split.tensors.count", &all) && all != ck->n_tensors)
        return error_set(e, ERR_INPUT,
                         "%s: split.tensors.count states %llu tensors, but the %llu parts have %zu", path,
                         (unsigned long long)all, (unsigned long long)count, ck->n_tensors);
    meta_remove(ck, "split.no");
    meta_remove(ck, "split.count");
    meta_remove(ck, "split.tensors.count");
    return true;
}

/* The public entry point for a path; gguf_parse is the one for bytes that are mapped already. */
bool gguf_read(Checkpoint *ck, const char *path, Error *e) {
    const ByteSource *file = checkpoint_map(ck, path, e);
    if (!file || !parse(ck, file, e)) return false;
    return split_count(ck) <= 1 || read_split(ck, path, e);
}

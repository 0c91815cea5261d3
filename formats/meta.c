/* The key-values of a GGUF: see formats/meta.h. gguf.c appends the entries that it reads, surgery looks keys
 * up and sets them, gguf_write.c writes all of them out. Values keep the encoding of the file (ggml
 * docs/gguf.md, gguf_metadata_value_t), so that keys that nobody changes are written back byte for byte.
 * Values in a file need not be aligned, so they are loaded with memcpy. */
#include "formats/meta.h"

#include <stdlib.h>
#include <string.h>

/* Sizes in bytes as the specification gives them. Strings and arrays, which vary in size, have 0 here. */
uint32_t meta_type_size(MetaType t) {
    static const uint8_t sizes[META_TYPE_COUNT] = {
        [META_U8] = 1,  [META_I8] = 1,   [META_U16] = 2, [META_I16] = 2, [META_U32] = 4, [META_I32] = 4,
        [META_F32] = 4, [META_BOOL] = 1, [META_U64] = 8, [META_I64] = 8, [META_F64] = 8,
    };
    return sizes[t];
}

/* The entry of a key, which the functions of this file may change; NULL if there is none. A removal moves
 * entries, so it empties the table of keys, which is filled again here although `c` is const: the table is no
 * part of what a checkpoint means. Of two entries of one key, which a damaged file may have, the first one is
 * found. */
static MetaEntry *find(const Checkpoint *c, const char *key) {
    NameTable *keys = (NameTable *)&c->meta_keys;
    if (!keys->n)
        for (size_t i = 0; i < c->n_meta; i++)
            name_table_add(keys, c->meta[i].key, i);
    size_t at = name_table_find(keys, key);
    return at == NAME_ABSENT ? NULL : &c->meta[at];
}

/* The public form, which does not allow changes. */
const MetaEntry *meta_find(const Checkpoint *c, const char *key) {
    return find(c, key);
}

/* ---- reading ---- */

/* Loads an integer of type `t` from `p` as u64. False for negative values and for types that are not
 * integers; a boolean counts as 0 or 1, because arrays of flags are read through this function too. */
static bool load_u64(MetaType t, const uint8_t *p, uint64_t *out) {
    /* Everything but u64 fits in int64_t, which shows negative values. */
    int64_t v = 0;
    switch (t) {
    case META_U8:
    case META_BOOL:
        v = *p;
        break;
    case META_I8:
        v = (int8_t)*p;
        break;
    case META_U16:
        v = (uint16_t)(p[0] | p[1] << 8);
        break;
    case META_I16:
        v = (int16_t)(p[0] | p[1] << 8);
        break;
    case META_U32: {
        uint32_t x;
        memcpy(&x, p, sizeof x);
        v = x;
        break;
    }
    case META_I32: {
        int32_t x;
        memcpy(&x, p, sizeof x);
        v = x;
        break;
    }
    /* The only type whose values may exceed int64_t. */
    case META_U64:
        memcpy(out, p, sizeof *out);
        return true;
    case META_I64:
        memcpy(&v, p, sizeof v);
        break;
    default:
        return false;
    }
    if (v < 0) return false;
    *out = (uint64_t)v;
    return true;
}

/* Loads a number of any type as double; false for strings and arrays. Integers above 2^53 are rounded. */
static bool load_f64(MetaType t, const uint8_t *p, double *out) {
    float f;
    int32_t i;
    int64_t l;
    uint64_t u;
    switch (t) {
    case META_F32:
        memcpy(&f, p, sizeof f);
        *out = f;
        return true;
    case META_F64:
        memcpy(out, p, sizeof *out);
        return true;
    case META_I8:
        *out = (int8_t)*p;
        return true;
    case META_I16:
        *out = (int16_t)(p[0] | p[1] << 8);
        return true;
    case META_I32:
        memcpy(&i, p, sizeof i);
        *out = i;
        return true;
    case META_I64:
        memcpy(&l, p, sizeof l);
        *out = (double)l;
        return true;
    /* Unsigned integers and booleans. */
    default:
        if (!load_u64(t, p, &u)) return false;
        *out = (double)u;
        return true;
    }
}

/* Files differ in which integer type they use for a key, so all are accepted. A boolean is not, because a key
 * of that type means something else. */
bool meta_u64(const Checkpoint *c, const char *key, uint64_t *out) {
    const MetaEntry *m = find(c, key);
    return m && m->type != META_BOOL && m->type != META_STRING && m->type != META_ARRAY &&
           load_u64(m->type, m->bytes, out);
}

/* Only floats are accepted, in either precision. */
bool meta_f64(const Checkpoint *c, const char *key, double *out) {
    const MetaEntry *m = find(c, key);
    return m && (m->type == META_F32 || m->type == META_F64) && load_f64(m->type, m->bytes, out);
}

/* The reader has refused booleans other than 0 and 1. */
bool meta_bool(const Checkpoint *c, const char *key, bool *out) {
    const MetaEntry *m = find(c, key);
    if (!m || m->type != META_BOOL) return false;
    *out = m->bytes[0] != 0;
    return true;
}

/* The value begins with the length of the text as u64. The copy is terminated and belongs to the checkpoint's
 * arena, which may grow although `c` is const. */
const char *meta_string(const Checkpoint *c, const char *key, size_t *len) {
    const MetaEntry *m = find(c, key);
    if (!m || m->type != META_STRING) return NULL;
    if (len) *len = m->size - 8;
    return arena_strndup((Arena *)&c->arena, (const char *)m->bytes + 8, m->size - 8);
}

/* `*cursor` is the offset of the next string in the value, 0 at first. Lengths are not checked again here:
 * the reader has checked that all strings stay within the entry (take_array in gguf.c). */
bool meta_array_string(const MetaEntry *m, uint64_t *cursor, const char **s, size_t *len) {
    if (m->type != META_ARRAY || m->elem_type != META_STRING || *cursor >= m->size) return false;
    uint64_t n;
    memcpy(&n, m->bytes + *cursor, sizeof n);
    *s = (const char *)m->bytes + *cursor + 8;
    *len = n;
    *cursor += 8 + n;
    return true;
}

/* Element `i` as double. Nested arrays are refused by the reader and strings here, so the size of an element
 * is not 0. */
bool meta_array_f64(const MetaEntry *m, uint64_t i, double *out) {
    if (m->type != META_ARRAY || i >= m->count || m->elem_type == META_STRING) return false;
    return load_f64(m->elem_type, m->bytes + i * meta_type_size(m->elem_type), out);
}

/* ---- writing ---- */

/* Appends without looking for the key: gguf.c checks for duplicates once, after all keys are read. The table
 * doubles when it is full. */
void meta_append(Checkpoint *c, const MetaEntry *m) {
    if (c->n_meta == c->meta_capacity) {
        c->meta_capacity = c->meta_capacity ? 2 * c->meta_capacity : 32;
        c->meta = xrealloc(c->meta, c->meta_capacity * sizeof *c->meta);
    }
    if (c->meta_keys.n || !c->n_meta) name_table_add(&c->meta_keys, m->key, c->n_meta);
    c->meta[c->n_meta++] = *m;
}

/* Copies value and key into the arena and replaces the entry of that key, or appends one. An existing entry
 * keeps its place and its own copy of the key, so `entry->key` need not outlive the call. */
void meta_set_raw(Checkpoint *c, const MetaEntry *entry) {
    /* The value is copied, because callers build it on the stack or in a buffer. */
    MetaEntry copy = *entry;
    uint8_t *bytes = arena_alloc(&c->arena, entry->size);
    if (entry->size) memcpy(bytes, entry->bytes, entry->size);
    copy.bytes = bytes;
    MetaEntry *there = find(c, entry->key);
    /* Replace, or append with a copy of the key. */
    if (there) {
        copy.key = there->key;
        *there = copy;
        return;
    }
    copy.key = arena_strdup(&c->arena, entry->key);
    meta_append(c, &copy);
}

/* Sets a value of fixed size. `bytes` has the processor's byte order, which is little-endian as that of the
 * file. */
static void set_scalar(Checkpoint *c, const char *key, MetaType t, const void *bytes) {
    meta_set_raw(c,
                 &(MetaEntry){.key = key, .type = t, .count = 1, .bytes = bytes, .size = meta_type_size(t)});
}

void meta_set_u32(Checkpoint *c, const char *key, uint32_t v) {
    set_scalar(c, key, META_U32, &v);
}

void meta_set_f32(Checkpoint *c, const char *key, float v) {
    set_scalar(c, key, META_F32, &v);
}

void meta_set_bool(Checkpoint *c, const char *key, bool v) {
    set_scalar(c, key, META_BOOL, &(uint8_t){v});
}

/* Appends a string in GGUF's encoding: its length as u64, then its bytes. */
static void append_string(Buffer *b, const char *s, size_t len) {
    uint64_t n = len;
    buffer_append(b, &n, sizeof n);
    buffer_append(b, s, len);
}

/* The encoding is built in a buffer, which meta_set_raw copies. */
void meta_set_string(Checkpoint *c, const char *key, const char *s, size_t len) {
    Buffer b = {0};
    append_string(&b, s, len);
    meta_set_raw(c,
                 &(MetaEntry){.key = key, .type = META_STRING, .count = 1, .bytes = b.data, .size = b.size});
    buffer_free(&b);
}

/* `values` has `count` elements of a type of fixed size, one after the other as in the file. */
void meta_set_array(Checkpoint *c, const char *key, MetaType elem, const void *values, uint64_t count) {
    meta_set_raw(c, &(MetaEntry){.key = key,
                                 .type = META_ARRAY,
                                 .elem_type = elem,
                                 .count = count,
                                 .bytes = values,
                                 .size = count * meta_type_size(elem)});
}

/* The strings follow each other, each with its length before it; `count` is their number. */
void meta_set_string_array(Checkpoint *c, const char *key, const char *const *s, const size_t *len,
                           uint64_t count) {
    Buffer b = {0};
    for (uint64_t i = 0; i < count; i++)
        append_string(&b, s[i], len[i]);
    meta_set_raw(c, &(MetaEntry){.key = key,
                                 .type = META_ARRAY,
                                 .elem_type = META_STRING,
                                 .count = count,
                                 .bytes = b.data,
                                 .size = b.size});
    buffer_free(&b);
}

/* Removes the entry if there is one. The entries after it move up, so that the order of the file stays. */
void meta_remove(Checkpoint *c, const char *key) {
    MetaEntry *m = find(c, key);
    if (!m) return;
    c->n_meta--;
    memmove(m, m + 1, (size_t)(c->meta + c->n_meta - m) * sizeof *m);
    name_table_free(&c->meta_keys);
}

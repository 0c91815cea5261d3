/* Access to GGUF's typed key-values (meta.c); MetaType and MetaEntry are in formats/checkpoint.h. */
#ifndef DEROPE_FORMATS_META_H
#define DEROPE_FORMATS_META_H

#include "formats/checkpoint.h"

/* Bytes of a plain type; 0 for strings and arrays. */
uint32_t meta_type_size(MetaType t);

/* GGUF metadata access. The getters return false when absent or of another kind (any integer type serves
 * meta_u64; float or double serve meta_f64). */
const MetaEntry *meta_find(const Checkpoint *c, const char *key);
bool meta_u64(const Checkpoint *c, const char *key, uint64_t *out);
bool meta_f64(const Checkpoint *c, const char *key, double *out);
bool meta_bool(const Checkpoint *c, const char *key, bool *out);
const char *meta_string(const Checkpoint *c, const char *key, size_t *len); /* NUL-terminated copy in arena */
/* i-th element of an array. Strings: pointer into the entry, not terminated. Iterating: keep `*cursor`
 * (0 to start) between calls. */
bool meta_array_string(const MetaEntry *m, uint64_t *cursor, const char **s, size_t *len);
bool meta_array_f64(const MetaEntry *m, uint64_t i, double *out); /* any numeric or bool element */
/* Appends without looking for the key and without a copy (readers; the bytes live as long as `c`). */
void meta_append(Checkpoint *c, const MetaEntry *m);
/* Sets or replaces (in place if the key is there, else appended). */
void meta_set_raw(Checkpoint *c, const MetaEntry *m); /* copies */
void meta_set_u32(Checkpoint *c, const char *key, uint32_t v);
void meta_set_f32(Checkpoint *c, const char *key, float v);
void meta_set_bool(Checkpoint *c, const char *key, bool v);
void meta_set_string(Checkpoint *c, const char *key, const char *s, size_t len);
/* `values`: count elements of the plain type, little-endian. */
void meta_set_array(Checkpoint *c, const char *key, MetaType elem, const void *values, uint64_t count);
void meta_set_string_array(Checkpoint *c, const char *key, const char *const *s, const size_t *len,
                           uint64_t count);
void meta_remove(Checkpoint *c, const char *key);

#endif

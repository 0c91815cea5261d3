/* Reading and writing of GGUF's typed key-values (meta.c). MetaType and MetaEntry, which a Checkpoint holds,
 * are declared in formats/checkpoint.h. Keys are found through a hash table: a model has a few dozen of them,
 * but a file may have any number. */
#ifndef DEROPE_FORMATS_META_H
#define DEROPE_FORMATS_META_H

#include "formats/checkpoint.h"

/* Bytes of a value of type `t`; 0 for strings and arrays, whose size varies. */
uint32_t meta_type_size(MetaType t);

/* The entry of this key, or NULL. */
const MetaEntry *meta_find(const Checkpoint *c, const char *key);

/* The value of a key. False, with `out` unchanged, if the key is absent or its value is of another kind:
 * meta_u64 accepts all integer types with values from 0 on, meta_f64 accepts f32 and f64. Converters of
 * different age store one key in different integer widths, so the exact type is not compared. */
bool meta_u64(const Checkpoint *c, const char *key, uint64_t *out);
bool meta_f64(const Checkpoint *c, const char *key, double *out);
bool meta_bool(const Checkpoint *c, const char *key, bool *out);
/* A terminated copy of a string in the arena of `c`, and its length if `len` is not NULL (the string may
 * contain zero bytes). NULL if the key is absent or not a string. */
const char *meta_string(const Checkpoint *c, const char *key, size_t *len);

/* The next string of an array of strings, in place and not terminated. `*cursor` is 0 before the first call.
 * False at the end, or if `m` is something else. */
bool meta_array_string(const MetaEntry *m, uint64_t *cursor, const char **s, size_t *len);
/* Element `i` of an array of numbers or booleans. False if there is none. */
bool meta_array_f64(const MetaEntry *m, uint64_t i, double *out);

/* Appends an entry without copying it or looking for its key. For readers, whose bytes live as long as
 * `c`. */
void meta_append(Checkpoint *c, const MetaEntry *m);

/* Each of the following replaces the value of the key in its place, or appends it. Values are copied. */
void meta_set_raw(Checkpoint *c, const MetaEntry *entry);
void meta_set_u32(Checkpoint *c, const char *key, uint32_t v);
void meta_set_f32(Checkpoint *c, const char *key, float v);
void meta_set_bool(Checkpoint *c, const char *key, bool v);
void meta_set_string(Checkpoint *c, const char *key, const char *s, size_t len);
/* `values`: `count` elements of type `elem`, which is not a string. */
void meta_set_array(Checkpoint *c, const char *key, MetaType elem, const void *values, uint64_t count);
void meta_set_string_array(Checkpoint *c, const char *key, const char *const *s, const size_t *len,
                           uint64_t count);

/* Does nothing if the key is absent. Takes time in proportion to the number of keys, so it is not for loops
 * over keys of a file. */
void meta_remove(Checkpoint *c, const char *key);

#endif

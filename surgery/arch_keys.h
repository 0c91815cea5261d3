/* The keys of a GGUF that belong to its architecture. llama.cpp prefixes them with general.architecture: the
 * number of layers is "llama.block_count" in one file and "qwen2.block_count" in the next. The functions here
 * take what follows the dot, the suffix ("block_count"), and find the whole key by themselves. Suffixes are
 * those of llama.cpp's src/llama-arch.cpp.
 *
 * The arch_get_ functions look a value up. The arch_read_ functions are for the readers of metadata
 * (spec_gguf.c and the families' hooks): they check the type and the range, and set an error that names the
 * file and the key. The arch_set_ functions write; they do not touch a key that already has the same value,
 * so that a file that is copied without changes keeps the types of its keys. */
#ifndef DEROPE_SURGERY_ARCH_KEYS_H
#define DEROPE_SURGERY_ARCH_KEYS_H

#include "formats/checkpoint.h"
#include "formats/meta.h"
#include "surgery/spec.h"

/* ---- looking up; these functions return false or NULL if the key is absent or of another kind ---- */

const MetaEntry *arch_find(const Checkpoint *c, const char *suffix);
bool arch_get_u64(const Checkpoint *c, const char *suffix, uint64_t *out); /* any integer type */
bool arch_get_bool(const Checkpoint *c, const char *suffix, bool *out);
/* The `*len` bytes of a string. They point into the file and have no terminating zero. */
const char *arch_get_string(const Checkpoint *c, const char *suffix, size_t *len);

/* ---- reading with errors ---- */

/* Sets the error "FILE: key 'ARCH.SUFFIX' " + the formatted text, and returns false. */
bool arch_error(Error *e, const Checkpoint *c, const char *suffix, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A whole number from `low` to `high`, which has to be there. Some sizes may be lists with an element for
 * every layer (Gemma 3n, OpenELM); such a list is accepted if all elements are equal, for the spec has one
 * number. */
bool arch_read_u32(const Checkpoint *c, const char *suffix, uint32_t low, uint32_t high, uint32_t *out,
                   Error *e);
/* A finite number. An absent key leaves `*out` alone. */
bool arch_read_real(const Checkpoint *c, const char *suffix, double *out, Error *e);
/* attention.sliding_window in tokens. An absent key leaves `*out` alone. */
bool arch_read_window(const Checkpoint *c, uint32_t *out, Error *e);
/* attention.sliding_window_pattern: gives the layers their window, `window` tokens or 0. The key is a list
 * with a flag for each layer, or a number n that leaves each n-th layer without a window; `every` is that n
 * where the key is absent. */
bool arch_read_window_pattern(ModelSpec *s, const Checkpoint *c, uint32_t window, uint64_t every, Error *e);

/* A window this long in attention.sliding_window means that there is none. llama.cpp refuses some
 * architectures without a windowed layer; a window that is longer than any text changes nothing. */
enum { GGUF_NO_WINDOW = 1 << 24 };

/* ---- writing: `out` has its general.architecture already ---- */

void arch_set_u32(Checkpoint *out, const char *suffix, uint32_t v);
void arch_set_f32(Checkpoint *out, const char *suffix, double v); /* rounded to float */
void arch_set_bool(Checkpoint *out, const char *suffix, bool v);
void arch_set_string(Checkpoint *out, const char *suffix, const char *text);
/* `values`: n elements of the plain type `elem`, little-endian; they are copied. */
void arch_set_array(Checkpoint *out, const char *suffix, MetaType elem, const void *values, uint64_t n);
void arch_remove(Checkpoint *out, const char *suffix);

#endif

/* Look-up and writing of the keys that begin with the architecture's name. arch_keys.h explains when to use
 * which function. spec_gguf.c and the families read by these functions, arch_write.c, families and carriers
 * write by them. */
#include "surgery/arch_keys.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- looking up ---- */

/* The value of a string entry, which the file stores as a 64-bit length and the bytes. */
static const char *string_bytes(const MetaEntry *m, size_t *len) {
    if (!m || m->type != META_STRING) return NULL;
    *len = (size_t)(m->size - sizeof(uint64_t));
    return (const char *)m->bytes + sizeof(uint64_t);
}

/* general.architecture in place: no copy is made, because look-ups happen on checkpoints that are const. */
static const char *architecture(const Checkpoint *c, size_t *len) {
    const char *arch = string_bytes(meta_find(c, "general.architecture"), len);
    if (!arch) *len = 0;
    return arch ? arch : "";
}

/* Builds the whole key and looks it up. No key is longer than 65535 bytes, so neither is an architecture that
 * keys begin with. The result is valid until a key is added. */
const MetaEntry *arch_find(const Checkpoint *c, const char *suffix) {
    size_t n;
    const char *arch = architecture(c, &n);
    if (n > UINT16_MAX) return NULL;
    Buffer key = {0};
    buffer_printf(&key, "%.*s.%s", (int)n, arch, suffix);
    const MetaEntry *m = meta_find(c, buffer_string(&key));
    buffer_free(&key);
    return m;
}

/* The getters of formats/meta.h look the whole key up once more; a GGUF has a few dozen keys outside its
 * tokenizer. */
bool arch_get_u64(const Checkpoint *c, const char *suffix, uint64_t *out) {
    const MetaEntry *m = arch_find(c, suffix);
    return m && meta_u64(c, m->key, out);
}

static bool get_f64(const Checkpoint *c, const char *suffix, double *out) {
    const MetaEntry *m = arch_find(c, suffix);
    return m && meta_f64(c, m->key, out);
}

bool arch_get_bool(const Checkpoint *c, const char *suffix, bool *out) {
    const MetaEntry *m = arch_find(c, suffix);
    return m && meta_bool(c, m->key, out);
}

const char *arch_get_string(const Checkpoint *c, const char *suffix, size_t *len) {
    return string_bytes(arch_find(c, suffix), len);
}

/* ---- reading with errors ---- */

/* The architecture is cut at 60 bytes: in a damaged file it may be anything. */
bool arch_error(Error *e, const Checkpoint *c, const char *suffix, const char *fmt, ...) {
    char text[300];
    size_t n;
    const char *arch = architecture(c, &n);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(e, ERR_INPUT, "%s: key '%.*s.%s'%s", c->path, n < 60 ? (int)n : 60, arch, suffix, text);
}

/* True if the key holds a list of equal numbers, which becomes `*out`. Numbers are at most 1e9, because a
 * double that is larger than 2^64 has no defined conversion. */
static bool equal_list(const MetaEntry *list, uint64_t *out) {
    double first, v;
    if (!list || list->type != META_ARRAY || !meta_array_f64(list, 0, &first) || !(first >= 0 && first < 1e9))
        return false;
    for (uint64_t i = 1; i < list->count; i++)
        if (!meta_array_f64(list, i, &v) || v != first) return false;
    *out = (uint64_t)first;
    return true;
}

/* A list of equal numbers counts as one number (equal_list). */
bool arch_read_u32(const Checkpoint *c, const char *suffix, uint32_t low, uint32_t high, uint32_t *out,
                   Error *e) {
    /* The message says what was found: nothing, a list that differs by layer, or another type. */
    const MetaEntry *there = arch_find(c, suffix);
    uint64_t v;
    if (!arch_get_u64(c, suffix, &v) && !equal_list(there, &v))
        return arch_error(e, c, suffix, ": expected a whole number, found %s",
                          !there                      ? "nothing"
                          : there->type == META_ARRAY ? "a list of different numbers"
                                                      : "another type");
    if (v < low || v > high)
        return arch_error(e, c, suffix, ": %llu is not between %u and %u", (unsigned long long)v, low, high);
    *out = (uint32_t)v;
    return true;
}

/* Integers count as numbers too. NaN and infinity are refused, because they would spread through all later
 * arithmetic. */
bool arch_read_real(const Checkpoint *c, const char *suffix, double *out, Error *e) {
    double v;
    if (!arch_find(c, suffix)) return true;
    if (!get_f64(c, suffix, &v) || !isfinite(v)) return arch_error(e, c, suffix, ": expected a number");
    *out = v;
    return true;
}

/* A window of 0 means that there is none. */
bool arch_read_window(const Checkpoint *c, uint32_t *out, Error *e) {
    static const char suffix[] = "attention.sliding_window";
    return !arch_find(c, suffix) || arch_read_u32(c, suffix, 0, INT32_MAX, out, e);
}

/* Elements beyond the last layer are ignored; a list that is too short is an error. */
bool arch_read_window_pattern(ModelSpec *s, const Checkpoint *c, uint32_t window, uint64_t every, Error *e) {
    static const char suffix[] = "attention.sliding_window_pattern";
    /* A number, or no key at all, means a regular pattern. */
    const MetaEntry *list = arch_find(c, suffix);
    double flag;
    if (!list || list->type != META_ARRAY) {
        arch_get_u64(c, suffix, &every);
        spec_set_windows(s, window, every);
        return true;
    }
    if (list->count < s->n_layers) return arch_error(e, c, suffix, " is shorter than %u layers", s->n_layers);
    for (uint32_t i = 0; i < s->n_layers; i++)
        s->layers[i].window = meta_array_f64(list, i, &flag) && flag != 0 ? window : 0;
    return true;
}

/* ---- writing ---- */

/* "ARCH.SUFFIX", in the memory of the checkpoint that it goes into. */
static const char *whole_key(Checkpoint *out, const char *suffix) {
    size_t n;
    const char *arch = architecture(out, &n);
    return arena_printf(&out->arena, "%.*s.%s", (int)n, arch, suffix);
}

/* Compares the value first: a key of another integer type that says the same stays as it is. */
void arch_set_u32(Checkpoint *out, const char *suffix, uint32_t v) {
    uint64_t there;
    if (!arch_get_u64(out, suffix, &there) || there != v) meta_set_u32(out, whole_key(out, suffix), v);
}

/* The comparison is made in float, the type in which the key is stored. */
void arch_set_f32(Checkpoint *out, const char *suffix, double v) {
    double there;
    if (!get_f64(out, suffix, &there) || (float)there != (float)v)
        meta_set_f32(out, whole_key(out, suffix), (float)v);
}

/* A key that says the same stays where it is. */
void arch_set_bool(Checkpoint *out, const char *suffix, bool v) {
    bool there;
    if (!arch_get_bool(out, suffix, &there) || there != v) meta_set_bool(out, whole_key(out, suffix), v);
}

/* Strings and arrays are always written: they have only one type, so nothing is lost. */
void arch_set_string(Checkpoint *out, const char *suffix, const char *text) {
    meta_set_string(out, whole_key(out, suffix), text, strlen(text));
}

void arch_set_array(Checkpoint *out, const char *suffix, MetaType elem, const void *values, uint64_t n) {
    meta_set_array(out, whole_key(out, suffix), elem, values, n);
}

/* An absent key needs no removal. */
void arch_remove(Checkpoint *out, const char *suffix) {
    const MetaEntry *there = arch_find(out, suffix);
    if (there) meta_remove(out, there->key);
}

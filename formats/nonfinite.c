/* Counting of NaN, infinities and values that are too large: see formats/nonfinite.h. tensor.c calls
 * nonfinite_suspected for each chunk of values that it converts and the other functions only where that finds
 * something, which is almost never. nonfinite_scan runs over copied bytes in tensor_writer.c; its loops are
 * written so that they vectorise. */
#include "formats/nonfinite.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { MOST_BLOCK = 256 }; /* elements of the largest block */

void nonfinite_add(NonFinite *sum, const NonFinite *n) {
    if (!sum->too_large) sum->first = n->first;
    sum->nan += n->nan;
    sum->inf += n->inf;
    sum->too_large += n->too_large;
    sum->spoiled += n->spoiled;
    sum->hidden += n->hidden;
}

bool nonfinite_is_loss(const NonFinite *n) {
    return n->too_large || n->spoiled || n->hidden;
}

/* ---- in words ---- */

/* Appends a phrase about `n` values: `one` if n is 1, else `many`. Phrases are separated by semicolons. */
static void put_phrase(Buffer *out, size_t start, uint64_t n, const char *one, const char *many) {
    if (!n) return;
    buffer_printf(out, "%s%llu %s", out->size > start ? "; " : "", (unsigned long long)n,
                  n == 1 ? one : many);
}

void nonfinite_text(const NonFinite *n, DType written, Buffer *out) {
    size_t start = out->size;
    const char *type = dtype_info(written)->name;
    put_phrase(out, start, n->too_large, "value is too large for", "values are too large for");
    if (n->too_large)
        buffer_printf(out, " %s (%s%g)", type, n->too_large > 1 ? "the first is " : "", n->first);
    put_phrase(out, start, n->hidden, "NaN or infinite value becomes an ordinary number",
               "NaN or infinite values become ordinary numbers");
    put_phrase(out, start, n->spoiled,
               "finite value becomes NaN, because its block holds one that is not finite",
               "finite values become NaN, because their block holds one that is not finite");
    put_phrase(out, start, n->nan, "NaN stays NaN", "NaN stay NaN");
    put_phrase(out, start, n->inf, "infinite value stays infinite or NaN",
               "infinite values stay infinite or NaN");
}

/* ---- conversions ---- */

/* The largest magnitude that can be written as `d` without a scale or a value becoming infinite.
 *
 * The scales of block types are half-precision, at most 65504. In a type whose largest level is L, values up
 * to L * 65504 have a finite scale: Q4_0's levels end at -8, Q8_0's at 127. K-quants and IQ4_XS multiply
 * the scale of the block by an integer scale of the sub-block, so in them values can be larger by up to the
 * largest sub-block scale. The encoders of K-quants, IQ4_NL and IQ4_XS search for the scale with the smallest
 * error, which may be larger than maximum / L by less than a factor of two, so their bounds are about half of
 * the limit or less. The bounds need not be exact, because the values of real weights are far smaller. */
static float largest_finite(DType d) {
    /* Largest finite half-precision number. */
    static const float most = 0x1.ffdffep15f; /* below 65520, from where halves round to infinity */
    switch (d) {
    case DTYPE_F16:
    case DTYPE_Q4_1:
    case DTYPE_Q5_1:
        return most;
    case DTYPE_Q4_0:
        return 8 * most;
    case DTYPE_Q5_0:
        return 16 * most;
    case DTYPE_Q8_0:
        return 127 * most;
    case DTYPE_Q2_K:
        return 7 * most;
    case DTYPE_Q3_K:
        return 64 * most;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        return 31 * most;
    case DTYPE_Q6_K:
        return 2048 * most;
    case DTYPE_IQ4_NL:
        return 63 * most;
    case DTYPE_IQ4_XS:
        return 127 * 16 * most;
    case DTYPE_BF16:
        return 0x1.fefffep127f;
    default:
        return FLT_MAX;
    }
}

/* The bits of |f|. Magnitudes of floats are ordered like these bits, those of infinity and NaN are above all
 * others, so one comparison of integers finds every value that is not finite or too large. */
static uint32_t magnitude_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits & 0x7fffffff;
}

bool nonfinite_suspected(DType to, const float *values, uint64_t n) {
    uint32_t most = magnitude_bits(largest_finite(to)), beyond = 0;
#pragma omp simd reduction(| : beyond)
    for (uint64_t i = 0; i < n; i++)
        beyond |= magnitude_bits(values[i]) > most;
    return beyond;
}

void nonfinite_compare(DType to, const double *source, const float *values, const float *back, uint64_t n,
                       NonFinite *counts) {
    bool blocks = dtype_info(to)->block_elems > 1;
    float most = largest_finite(to);
    NonFinite found = {0};
    for (uint64_t i = 0; i < n; i++) {
        bool stays = !blocks || !isfinite(back[i]); /* a NaN or an infinity of the source */
        if (isfinite(source[i])) {
            /* NaN fails the comparison too. It arises where a sum or a product of finite numbers overflows.
             */
            if (!(fabsf(values[i]) <= most)) {
                if (!found.too_large++) found.first = source[i];
            } else if (blocks && !isfinite(back[i])) {
                found.spoiled++;
            }
        } else if (!stays) {
            found.hidden++;
        } else if (isnan(source[i])) {
            found.nan++;
        } else {
            found.inf++;
        }
    }
    nonfinite_add(counts, &found);
}

/* ---- copies ---- */

/* Counts among `n` elements of `size` bytes those whose exponent bits are all ones, which are infinite if the
 * bits of `mantissa` are 0 and NaN otherwise. */
static inline __attribute__((always_inline)) void scan_floats(const uint8_t *p, uint64_t n, size_t size,
                                                              uint64_t exponent, uint64_t mantissa,
                                                              NonFinite *counts) {
    uint64_t special = 0, inf = 0;
#pragma omp simd reduction(+ : special, inf)
    for (uint64_t i = 0; i < n; i++) {
        uint64_t bits = 0;
        memcpy(&bits, p + i * size, size);
        special += (bits & exponent) == exponent;
        inf += (bits & (exponent | mantissa)) == exponent;
    }
    counts->nan += special - inf;
    counts->inf += inf;
}

/* Decodes one block and counts what is not finite in it. */
static void scan_block(const DTypeInfo *d, const uint8_t *block, NonFinite *counts) {
    float values[MOST_BLOCK];
    d->decode(block, d->block_elems, values);
    for (uint32_t i = 0; i < d->block_elems; i++) {
        counts->nan += isnan(values[i]);
        counts->inf += isinf(values[i]) != 0;
    }
}

/* Whether a scale of the block is not finite: one of the two half-precision numbers at these bytes. */
static bool scale_is_suspect(const uint8_t *block, int first, int second) {
    uint16_t a, b;
    memcpy(&a, block + first, sizeof a);
    memcpy(&b, block + second, sizeof b);
    return (a & 0x7c00) == 0x7c00 || (b & 0x7c00) == 0x7c00;
}

/* Levels and codes are always finite, so a block can hold a NaN or an infinity only if its scale or its
 * minimum does. Blocks of other types than these have scales of other kinds, and are decoded. */
static void scan_blocks(DType type, const uint8_t *p, uint64_t n, NonFinite *counts) {
    /* Where a block has its scale and its minimum (or the scale again). */
    static const struct {
        DType type;
        int scale, minimum;
    } places[] = {
        {DTYPE_Q4_0, 0, 0},   {DTYPE_Q4_1, 0, 2},     {DTYPE_Q5_0, 0, 0},     {DTYPE_Q5_1, 0, 2},
        {DTYPE_Q8_0, 0, 0},   {DTYPE_Q2_K, 80, 82},   {DTYPE_Q3_K, 108, 108}, {DTYPE_Q4_K, 0, 2},
        {DTYPE_Q5_K, 0, 2},   {DTYPE_Q6_K, 208, 208}, {DTYPE_IQ2_XXS, 0, 0},  {DTYPE_IQ2_XS, 0, 0},
        {DTYPE_IQ2_S, 0, 0},  {DTYPE_IQ3_XXS, 0, 0},  {DTYPE_IQ3_S, 0, 0},    {DTYPE_IQ1_S, 0, 0},
        {DTYPE_IQ4_NL, 0, 0}, {DTYPE_IQ4_XS, 0, 0},   {DTYPE_TQ1_0, 52, 52},  {DTYPE_TQ2_0, 64, 64}};
    const DTypeInfo *d = dtype_info(type);
    int scale = -1, minimum = -1;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (places[i].type == type) {
            scale = places[i].scale;
            minimum = places[i].minimum;
        }
    for (uint64_t i = 0; i < n / d->block_elems; i++, p += d->block_bytes)
        if (scale < 0 || scale_is_suspect(p, scale, minimum)) scan_block(d, p, counts);
}

void nonfinite_scan(DType d, const void *bytes, uint64_t n, NonFinite *counts) {
    NonFinite ones = {0};
    switch (d) {
    case DTYPE_F64:
        scan_floats(bytes, n, 8, 0x7ff0000000000000u, 0x000fffffffffffffu, counts);
        break;
    case DTYPE_F32:
        scan_floats(bytes, n, 4, 0x7f800000, 0x007fffff, counts);
        break;
    case DTYPE_F16:
        scan_floats(bytes, n, 2, 0x7c00, 0x03ff, counts);
        break;
    case DTYPE_BF16:
        scan_floats(bytes, n, 2, 0x7f80, 0x007f, counts);
        break;
    case DTYPE_F8_E5M2:
        scan_floats(bytes, n, 1, 0x7c, 0x03, counts);
        break;
    case DTYPE_F8_E4M3: /* no infinity; exponent and mantissa of all ones are NaN */
        scan_floats(bytes, n, 1, 0x7f, 0, &ones);
        counts->nan += ones.inf;
        break;
    default: /* integers and the other 8-bit floats, which are scales, have nothing to count */
        if (dtype_info(d)->block_elems > 1 && dtype_info(d)->decode) scan_blocks(d, bytes, n, counts);
    }
}

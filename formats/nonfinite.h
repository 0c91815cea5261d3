/* Values that are not finite (NaN, +Inf, -Inf) on their way from a source to an output: how many there are,
 * and how many values lose what they were because the written type cannot hold them (nonfinite.c).
 *
 * The plain types f32, f16 and bf16 hold NaN and infinity, but a finite number beyond their range becomes
 * infinite. The block types of ggml hold neither: a NaN is rounded to some level and so becomes an ordinary
 * number, and one infinite value makes the scale of its block infinite, so that the other values of the block
 * decode to NaN. formats/tensor.c refuses to write such values unless Tensor.allow_nonfinite is set. */
#ifndef DEROPE_FORMATS_NONFINITE_H
#define DEROPE_FORMATS_NONFINITE_H

#include "formats/dtype.h"

/* Numbers of values of one tensor. */
typedef struct NonFinite {
    uint64_t nan, inf;  /* NaN and infinite in the source, and not finite in the output either */
    uint64_t too_large; /* finite in the source, beyond the range of the written type */
    uint64_t spoiled; /* finite and within the range, but not finite in the output, because of their block */
    uint64_t hidden;  /* NaN or infinite in the source, and an ordinary number in the output */
    double first;     /* the first of the values that are too large */
} NonFinite;

/* Adds the numbers of `n` to `*sum`. */
void nonfinite_add(NonFinite *sum, const NonFinite *n);
/* True if a value lost what it was: too_large, spoiled or hidden is not 0. */
bool nonfinite_is_loss(const NonFinite *n);
/* Appends the numbers in words, "2 NaN stay; 3 values are too large for f16 (the first is 1e+300)". `written`
 * is the type of the output. Nothing is appended if all numbers are 0. */
void nonfinite_text(const NonFinite *n, DType written, Buffer *out);

/* True if one of `n` values is not finite or too large for type `to`. A fast test, after which
 * nonfinite_compare counts. */
bool nonfinite_suspected(DType to, const float *values, uint64_t n);
/* Counts what happens to `n` values that are encoded as type `to`. `source` has them as the source has them,
 * `values` as they were encoded (rounded to fp32 and scaled), `back` decoded from what was written; `back` is
 * used for block types only and may otherwise be NULL. */
void nonfinite_compare(DType to, const double *source, const float *values, const float *back, uint64_t n,
                       NonFinite *counts);
/* Counts NaN and infinity among `n` elements (whole blocks) of type `d`, whose bytes are copied. Types that
 * cannot be decoded have none. */
void nonfinite_scan(DType d, const void *bytes, uint64_t n, NonFinite *counts);

#endif

/* Cosines and sines for all layers of a model, made once per run and shared by layers that rotate in the same
 * way. */
#ifndef DEROPE_RECAL_ROPE_TABLES_H
#define DEROPE_RECAL_ROPE_TABLES_H

#include <stddef.h>

#include "surgery/spec.h"

/* The tables of one layer; `cos` and `sin` NULL where the layer does not rotate (NoPE). */
typedef struct RopeTable {
    float *cos, *sin; /* (positions, half) each; may be another layer's */
    size_t half;      /* pairs of dimensions that rotate: rotary_dim / 2 */
} RopeTable;

/* One table per layer for the positions first .. first + n - 1 of a text of `total` tokens; the total matters
 * only for scalings that depend on the text's length (dynamic NTK, LongRoPE). Free with rope_tables_free. */
RopeTable *rope_tables_new(const ModelSpec *s, size_t first, size_t n, size_t total);
void rope_tables_free(RopeTable *tables, const ModelSpec *s);

#endif

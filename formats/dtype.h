/* Element types: one table for safetensors, ggml and torch. A type is a block of `block_elems` elements in
 * `block_bytes` bytes; plain types have blocks of one. */
#ifndef DEROPE_FORMATS_DTYPE_H
#define DEROPE_FORMATS_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/buffer.h"

typedef enum DType {
    DTYPE_F64,
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I64,
    DTYPE_I32,
    DTYPE_I16,
    DTYPE_I8,
    DTYPE_U64,
    DTYPE_U32,
    DTYPE_U16,
    DTYPE_U8,
    DTYPE_BOOL,
    DTYPE_C64,
    DTYPE_F8_E4M3,
    DTYPE_F8_E5M2,
    DTYPE_F8_E8M0,
    DTYPE_F8_E4M3FNUZ,
    DTYPE_F8_E5M2FNUZ,
    DTYPE_F6_E2M3,
    DTYPE_F6_E3M2,
    DTYPE_F4,
    DTYPE_Q4_0,
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q8_0,
    DTYPE_Q8_1,
    DTYPE_Q2_K,
    DTYPE_Q3_K,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_Q8_K,
    DTYPE_IQ2_XXS,
    DTYPE_IQ2_XS,
    DTYPE_IQ2_S,
    DTYPE_IQ3_XXS,
    DTYPE_IQ3_S,
    DTYPE_IQ1_S,
    DTYPE_IQ1_M,
    DTYPE_IQ4_NL,
    DTYPE_IQ4_XS,
    DTYPE_TQ1_0,
    DTYPE_TQ2_0,
    DTYPE_MXFP4,
    DTYPE_NVFP4,
    DTYPE_Q1_0,
    DTYPE_Q2_0,
    DTYPE_COUNT
} DType;

typedef struct DTypeInfo {
    const char *name; /* "f32", "bf16", "q4_1": what --dtype takes and inspect prints */
    uint32_t block_elems;
    uint32_t block_bytes;
    const char *safetensors; /* "F32"; NULL if a safetensors file cannot hold it */
    int ggml;                /* ggml type number; -1 if a GGUF cannot hold it */
    /* n elements, a multiple of block_elems; NULL where we only carry the bytes */
    void (*decode)(const void *src, uint64_t n, float *dst);
    void (*encode)(const float *src, uint64_t n, void *dst);
} DTypeInfo;

const DTypeInfo *dtype_info(DType t);
bool dtype_from_name(const char *name, DType *out);        /* "bf16" (any case) */
bool dtype_from_safetensors(const char *name, DType *out); /* "BF16" */
bool dtype_from_ggml(uint32_t id, DType *out);
/* Fills `names` with the names of the types of dtype_encodable, at most `max`, and returns how many. */
size_t dtype_names(const char **names, size_t max);

/* The element types that floats can be written as, in the order in which help texts name them: plain types
 * first (f32, bf16, f16), then block types from the most bits to the fewest. Returns the list of `*n`; it is
 * constant. */
const DType *dtype_encodable(size_t *n);

/* Appends the names of those types to `out`, separated by ", ": the plain ones, which every format holds, or,
 * with `blocks`, those that only a GGUF holds. */
void dtype_list_names(bool blocks, Buffer *out);

/* Bytes of n elements; false if n is not whole blocks or the size wraps. */
bool dtype_bytes(DType t, uint64_t n, uint64_t *out);

/* True if every value of `from` is one of `to` (bf16 -> f32, f16 -> f32), so that the way back is exact. */
bool dtype_widens(DType from, DType to);

/* The type that changed values are written back in: `t` itself, or Q8_0 where it cannot be encoded. */
DType dtype_written(DType t);
/* The type that rows of `row_elems` elements are written in where `wanted` is asked for: itself if they are
 * whole blocks of it, else the one that llama.cpp's quantizer falls back to, a little better and in blocks of
 * 32. False if that does not fit either. */
bool dtype_for_rows(DType wanted, uint64_t row_elems, DType *out);

#endif

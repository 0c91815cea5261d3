/* Element types of tensors: one table for safetensors, GGUF and PyTorch (dtype.c).
 *
 * A type stores blocks of `block_elems` elements in `block_bytes` bytes. Plain types have blocks of one
 * element. The quantized types of ggml have blocks of 32 to 256 elements that share scales, and blocks run
 * along rows, so a row has to be a whole number of blocks. */
#ifndef DEROPE_FORMATS_DTYPE_H
#define DEROPE_FORMATS_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/buffer.h"

typedef enum DType {
    /* Plain types. */
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
    DTYPE_C64,         /* complex, two f32 */
    DTYPE_F8_E4M3,     /* OCP 8-bit floats: 4 exponent and 3 mantissa bits, no infinity */
    DTYPE_F8_E5M2,     /* 5 exponent and 2 mantissa bits */
    DTYPE_F8_E8M0,     /* powers of two, the scales of the MX formats */
    DTYPE_F8_E4M3FNUZ, /* AMD's variants: no negative zero, no infinity, one NaN */
    DTYPE_F8_E5M2FNUZ,
    /* Sub-byte types of safetensors, which are copied but not decoded. */
    DTYPE_F6_E2M3,
    DTYPE_F6_E3M2,
    DTYPE_F4,
    /* Block types of ggml. Q: levels at equal distances; _0 with a scale, _1 with a scale and a minimum; _K
     * in super-blocks of 256. IQ: codes into tables. TQ: ternary. */
    DTYPE_Q4_0,
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q8_0,
    DTYPE_Q8_1, /* ggml's own intermediate format of activations, as is Q8_K */
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
    DTYPE_MXFP4, /* OCP MX: 32 values of 4 bits with a scale of type E8M0 */
    DTYPE_NVFP4, /* 16 values of 4 bits with a scale of type E4M3 */
    DTYPE_Q1_0,
    DTYPE_Q2_0,
    DTYPE_COUNT
} DType;

typedef struct DTypeInfo {
    const char *name;        /* lower case: "f32", "bf16", "q4_1"; what --dtype takes and inspect prints */
    uint32_t block_elems;    /* elements of a block */
    uint32_t block_bytes;    /* bytes of a block */
    const char *safetensors; /* the name in a safetensors header, "F32"; NULL: not possible there */
    int ggml;                /* the number in a GGUF (ggml.h, enum ggml_type); -1: not possible there */
    /* Conversion of n elements, a whole number of blocks. `src` of decode and `dst` of encode need no
     * alignment. NULL: derope copies tensors of the type but cannot decode or encode them. */
    void (*decode)(const void *src, uint64_t n, float *dst);
    void (*encode)(const float *src, uint64_t n, void *dst);
} DTypeInfo;

/* The row of the table; static storage. */
const DTypeInfo *dtype_info(DType t);

/* The type of a name or number; false if there is none. dtype_from_name ignores case. */
bool dtype_from_name(const char *name, DType *out);
bool dtype_from_safetensors(const char *name, DType *out);
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

/* The bytes that `n` elements take. False if `n` is not a whole number of blocks or the size overflows. */
bool dtype_bytes(DType t, uint64_t n, uint64_t *out);

/* True if `to` holds each value of `from` exactly (bf16 in f32, e4m3 in f16), so that converting back loses
 * nothing. */
bool dtype_widens(DType from, DType to);

/* True if the elements of the type are real numbers, as weights have to be: floats of at least 8 bits, and
 * ggml's blocks. False for integers, booleans, complex numbers, E8M0 scales and packed floats of less bits.
 */
bool dtype_is_float(DType t);

/* The type in which changed values of a tensor of type `t` are written: `t` itself, or Q8_0 if `t` has no
 * encoder. */
DType dtype_written(DType t);

/* The type in which rows of `row_elems` elements are written when `wanted` is asked for: `wanted` if a row
 * is a whole number of its blocks, else the type of similar size with blocks of 32 that llama.cpp's
 * quantizer falls back to (llama-quant.cpp, llama_tensor_get_type). False if rows are not whole blocks of
 * that either. */
bool dtype_for_rows(DType wanted, uint64_t row_elems, DType *out);

#endif

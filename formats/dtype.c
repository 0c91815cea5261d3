/* The table of element types: see formats/dtype.h. Every reader and writer looks up here how many bytes a
 * type takes, what the formats call it, and which functions convert it. Sizes and numbers of block types are
 * those of ggml (ggml.c, type_traits; ggml.h, enum ggml_type), names of plain types those of safetensors
 * (safetensors/src/tensor.rs, Dtype). floats.c has the conversions of plain types, quants_*.c those of block
 * types. */
#include "formats/dtype.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "formats/floats.h"
#include "formats/quants_encode.h"
#include "formats/quants_i.h"
#include "formats/quants_k.h"
#include "formats/quants_legacy.h"

/* Columns: name; elements and bytes of a block; name in safetensors; number in ggml; decoder; encoder. The
 * bytes of a block are those of the struct in ggml-common.h: a Q4_K block, for example, has two
 * half-precision factors (4 bytes), 12 bytes of scales and 256 levels of 4 bits (128 bytes). A number of -1
 * means that a GGUF cannot hold the type, a name of NULL that a safetensors file cannot, and a function of
 * NULL that the type can only be copied, not decoded or encoded. */
static const DTypeInfo table[DTYPE_COUNT] = {
    /* Plain floats, which most models are stored in. */
    [DTYPE_F64] = {"f64", 1, 8, "F64", 28, f64_decode, NULL},
    [DTYPE_F32] = {"f32", 1, 4, "F32", 0, f32_decode, f32_encode},
    [DTYPE_F16] = {"f16", 1, 2, "F16", 1, f16_decode, f16_encode},
    [DTYPE_BF16] = {"bf16", 1, 2, "BF16", 30, bf16_decode, bf16_encode},
    /* Integers and booleans: tables of positions, packed codes, masks. */
    [DTYPE_I64] = {"i64", 1, 8, "I64", 27, i64_decode, NULL},
    [DTYPE_I32] = {"i32", 1, 4, "I32", 26, i32_decode, NULL},
    [DTYPE_I16] = {"i16", 1, 2, "I16", 25, i16_decode, NULL},
    [DTYPE_I8] = {"i8", 1, 1, "I8", 24, i8_decode, NULL},
    [DTYPE_U64] = {"u64", 1, 8, "U64", -1, u64_decode, NULL},
    [DTYPE_U32] = {"u32", 1, 4, "U32", -1, u32_decode, NULL},
    [DTYPE_U16] = {"u16", 1, 2, "U16", -1, u16_decode, NULL},
    [DTYPE_U8] = {"u8", 1, 1, "U8", -1, u8_decode, NULL},
    [DTYPE_BOOL] = {"bool", 1, 1, "BOOL", -1, u8_decode, NULL},
    /* Complex numbers are only copied. */
    [DTYPE_C64] = {"c64", 1, 8, "C64", -1, NULL, NULL},
    /* 8-bit floats of the OCP and FNUZ kinds, and E8M0, which is a scale. */
    [DTYPE_F8_E4M3] = {"f8_e4m3", 1, 1, "F8_E4M3", -1, e4m3_decode, NULL},
    [DTYPE_F8_E5M2] = {"f8_e5m2", 1, 1, "F8_E5M2", -1, e5m2_decode, NULL},
    [DTYPE_F8_E8M0] = {"f8_e8m0", 1, 1, "F8_E8M0", -1, e8m0_decode, NULL},
    [DTYPE_F8_E4M3FNUZ] = {"f8_e4m3fnuz", 1, 1, "F8_E4M3FNUZ", -1, e4m3fnuz_decode, NULL},
    [DTYPE_F8_E5M2FNUZ] = {"f8_e5m2fnuz", 1, 1, "F8_E5M2FNUZ", -1, e5m2fnuz_decode, NULL},
    /* Floats of less than 8 bits, packed without gaps; they are only copied. */
    [DTYPE_F6_E2M3] = {"f6_e2m3", 4, 3, "F6_E2M3", -1, NULL, NULL},
    [DTYPE_F6_E3M2] = {"f6_e3m2", 4, 3, "F6_E3M2", -1, NULL, NULL},
    [DTYPE_F4] = {"f4", 2, 1, "F4", -1, NULL, NULL},
    /* ggml's blocks of 32 elements (quants_legacy.c). Q8_1 and Q8_K occur in computations only. */
    [DTYPE_Q4_0] = {"q4_0", 32, 18, NULL, 2, q4_0_decode, q4_0_encode},
    [DTYPE_Q4_1] = {"q4_1", 32, 20, NULL, 3, q4_1_decode, q4_1_encode},
    [DTYPE_Q5_0] = {"q5_0", 32, 22, NULL, 6, q5_0_decode, q5_0_encode},
    [DTYPE_Q5_1] = {"q5_1", 32, 24, NULL, 7, q5_1_decode, q5_1_encode},
    [DTYPE_Q8_0] = {"q8_0", 32, 34, NULL, 8, q8_0_decode, q8_0_encode},
    [DTYPE_Q8_1] = {"q8_1", 32, 36, NULL, 9, NULL, NULL},
    /* K-quants: super-blocks of 256 elements (quants_k.c, quants_encode.c). */
    [DTYPE_Q2_K] = {"q2_k", 256, 84, NULL, 10, q2_k_decode, q2_k_encode},
    [DTYPE_Q3_K] = {"q3_k", 256, 110, NULL, 11, q3_k_decode, q3_k_encode},
    [DTYPE_Q4_K] = {"q4_k", 256, 144, NULL, 12, q4_k_decode, q4_k_encode},
    [DTYPE_Q5_K] = {"q5_k", 256, 176, NULL, 13, q5_k_decode, q5_k_encode},
    [DTYPE_Q6_K] = {"q6_k", 256, 210, NULL, 14, q6_k_decode, q6_k_encode},
    [DTYPE_Q8_K] = {"q8_k", 256, 292, NULL, 15, NULL, NULL},
    /* Codes into a table or a codebook (quants_i.c). */
    [DTYPE_IQ2_XXS] = {"iq2_xxs", 256, 66, NULL, 16, iq2_xxs_decode, NULL},
    [DTYPE_IQ2_XS] = {"iq2_xs", 256, 74, NULL, 17, iq2_xs_decode, NULL},
    [DTYPE_IQ3_XXS] = {"iq3_xxs", 256, 98, NULL, 18, iq3_xxs_decode, NULL},
    [DTYPE_IQ1_S] = {"iq1_s", 256, 50, NULL, 19, iq1_s_decode, NULL},
    [DTYPE_IQ4_NL] = {"iq4_nl", 32, 18, NULL, 20, iq4_nl_decode, iq4_nl_encode},
    [DTYPE_IQ3_S] = {"iq3_s", 256, 110, NULL, 21, iq3_s_decode, NULL},
    [DTYPE_IQ2_S] = {"iq2_s", 256, 82, NULL, 22, iq2_s_decode, NULL},
    [DTYPE_IQ4_XS] = {"iq4_xs", 256, 136, NULL, 23, iq4_xs_decode, iq4_xs_encode},
    [DTYPE_IQ1_M] = {"iq1_m", 256, 56, NULL, 29, iq1_m_decode, NULL},
    /* Ternary digits, then 4-bit floats with a scale for each block, then two types that are only copied. */
    [DTYPE_TQ1_0] = {"tq1_0", 256, 54, NULL, 34, tq1_0_decode, NULL},
    [DTYPE_TQ2_0] = {"tq2_0", 256, 66, NULL, 35, tq2_0_decode, NULL},
    [DTYPE_MXFP4] = {"mxfp4", 32, 17, NULL, 39, mxfp4_decode, NULL},
    [DTYPE_NVFP4] = {"nvfp4", 64, 36, NULL, 40, nvfp4_decode, NULL},
    [DTYPE_Q1_0] = {"q1_0", 128, 18, NULL, 41, NULL, NULL},
    [DTYPE_Q2_0] = {"q2_0", 64, 18, NULL, 42, NULL, NULL},
};

/* Every value of DType has a row. */
const DTypeInfo *dtype_info(DType t) {
    return &table[t];
}

/* DType lists the types in groups, so that all blocks come after Q4_0. */
bool dtype_is_float(DType t) {
    switch (t) {
    case DTYPE_F64:
    case DTYPE_F32:
    case DTYPE_F16:
    case DTYPE_BF16:
    case DTYPE_F8_E4M3:
    case DTYPE_F8_E5M2:
    case DTYPE_F8_E4M3FNUZ:
    case DTYPE_F8_E5M2FNUZ:
        return true;
    default:
        return t >= DTYPE_Q4_0;
    }
}

/* Types in the order in which messages and help texts list them, plain types first. A test checks that each
 * type with an encoder occurs exactly once. */
const DType *dtype_encodable(size_t *n) {
    static const DType list[] = {DTYPE_F32,  DTYPE_BF16, DTYPE_F16,  DTYPE_Q8_0,   DTYPE_Q6_K,
                                 DTYPE_Q5_K, DTYPE_Q4_K, DTYPE_Q3_K, DTYPE_Q2_K,   DTYPE_Q5_0,
                                 DTYPE_Q5_1, DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_IQ4_NL, DTYPE_IQ4_XS};
    *n = sizeof list / sizeof *list;
    return list;
}

/* Appends the names of the plain types, or of the block types if `blocks` is true, in the order of
 * dtype_encodable. */
void dtype_list_names(bool blocks, Buffer *out) {
    /* `named` counts the names so far, for the commas. */
    size_t n;
    const DType *list = dtype_encodable(&n);
    for (size_t i = 0, named = 0; i < n; i++)
        if ((table[list[i]].block_elems > 1) == blocks)
            buffer_printf(out, "%s%s", named++ ? ", " : "", table[list[i]].name);
}

/* This and the two look-ups below are linear searches: the table has about 50 rows, and they are called once
 * for each tensor. Names on the command line may have any case. */
bool dtype_from_name(const char *name, DType *out) {
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (strcasecmp(table[i].name, name) == 0) {
            *out = (DType)i;
            return true;
        }
    return false;
}

/* Case matters here, as in the reference implementation. */
bool dtype_from_safetensors(const char *name, DType *out) {
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (table[i].safetensors && strcmp(table[i].safetensors, name) == 0) {
            *out = (DType)i;
            return true;
        }
    return false;
}

/* Numbers of types that ggml removed (Q4_2 and others) are in no row and so are refused. */
bool dtype_from_ggml(uint32_t id, DType *out) {
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (table[i].ggml >= 0 && (uint32_t)table[i].ggml == id) {
            *out = (DType)i;
            return true;
        }
    return false;
}

/* At most `max` names of the types that can be written; returns how many. */
size_t dtype_names(const char **names, size_t max) {
    size_t n, kept = 0;
    const DType *list = dtype_encodable(&n);
    for (; kept < n && kept < max; kept++)
        names[kept] = table[list[kept]].name;
    return kept;
}

/* False if `n` elements are not whole blocks, or if their size does not fit in 64 bits. */
bool dtype_bytes(DType t, uint64_t n, uint64_t *out) {
    const DTypeInfo *d = &table[t];
    return n % d->block_elems == 0 &&
           !__builtin_mul_overflow(n / d->block_elems, (uint64_t)d->block_bytes, out);
}

/* True if every value of `from` is exactly representable in `to`. Only types that occur as the source of such
 * a change are listed: GGUF stores norms and biases of bf16 and f16 models as f32. */
bool dtype_widens(DType from, DType to) {
    switch (from) {
    case DTYPE_F32:
        return to == DTYPE_F64;
    case DTYPE_F16:
    case DTYPE_BF16:
        return to == DTYPE_F32 || to == DTYPE_F64;
    case DTYPE_F8_E4M3:
    case DTYPE_F8_E5M2:
        return to == DTYPE_F16 || to == DTYPE_BF16 || to == DTYPE_F32 || to == DTYPE_F64;
    default:
        return false;
    }
}

/* The type in which a changed tensor of type `t` is written. Types without an encoder are replaced by Q8_0,
 * which keeps 8 bits and so changes the values of a type of fewer bits by little. */
DType dtype_written(DType t) {
    return dtype_info(t)->encode ? t : DTYPE_Q8_0;
}

/* The type for rows of `row_elems` elements. If these are not whole blocks of the wanted type, the fallback
 * is the one that llama.cpp's quantizer takes: a type of about the same size with blocks of 32. False if the
 * rows do not fit that type either. */
bool dtype_for_rows(DType wanted, uint64_t row_elems, DType *out) {
    static const struct {
        DType from, to;
    } smaller_blocks[] = {{DTYPE_Q2_K, DTYPE_Q4_0}, {DTYPE_Q3_K, DTYPE_Q4_0}, {DTYPE_Q4_K, DTYPE_Q5_0},
                          {DTYPE_Q5_K, DTYPE_Q5_1}, {DTYPE_Q6_K, DTYPE_Q8_0}, {DTYPE_IQ4_XS, DTYPE_IQ4_NL}};
    /* The wanted type fits most rows. */
    *out = wanted;
    if (row_elems % table[wanted].block_elems == 0) return true;
    for (size_t i = 0; i < sizeof smaller_blocks / sizeof *smaller_blocks; i++)
        if (smaller_blocks[i].from == wanted && row_elems % table[smaller_blocks[i].to].block_elems == 0) {
            *out = smaller_blocks[i].to;
            return true;
        }
    return false;
}

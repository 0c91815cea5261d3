/* Quantized Hugging Face weights as ordinary tensors: see formats/hf_quantization.h. surgery finds the pairs
 * of tensors (weight and scale, blocks and scales) and replaces each pair by the tensor that is made here.
 * Both kinds have a source whose `read` function reads the rows of the two original tensors and combines
 * them, so nothing is dequantized before it is needed. */
#include "formats/hf_quantization.h"

#include <stdlib.h>
#include <string.h>

/* Makes a tensor with rank, shape and rows of `shape`. Its storage, of type `stored`, is what the source `s`
 * computes; its view has the type `as`. */
static Tensor over_source(Arena *a, const ByteSource *s, const char *name, DType stored, DType as,
                          const Tensor *shape) {
    Tensor t = *shape;
    TensorPart *part = arena_alloc(a, sizeof *part);
    *part = (TensorPart){.source = s, .n_rows = shape->n_rows};
    t.name = arena_strdup(a, name);
    t.storage_dtype = t.exact_dtype = stored;
    t.dtype = as;
    t.parts = part;
    t.n_parts = 1;
    return t;
}

/* Reports that the shapes of a pair do not belong together; always false. */
static bool misfit(const Tensor *t, const Tensor *of, Error *e) {
    char shape[SHAPE_TEXT];
    shape_text(t->rank, t->shape, shape);
    return error_set(e, ERR_INPUT, "tensor '%s': shape %s does not fit that of '%s'", t->name, shape,
                     of->name);
}

/* ---- block-scaled weights ---- */

/* The context of a block-scaled weight's source, which computes F32. */
typedef struct Scaled {
    ByteSource source;
    Tensor weight;                     /* (..., rows, columns), such as a stack of experts */
    uint64_t rows;                     /* of one matrix of the weight */
    uint64_t block_rows, block_cols;   /* elements of the weight that share a factor */
    uint64_t factor_rows, factor_cols; /* ceil(rows / block_rows), ceil(columns / block_cols) */
    const float *factors;              /* (..., factor_rows, factor_cols) */
} Scaled;

/* The factors of row `row`, counted over all matrices: one for each block of columns. */
static const float *factors_of_row(const Scaled *x, uint64_t row) {
    uint64_t matrix = row / x->rows, within = row % x->rows;
    return x->factors + (matrix * x->factor_rows + within / x->block_rows) * x->factor_cols;
}

/* Reads floats [offset / 4, (offset + n) / 4) of the dequantized weight. Each row is read and decoded as a
 * whole; the request may begin and end within a row. */
static bool read_scaled(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e) {
    const Scaled *x = s->context;
    const DTypeInfo *d = dtype_info(x->weight.dtype);
    uint64_t columns = x->weight.row_elems;
    float *row = big_alloc(columns, sizeof *row, s->path, e);
    uint8_t *stored = row ? big_alloc(columns, d->block_bytes, s->path, e) : NULL;
    bool ok = stored != NULL;
    for (uint64_t at = offset / sizeof *row, left = n / sizeof *row; ok && left;) {
        uint64_t first = at % columns, take = columns - first < left ? columns - first : left;
        /* Read and decode one row, multiply each element by the factor of its block of columns, and copy the
         * part that was asked for. */
        const float *factors = factors_of_row(x, at / columns);
        ok = tensor_read_rows(&x->weight, at / columns, 1, stored, e);
        if (ok) d->decode(stored, columns, row);
        for (uint64_t i = first; ok && i < first + take; i++)
            row[i] *= factors[i / x->block_cols];
        memcpy(out, row + first, take * sizeof *row);
        out = (float *)out + take;
        at += take;
        left -= take;
    }
    free(row);
    free(stored);
    return ok;
}

/* ceil(n / block), without overflow. */
static uint64_t blocks_in(uint64_t n, uint64_t block) {
    return n / block + (n % block != 0);
}

/* Finds which of the three forms of hf_quantization.h `scale` has, and fills the sizes. False if it has
 * none. */
static bool fit_blocks(Scaled *x, const Tensor *scale, uint64_t block_rows, uint64_t block_cols) {
    const Tensor *w = &x->weight;
    uint32_t leading = w->rank - 2;
    uint64_t columns = w->row_elems;
    x->rows = w->shape[leading];
    /* One factor for everything. */
    if (tensor_elems(scale) == 1 && w->n_rows) {
        x->rows = x->block_rows = w->n_rows; /* all matrices are treated as one with a single block */
        x->block_cols = columns;
        x->factor_rows = x->factor_cols = 1;
        return true;
    }
    /* The leading dimensions, such as experts, have to agree. */
    if (scale->rank < leading + 1 || scale->rank > w->rank ||
        memcmp(scale->shape, w->shape, leading * sizeof *w->shape) != 0)
        return false;
    x->factor_rows = scale->shape[leading];
    x->factor_cols = scale->rank == w->rank ? scale->shape[leading + 1] : 1;
    /* One factor for each row, or one for each block. */
    bool by_row = x->factor_rows == x->rows && x->factor_cols == 1;
    x->block_rows = by_row ? 1 : block_rows;
    x->block_cols = by_row ? columns : block_cols;
    return x->block_rows && x->block_cols && x->factor_rows == blocks_in(x->rows, x->block_rows) &&
           x->factor_cols == blocks_in(columns, x->block_cols);
}

/* The factors are decoded at once, because they are few: one for each block of the weight. */
bool hf_dequantized(Arena *a, const Tensor *weight, const Tensor *scale, uint64_t block_rows,
                    uint64_t block_cols, DType as, Tensor *out, Error *e) {
    Scaled *x = arena_alloc(a, sizeof *x);
    *x = (Scaled){.weight = *weight};
    if (weight->rank < 2 || !tensor_elems(weight) || !fit_blocks(x, scale, block_rows, block_cols))
        return misfit(scale, weight, e);
    float *factors = arena_alloc(a, tensor_elems(scale) * sizeof *factors);
    if (!tensor_read_f32(scale, factors, e)) return false;
    x->factors = factors;
    x->source = (ByteSource){.path = weight->name,
                             .size = tensor_elems(weight) * sizeof(float),
                             .read = read_scaled,
                             .context = x};
    *out = over_source(a, &x->source, weight->name, DTYPE_F32, as, weight);
    out->quantization = dtype_info(weight->dtype)->name;
    return true;
}

/* ---- MXFP4 ---- */

/* OCP Microscaling Formats 1.0: a block has 32 elements with one scale. In ggml the scale precedes the
 * codes. */
enum { MX_VALUES = 32, MX_CODES = MX_VALUES / 2, MX_BLOCK = 1 + MX_CODES };

/* The context of an MXFP4 tensor's source: `blocks` is [..., n_blocks, 16] with two codes in each byte,
 * `scales` is [..., n_blocks], one E8M0 byte for each block. */
typedef struct Mxfp4 {
    ByteSource source;
    Tensor blocks, scales;
} Mxfp4;

/* Changes the order of the 32 codes of a block. transformers stores neighbours in one byte, (2i, 2i + 1);
 * ggml stores value i in the low and value i + 16 in the high half of byte i. */
static void regroup(const uint8_t pairs[MX_CODES], uint8_t halves[MX_CODES]) {
    for (int i = 0; i < MX_CODES; i++) {
        int low = pairs[i / 2] >> i % 2 * 4 & 15, high = pairs[MX_CODES / 2 + i / 2] >> i % 2 * 4 & 15;
        halves[i] = (uint8_t)(low | high << 4);
    }
}

/* Builds rows of ggml blocks: a row has one row of `scales` and `per_row` rows of `blocks`. Readers ask for
 * whole rows, because blocks cannot be decoded in part. */
static bool read_mxfp4(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e) {
    const Mxfp4 *x = s->context;
    uint64_t per_row = x->scales.row_elems, row_bytes = per_row * MX_BLOCK;
    uint8_t *codes = big_alloc(per_row, MX_CODES, s->path, e), *p = out;
    uint8_t *scales = codes ? big_alloc(per_row, 1, s->path, e) : NULL;
    bool ok = scales != NULL;
    for (uint64_t row = offset / row_bytes, end = row + n / row_bytes; ok && row < end; row++) {
        ok = tensor_read_rows(&x->blocks, row * per_row, per_row, codes, e) &&
             tensor_read_rows(&x->scales, row, 1, scales, e);
        for (uint64_t i = 0; ok && i < per_row; i++, p += MX_BLOCK) {
            p[0] = scales[i];
            regroup(codes + i * MX_CODES, p + 1);
        }
    }
    free(codes);
    free(scales);
    return ok;
}

/* The result has the shape of `scales` with 32 elements for each of its last dimension, in ggml's type MXFP4,
 * whose bytes are a rearrangement of the original ones; so no value changes. */
bool hf_mxfp4_tensor(Arena *a, const char *name, const Tensor *blocks, const Tensor *scales, Tensor *out,
                     Error *e) {
    uint32_t rank = scales->rank;
    if (blocks->dtype != DTYPE_U8 || scales->dtype != DTYPE_U8 || rank < 2 || blocks->rank != rank + 1 ||
        blocks->shape[rank] != MX_CODES || !tensor_elems(scales) ||
        memcmp(blocks->shape, scales->shape, rank * sizeof *scales->shape) != 0)
        return misfit(scales, blocks, e);
    Mxfp4 *x = arena_alloc(a, sizeof *x);
    *x = (Mxfp4){.blocks = *blocks, .scales = *scales};
    Tensor shape = *scales;
    shape.row_elems = scales->row_elems * MX_VALUES;
    shape.shape[rank - 1] = shape.row_elems;
    x->source = (ByteSource){
        .path = blocks->name, .size = tensor_elems(scales) * MX_BLOCK, .read = read_mxfp4, .context = x};
    *out = over_source(a, &x->source, name, DTYPE_MXFP4, DTYPE_MXFP4, &shape);
    out->quantization = "mxfp4";
    return true;
}

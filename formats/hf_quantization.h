/* Dequantizes weights of Hugging Face checkpoints whose config.json has a quantization_config
 * (hf_quantization.c). Such a weight is stored as two tensors: the quantized values and their scales. The
 * functions below make one ordinary tensor of such a pair, whose rows are dequantized when they are read.
 * surgery/quantized.c knows which pairs a checkpoint has. */
#ifndef DEROPE_FORMATS_HF_QUANTIZATION_H
#define DEROPE_FORMATS_HF_QUANTIZATION_H

#include "formats/tensor.h"

/* Block-scaled weights (quant_method "fp8"): each block of block_rows x block_cols elements of `weight` is
 * multiplied by one factor of `scale`. Shapes: weight [..., rows, columns] of any type that has a decoder;
 * scale [..., ceil(rows / block_rows), ceil(columns / block_cols)]. Two other forms of `scale` are recognised
 * whatever the block size: a single element for the whole tensor, and [..., rows] or [..., rows, 1] for one
 * factor a row. The result has the name and shape of the weight, storage F32 and view type `as`. The factors
 * are read into `a` at once, the weights are not. ERR_INPUT if the shapes do not fit. */
bool hf_dequantized(Arena *a, const Tensor *weight, const Tensor *scale, uint64_t block_rows,
                    uint64_t block_cols, DType as, Tensor *out, Error *e);

/* MXFP4 as transformers stores it (quant_method "mxfp4"; OCP Microscaling Formats, section 5.2): `blocks` U8
 * [..., rows, n / 32, 16] holds 32 values of 4 bits in 16 bytes, byte i holding value 2i in its low half and
 * 2i + 1 in its high half; `scales` U8 [..., rows, n / 32] holds exponents with bias 127. The result `name`
 * is [..., rows, n] of DTYPE_MXFP4, which is ggml's order of the same codes and scales, so nothing is
 * rounded. ERR_INPUT if types or shapes do not fit. */
bool hf_mxfp4_tensor(Arena *a, const char *name, const Tensor *blocks, const Tensor *scales, Tensor *out,
                     Error *e);

#endif

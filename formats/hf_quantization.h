/* Weights that a checkpoint keeps in two tensors, small numbers and their scales, served as one plain tensor.
 * Nothing is unpacked but the rows that are asked for. */
#ifndef DEROPE_FORMATS_HF_QUANTIZATION_H
#define DEROPE_FORMATS_HF_QUANTIZATION_H

#include "formats/tensor.h"

/* `weight` [..., rows, columns] of any type that is decoded, times one factor for each block of block_rows x
 * block_cols of it: `scale` [..., rows / block_rows, columns / block_cols], rounded up. A scale of one
 * element is for all; [..., rows] or [..., rows, 1] is for each row, whatever the block. The result has the
 * weight's name and shape and serves `as`. The scales (not the weights) are decoded into the arena. */
bool hf_dequantized(Arena *a, const Tensor *weight, const Tensor *scale, uint64_t block_rows,
                    uint64_t block_cols, DType as, Tensor *out, Error *e);

/* MXFP4 as Hugging Face keeps it: `blocks` U8 [..., rows, n / 32, 16], byte i of which holds the values 2i
 * (low nibble) and 2i + 1, and `scales` U8 [..., rows, n / 32], exponents biased by 127. The result, called
 * `name`, is [..., rows, n] of DTYPE_MXFP4, ggml's blocks, with the same codes and scales. */
bool hf_mxfp4_tensor(Arena *a, const char *name, const Tensor *blocks, const Tensor *scales, Tensor *out,
                     Error *e);

#endif

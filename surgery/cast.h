/* Changes the element type of weights (cast.c). The pass `cast` uses it to change a model, and an export with
 * `--dtype` uses it to change a copy of the model's table of tensors. Nothing is converted here: only the
 * descriptions change, and rows are converted when a writer asks for them. */
#ifndef DEROPE_SURGERY_CAST_H
#define DEROPE_SURGERY_CAST_H

#include "surgery/model.h"

/* Sets the view type of `n` tensors to `to`. A block type (Q8_0, Q4_K, ...) is set only for matrices other
 * than the router; a plain type is set for every tensor whose role is known. Where the rows of a tensor are
 * not a whole number of blocks, the next smaller kind of block is taken, as llama.cpp does, or the tensor
 * stays as it is; both append a notice. Fails where `to` cannot be encoded (ERR_USAGE) or the stored type
 * cannot be decoded (ERR_INPUT). */
bool cast_tensors(ModelTensor *tensors, size_t n, DType to, json_t *notices, Error *e);

/* The same with a block type for each matrix: `choose` says which one. It is not called for tensors that stay
 * plain; those are vectors, biases, routers and matrices of one row. Where rows are not even whole blocks of
 * 32 elements, the tensor becomes F16, as llama-quantize makes it. */
bool cast_tensors_each(ModelTensor *tensors, size_t n,
                       DType (*choose)(const void *context, const ModelTensor *t), const void *context,
                       json_t *notices, Error *e);

#endif

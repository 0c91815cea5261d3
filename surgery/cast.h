/* Another element type for the weights. Used by the pass `cast`, which changes a model for good, and by an
 * export whose output has a type of its own (`--dtype`), which works on a copy of the model's tensor table.
 * Nothing is converted here: only the descriptions change, and rows are converted when a writer asks for
 * them. */
#ifndef DEROPE_SURGERY_CAST_H
#define DEROPE_SURGERY_CAST_H

#include "surgery/model.h"

/* Makes `n` tensors serve the type `to`. A type of blocks (Q8_0, Q4_K, ...) is given to matrices alone, and
 * not to the router's; a plain type to every tensor whose role is known. Where the rows of a tensor are not a
 * whole number of blocks, the next smaller kind of block is taken, as llama.cpp does, or the tensor stays as
 * it is; both append a notice. Fails where `to` cannot be encoded (ERR_USAGE) or the stored type cannot be
 * decoded (ERR_INPUT). */
bool cast_tensors(ModelTensor *tensors, size_t n, DType to, json_t *notices, Error *e);

#endif

/* One tensor of the model becomes one tensor of the output, or one for each expert, or a part of a fused one:
 * under the carrier's name, in its layout and type. Step 5 of the way described in surgery/export.h. */
#ifndef DEROPE_SURGERY_EXPORT_TENSORS_H
#define DEROPE_SURGERY_EXPORT_TENSORS_H

#include "surgery/export_state.h"

/* Adds `t` to the output as the tensor of that role (layer -1: outside the layers). Where the carrier fuses
 * several roles in one tensor, the whole is added with the first of them, and nothing with the others. */
bool export_add_tensor(Export *x, TensorRole role, int layer, Tensor t);
/* The model's tensor of a role in the type that this output has; NULL if there is none. */
const ModelTensor *export_find(const Export *x, TensorRole role, int layer);
/* The row of a table of names by which the output calls the tensor; NULL if the carrier has no such tensor.
 */
const TensorName *export_row(const Export *x, TensorRole role, int layer);
/* The type of a tensor in a safetensors file, which has no types of blocks: `t` where it can be. */
DType export_hf_dtype(DType t);
/* Whether an output by carrier `c` has attention sinks: the model's, or neutral ones that the carrier needs.
 */
bool export_writes_sinks(const Model *m, const Carrier *c);

/* The types of a checkpoint's matrices. */
typedef struct MatrixTypes {
    DType first; /* of the first matrix; DTYPE_F32 if there is none */
    bool cast;   /* some matrix is served in another type than it is stored in */
} MatrixTypes;

MatrixTypes matrix_types(const Checkpoint *c);
/* Those that an HF output of the same model, by the carrier `hf`, would have: the export is one to GGUF. */
MatrixTypes matrix_types_in_hf(const Export *x, const Carrier *hf);

#endif

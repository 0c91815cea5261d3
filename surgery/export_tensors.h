/* Writes the tensors of a model into an output, under the carrier's names and in its layout and types
 * (export_tensors.c). This is step 5 of an export as surgery/export.h describes it. A tensor of the model may
 * become one tensor of the output, one for each expert, or a part of a fused tensor. */
#ifndef DEROPE_SURGERY_EXPORT_TENSORS_H
#define DEROPE_SURGERY_EXPORT_TENSORS_H

#include "surgery/export_state.h"

/* Adds `t` to the output as the tensor of a role; `layer` is -1 for tensors outside the layers. If the
 * carrier fuses several roles into one tensor, the call for the first role adds the fused tensor and the
 * calls for the other roles add nothing. ERR_FAILED if the carrier has no tensor for the role. */
bool export_add_tensor(Export *x, TensorRole role, int layer, Tensor t);
/* The model's tensor of a role in the type that this output has; NULL if there is none. */
const ModelTensor *export_find(const Export *x, TensorRole role, int layer);
/* The table row with the names that the tensor has in the output; NULL if the carrier has no such tensor. */
const TensorName *export_row(const Export *x, TensorRole role, int layer);
/* The type in which a tensor of type `t` is written to a safetensors file: `t` itself if safetensors has it.
 * Block types, which it does not have, become F32, except that MXFP4 becomes BF16. */
DType export_hf_dtype(DType t);
/* True if an output of carrier `c` has attention sinks: either those of the model, or neutral ones if the
 * carrier's architecture requires sinks. */
bool export_writes_sinks(const Model *m, const Carrier *c);

/* GGUF: true if the output has a copy of the embedding as output.weight, because the carrier's architecture
 * does not share the two. */
bool export_repeats_head(const Export *x);

/* A summary of the types of all matrices (tensors of rank 2), from which the dtype of a config.json is
 * chosen. */
typedef struct MatrixTypes {
    DType first; /* of the first matrix; DTYPE_F32 if there is none */
    bool cast;   /* the view type of some matrix differs from its storage type */
} MatrixTypes;

/* The types of the matrices of `c`. */
MatrixTypes matrix_types(const Checkpoint *c);
/* For an export to GGUF: the types that the matrices would have in a Hugging Face folder of the same model,
 * written by the carrier `hf`. */
MatrixTypes matrix_types_in_hf(const Export *x, const Carrier *hf);

#endif

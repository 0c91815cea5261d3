/* The weights of a checkpoint whose config.json has a quantization_config.
 *
 * Of two kinds the packed weights are read as plain ones: "fp8" (quant_method "fp8" in blocks or whole, and
 * compressed-tensors' "float-quantized") and "mxfp4" (GPT-OSS). Where the checkpoint has
 *   X and X_scale_inv or X_scale     a model sees X, of the configuration's dtype (bf16 if it says none)
 *   X_blocks and X_scales            a model sees X, of DTYPE_MXFP4
 * X of an mxfp4 checkpoint is [experts, out, in] (gate_up_proj: [experts, 2 * ffn, hidden]), as
 * llama.cpp has it, while an unpacked GPT-OSS checkpoint has X transposed, [experts, in, out].
 * Everything else of the kinds (activation scales) is left out. Other kinds are carried as they are. */
#ifndef DEROPE_SURGERY_QUANTIZED_H
#define DEROPE_SURGERY_QUANTIZED_H

#include "surgery/model.h"

/* Sets m->weights and, for one of the two kinds, m->view, which the model owns; for another kind
 * m->quantized_config. False with an ERR_INPUT that names the tensor. */
bool quantized_open(Model *m, Error *e);
/* The kind's name for messages: "gptq". */
const char *quantized_kind(const Model *m);
/* True if no packed weight was changed since: then an HF output may carry them as they are. */
bool quantized_untouched(const Model *m);
/* Adds the source's packed weights and their scales to `out`. */
void quantized_carry(const Model *m, Checkpoint *out);

#endif

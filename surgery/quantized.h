/* Checkpoints whose config.json has a quantization_config: their weights are quantized, with scales in
 * tensors of their own. Two kinds are supported: "fp8" (quant_method "fp8", in blocks or with one scale, and
 * compressed-tensors' "float-quantized") and "mxfp4" (GPT-OSS). They are read through a view of the
 * checkpoint in which each quantized weight is one ordinary tensor:
 *
 *   the checkpoint has              the view has
 *   X and X_scale_inv or X_scale    X of the configuration's dtype (BF16 if it states none)
 *   X_blocks and X_scales           X of DTYPE_MXFP4, [experts, out, in]
 *   scales of activations           nothing, because activations are not quantized here
 *   any other tensor                the same tensor
 *
 * The mxfp4 tensor gate_up_proj is [experts, 2 * ffn_dim, hidden_size], as in llama.cpp. The unquantized
 * checkpoints of GPT-OSS store the transpose, [experts, in, out].
 *
 * No weight is dequantized before its rows are read (formats/hf_quantization.h). Weights of all other kinds
 * (GPTQ, AWQ, bitsandbytes) can be copied, but a model that has them can be neither run nor converted. */
#ifndef DEROPE_SURGERY_QUANTIZED_H
#define DEROPE_SURGERY_QUANTIZED_H

#include "formats/checkpoint.h"

/* Makes the view of `source` for its config.json `config`. `*view` becomes NULL where nothing is packed, or
 * packed in a way that is not read, which sets `*unreadable`; the caller closes it, also on failure. Appends
 * to `notices` how many weights are packed. False with an ERR_INPUT that names a tensor without scales, or
 * one whose scales do not fit. */
bool quantized_view(const Checkpoint *source, const json_t *config, json_t *notices, Checkpoint **view,
                    bool *unreadable, Error *e);
/* The quant_method of a config.json, for messages: "gptq". */
const char *quantized_kind(const json_t *config);

#endif

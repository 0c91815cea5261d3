/* Checkpoints whose config.json has a quantization_config: weights that are packed in small numbers, with
 * scales in tensors of their own. Two kinds are read, "fp8" (quant_method "fp8", in blocks or whole, and
 * compressed-tensors' "float-quantized") and "mxfp4" (GPT-OSS), by a view in which the packed weights are
 * plain tensors:
 *
 *   the checkpoint has              the view has
 *   X and X_scale_inv or X_scale    X of the configuration's dtype (BF16 if it states none)
 *   X_blocks and X_scales           X of DTYPE_MXFP4, [experts, out, in] (gate_up_proj: [experts, 2 * ffn,
 * hidden]) as in llama.cpp; GPT-OSS's unpacked checkpoints have X as [experts, in, out] scales of activations
 * nothing: activations are not rounded here anything else                   the same
 *
 * No weight is unpacked before its rows are asked for (formats/hf_quantization.h). Weights of all other kinds
 * (GPTQ, AWQ, bitsandbytes) can be copied, but neither run nor converted. */
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

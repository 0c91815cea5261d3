/* The GGUF keys in which travels what GGUF has no place for, so that HF -> GGUF -> HF loses nothing. Written
 * by export.c, read by model.c. */
#ifndef DEROPE_SURGERY_DEROPE_KEYS_H
#define DEROPE_SURGERY_DEROPE_KEYS_H

#define DEROPE_CONFIG "derope.config.json" /* string: config.json, verbatim where no pass changed it */
#define DEROPE_FILE_PREFIX                                                                                   \
    "derope.file."                    /* + name: a side file, verbatim; a string, or u8 array if no text */
#define DEROPE_DTYPES "derope.dtypes" /* string: JSON object, HF tensor name -> type before widening */
#define DEROPE_ST_METADATA "derope.safetensors.metadata" /* string: JSON object, __metadata__ */
#define DEROPE_TENSOR_PREFIX "derope.tensor." /* + HF name: u8 array, a tensor llama.cpp would refuse */
#define DEROPE_TENSORS "derope.tensors" /* string: JSON object, HF name -> {"dtype", "shape"} of those */

#endif

/* GGUF keys for parts of a Hugging Face folder that the GGUF format does not cover. With them, a folder that
 * is converted to a GGUF and back loses nothing. llama.cpp ignores keys that it does not know. Written by
 * export_gguf.c, export_tensors.c and export_other.c; read by model_open.c, export_hf.c and export_other.c.
 * The manifest's key is in formats/file_names.h. */
#ifndef DEROPE_SURGERY_DEROPE_KEYS_H
#define DEROPE_SURGERY_DEROPE_KEYS_H

/* String: the config.json of the folder, or the one that an HF output of the same model would have. */
#define DEROPE_CONFIG "derope.config.json"
/* Prefix, followed by a file name: a side file, byte for byte. A string if it is text, else an array of
 * u8. */
#define DEROPE_FILE_PREFIX "derope.file."
/* String: JSON object, HF tensor name -> the type that the tensor had before it was widened to F32. */
#define DEROPE_DTYPES "derope.dtypes"
/* String: JSON object, the __metadata__ of the safetensors files. */
#define DEROPE_ST_METADATA "derope.safetensors.metadata"
/* Prefix, followed by an HF tensor name: array of u8, the bytes of a tensor that cannot be a tensor of the
 * GGUF because llama.cpp refuses files with tensors that it does not know. */
#define DEROPE_TENSOR_PREFIX "derope.tensor."
/* String: JSON object, HF tensor name -> {"dtype": "F32", "shape": [2, 3]}, for each tensor that is stored
 * under DEROPE_TENSOR_PREFIX. */
#define DEROPE_TENSORS "derope.tensors"

#endif

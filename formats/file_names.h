/* The names of files and keys that several parts of the program look for or write, each said once. Constants
 * only. They are macros so that they can be joined to other string literals. */
#ifndef DEROPE_FORMATS_FILE_NAMES_H
#define DEROPE_FORMATS_FILE_NAMES_H

/* A Hugging Face folder, as transformers reads and writes it. */
#define CONFIG_FILE "config.json"            /* the hyper-parameters of the model */
#define SAFETENSORS_FILE "model.safetensors" /* all weights in one file */
#define PYTORCH_FILE "pytorch_model.bin"     /* all weights in one file of torch.save */
#define INDEX_ENDING ".index.json"           /* after either of the two: which shard holds which tensor */
#define TOKENIZER_FILE "tokenizer.json"      /* of the tokenizers library */
#define TOKENIZER_CONFIG_FILE "tokenizer_config.json" /* special tokens, chat template */
#define SENTENCEPIECE_FILE "tokenizer.model"          /* SentencePiece's protobuf message */

/* The manifest of an output: what was made from what, with a hash of each tensor (surgery/manifest.c). */
#define MANIFEST_FILE "derope.json"    /* beside the weights in a Hugging Face folder */
#define MANIFEST_KEY "derope.manifest" /* the same text as a string in a GGUF */

#endif

/* Names of files and keys that more than one part of the program reads or writes. Each name is defined only
 * here. The names are macros instead of constants so that they can be concatenated with string literals. */
#ifndef DEROPE_FORMATS_FILE_NAMES_H
#define DEROPE_FORMATS_FILE_NAMES_H

/* A Hugging Face folder, as transformers reads and writes it. */
#define CONFIG_FILE "config.json"            /* the hyper-parameters of the model */
#define SAFETENSORS_FILE "model.safetensors" /* all weights in one file */
#define PYTORCH_FILE "pytorch_model.bin"     /* all weights in one file, written by torch.save */
#define INDEX_ENDING ".index.json" /* appended to either weight file's name: maps tensors to shards */
#define ADAPTER_CONFIG_FILE "adapter_config.json"     /* of an adapter (LoRA), which is no model by itself */
#define README_FILE "README.md"                       /* the model card */
#define TOKENIZER_FILE "tokenizer.json"               /* the format of Hugging Face's tokenizers library */
#define TOKENIZER_CONFIG_FILE "tokenizer_config.json" /* special tokens, chat template */
#define SENTENCEPIECE_FILE "tokenizer.model"          /* SentencePiece's protobuf message */
#define SPECIAL_TOKENS_FILE "special_tokens_map.json" /* the special tokens by name, of older folders */
#define ADDED_TOKENS_FILE "added_tokens.json"         /* added tokens with their ids, of older folders */
#define GENERATION_CONFIG_FILE "generation_config.json" /* how transformers samples, and with which ids */
#define VOCAB_FILE "vocab.json"                  /* with MERGES_FILE, of folders without tokenizer.json */
#define MERGES_FILE "merges.txt"                 /* a merge of byte pair encoding on each line */
#define CHAT_TEMPLATE_FILE "chat_template.jinja" /* the default chat template */
#define CHAT_TEMPLATES_FOLDER "additional_chat_templates" /* the others, as NAME.jinja */
#define CHAT_TEMPLATE_JSON_FILE "chat_template.json"      /* the same as JSON, of multimodal models */

/* The manifest of an output records its source files, the passes that were applied and a hash of each tensor
 * (surgery/manifest.c). */
#define MANIFEST_FILE "derope.json"    /* beside the weights in a Hugging Face folder */
#define MANIFEST_KEY "derope.manifest" /* the same text as a string in a GGUF */

#endif

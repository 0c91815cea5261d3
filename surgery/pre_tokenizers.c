/* How text is cut before byte-level BPE: the names llama.cpp has for it, and the expressions that HF writes
 * in tokenizer.json. One row a way of cutting. */
#include "surgery/tokenizer_meta.h"

const PreTokenizer pre_tokenizers[] = {
    {.gguf = "gpt-2"},
    {.gguf = "smollm", .digits = true},
    {.gguf = "llama-bpe",
     .pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*"
                "[\\r\\n]+|\\s+(?!\\S)|\\s+",
     .ignore_merges = true},
    {.gguf = "qwen2",
     .pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
                "\\s+(?!\\S)|\\s+",
     .nfc = true},
    {0},
};

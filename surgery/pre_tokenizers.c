/* How text is cut before byte-level BPE: the names llama.cpp has for it, and the expressions that HF writes
 * in tokenizer.json. One row a way of cutting. */
#include "surgery/tokenizer_meta.h"

static const char llama3_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char qwen2_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                                    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char tekken_pattern[] =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"
    "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* The first row of several alike is the one that is written; the others are read. */
const PreTokenizer pre_tokenizers[] = {
    {.gguf = "gpt-2"},
    {.gguf = "phi-2"},
    {.gguf = "smollm", .digits = true},
    {.gguf = "refact", .digits = true}, /* Granite */
    {.gguf = "starcoder", .digits = true},
    {.gguf = "command-r", .digits = true},
    {.gguf = "llama-bpe", .pattern = llama3_pattern, .ignore_merges = true, .adds_bos = true},
    {.gguf = "llama3", .pattern = llama3_pattern, .ignore_merges = true, .adds_bos = true},
    {.gguf = "llama-v3", .pattern = llama3_pattern, .ignore_merges = true, .adds_bos = true},
    {.gguf = "smaug-bpe", .pattern = llama3_pattern},
    {.gguf = "qwen2", .pattern = qwen2_pattern, .nfc = true},
    {.gguf = "deepseek-r1-qwen", .pattern = qwen2_pattern, .nfc = true},
    {.gguf = "tekken", .pattern = tekken_pattern, .ignore_merges = true, .adds_bos = true}, /* Mistral Nemo */
    {0},
};

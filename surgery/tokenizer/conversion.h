/* What the conversions between HF files and GGUF keys have in common: what they know about the model whose
 * tokenizer they convert, notices for the user, and the table of special tokens.
 *
 *   hf_to_gguf.h             tokenizer.json or tokenizer.model -> tokenizer.ggml.* keys
 *   sentencepiece_to_gguf.h  tokenizer.model -> keys
 *   gguf_to_hf.h             keys -> tokenizer.json and the files beside it */
#ifndef DEROPE_SURGERY_TOKENIZER_CONVERSION_H
#define DEROPE_SURGERY_TOKENIZER_CONVERSION_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* The model that a converted tokenizer is for. */
typedef struct ConversionTarget {
    size_t vocab_size;    /* rows of the model's embedding; the vocabulary is filled up to it */
    uint64_t context;     /* context length, written as model_max_length */
    const json_t *config; /* its config.json, for the ids of special tokens */
    json_t *notices;      /* array that texts for the user are appended to */
} ConversionTarget;

/* Appends a text that says what a user should know about the conversion. */
void conversion_notice(const ConversionTarget *to, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A special token and what the files call it. */
typedef struct SpecialTokenRole {
    const char *name;       /* in tokenizer_config.json and special_tokens_map.json */
    const char *config_key; /* its id in config.json */
    const char *gguf_key;   /* its id in a GGUF */
} SpecialTokenRole;

enum { N_SPECIAL_ROLES = 4 };
/* BOS, EOS, unknown, padding. */
extern const SpecialTokenRole special_token_roles[N_SPECIAL_ROLES];

#endif

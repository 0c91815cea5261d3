/* What the conversions between tokenizer formats share: the table of special tokens, by which both directions
 * go, and notices. */
#include "surgery/tokenizer/conversion.h"

#include <stdarg.h>
#include <stdio.h>

#include "formats/json.h"

/* The names of one special token in tokenizer_config.json, in config.json, and in a GGUF. */
const SpecialTokenRole special_token_roles[N_SPECIAL_ROLES] = {
    {"bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id"},
    {"eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id"},
    {"unk_token", "unk_token_id", "tokenizer.ggml.unknown_token_id"},
    {"pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id"},
};

/* Appends a notice to those of the export, cut at 600 bytes. */
void conversion_notice(const ConversionTarget *to, const char *fmt, ...) {
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    /* The cut at 600 bytes may fall inside a UTF-8 character, which json_text repairs. */
    json_array_append_new(to->notices, json_text(text));
}

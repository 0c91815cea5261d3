/* GPT-2's byte-level alphabet: each of the 256 bytes is written as one printable character, so that any text
 * can be spelled with a vocabulary of printable tokens. Bytes that are printable in Latin-1 stand for
 * themselves, the other 68 are written as U+0100 and following (a space is "Ġ", U+0120). See bytes_to_unicode
 * in GPT-2's encoder.py. */
#ifndef DEROPE_SURGERY_TOKENIZER_BYTE_LEVEL_H
#define DEROPE_SURGERY_TOKENIZER_BYTE_LEVEL_H

#include "formats/buffer.h"

/* The character of a byte as UTF-8: one or two bytes and a NUL. */
void byte_to_printable(uint8_t byte, char out[3]);
/* Appends the characters of `n` bytes. */
void append_printable(Buffer *out, const char *bytes, size_t n);
/* The byte that a character stands for; -1 if it is not in the alphabet. */
int printable_to_byte(uint32_t code_point);

#endif

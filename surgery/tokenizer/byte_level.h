/* GPT-2's byte-level alphabet: each of the 256 bytes is written as one printable character, so that a
 * vocabulary of printable tokens can encode any text. A byte that is printable in Latin-1 is written as the
 * character with the same code point. The other 68 bytes are written as U+0100 and following; a space, for
 * example, is "Ġ" (U+0120). See bytes_to_unicode in GPT-2's encoder.py. */
#ifndef DEROPE_SURGERY_TOKENIZER_BYTE_LEVEL_H
#define DEROPE_SURGERY_TOKENIZER_BYTE_LEVEL_H

#include "formats/buffer.h"

/* Writes the character that stands for `byte` to `out`, as one or two bytes of UTF-8 and a terminating
 * zero. */
void byte_to_printable(uint8_t byte, char out[3]);
/* Appends the characters that stand for `n` bytes to `out`, as UTF-8. */
void append_printable(Buffer *out, const char *bytes, size_t n);
/* The byte that a character stands for; -1 if it is not in the alphabet. */
int printable_to_byte(uint32_t code_point);

#endif

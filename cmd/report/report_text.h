/* Text for reports: strings of results escaped for the format they go into, and numbers the way people read
 * them.
 *
 * Strings of results are names of models, tasks and files, commands and the like, and are treated as hostile.
 * Whatever is in them, what comes out of a text_* function is plain text in its format: no tag, no attribute,
 * no formula, no link, no key. Invalid UTF-8 becomes U+FFFD. */
#ifndef DEROPE_CMD_REPORT_REPORT_TEXT_H
#define DEROPE_CMD_REPORT_REPORT_TEXT_H

#include "formats/buffer.h"

/* Appends a string of our own (markup) unescaped. */
void text_put(Buffer *out, const char *s);

/* For the text of an element, and for attribute values in double quotes. Characters that XML 1.0 does not
 * allow, and those that change the direction of the text after them, become U+FFFD. */
void text_xml(const char *s, Buffer *out);
/* One field of a CSV (RFC 4180). A field that begins with = + - @ tab or CR gets an apostrophe in front,
 * because spreadsheets would run it as a formula. */
void text_csv(const char *s, Buffer *out);
/* For the middle of a line or a cell of a Markdown table: no markup, no link, no new line. */
void text_markdown(const char *s, Buffer *out);
/* A fenced code block, whose fence is longer than any run of backticks in `s`. */
void text_markdown_block(const char *s, Buffer *out);
/* A YAML scalar that versions 1.1 and 1.2 both read as this string: quoted unless it is harmless ("no", the
 * code of Norwegian, is a boolean in YAML 1.1). */
void text_yaml(const char *s, Buffer *out);

/* Columns that the text takes in a monospaced terminal: wide characters (Chinese and others) take two. */
size_t text_width(const char *s);
/* The string itself, or as much of it as fits `columns` with an ellipsis. */
const char *text_clip(Arena *a, const char *s, size_t columns);

/* Numbers as text, in the arena. */
const char *text_count(Arena *a, double n);     /* whole, with narrow spaces: 400 000 */
const char *text_large(Arena *a, double n);     /* rounded: 1.2 million */
const char *text_value(Arena *a, double v);     /* four digits: 2.280, 17.88, 339.3 */
const char *text_share(Arena *a, double v);     /* a share in percent, without the sign: 0.953 is 95 */
const char *text_seconds(Arena *a, double s);   /* a duration: 2 min 3 s */
const char *text_times(Arena *a, double ratio); /* a ratio, with the multiplication sign: 8x */

#endif

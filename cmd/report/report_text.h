/* Strings from results, escaped for where they go, and numbers as people read them. */
#ifndef DEROPE_CMD_REPORT_REPORT_TEXT_H
#define DEROPE_CMD_REPORT_REPORT_TEXT_H

#include "formats/buffer.h"

/* Appends a trusted string as it is. */
void put(Buffer *out, const char *s);

/* For element text and for attributes in double quotes. What XML cannot hold, and what turns the direction of
 * the text around it, becomes U+FFFD. */
void text_xml(const char *s, Buffer *out);
/* One field; a leading = + - @ tab or CR gets an apostrophe before it, or spreadsheets would run it. */
void text_csv(const char *s, Buffer *out);
/* In the middle of a line or in a table's cell: neither markup nor a link nor a new line comes out of it. */
void text_markdown(const char *s, Buffer *out);
/* A fenced block that no run of backticks in `s` can end. */
void text_markdown_block(const char *s, Buffer *out);
/* Plain where YAML 1.1 and 1.2 both read a string, in double quotes otherwise ("no" is a language). */
void text_yaml(const char *s, Buffer *out);

size_t text_width(const char *s); /* in columns; wide characters take two */
/* `s`, or as much of it as fits `columns` with an ellipsis. */
const char *text_clip(Arena *a, const char *s, size_t columns);

const char *text_count(Arena *a, double n);     /* 400 000 (narrow spaces) */
const char *text_large(Arena *a, double n);     /* 1.2 million */
const char *text_value(Arena *a, double v);     /* four digits: 2.280, 17.88, 339.3 */
const char *text_share(Arena *a, double v);     /* 0.953 as 95 */
const char *text_seconds(Arena *a, double s);   /* 2 min 3 s */
const char *text_times(Arena *a, double ratio); /* 8x with a real sign */

#endif

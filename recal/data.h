/* Text from files, folders, JSONL (a field), gzip and zstd, as tokens. */
#ifndef DEROPE_RECAL_DATA_H
#define DEROPE_RECAL_DATA_H

#include <jansson.h>

#include "surgery/tokenizer/tokenizer.h"

/* Reads `path` (a file, or a folder walked in sorted order, hidden names left out; .jsonl: one object a
 * line, `field` ("text" if NULL) of it; .gz and .zst are unpacked) and calls `sink` with one document after
 * the other: files in parts, so that memory does not grow with them, the last part (maybe empty) with `end`.
 * Errors name file and line. A sink that returns false ends the reading. */
typedef bool (*TextSink)(void *context, const char *path, const char *text, size_t n, bool end, Error *e);
bool data_read(const char *path, const char *field, TextSink sink, void *context, Error *e);

/* The files that data_read would read, in its order, appended to a JSON array. */
bool data_list(const char *path, json_t *files, Error *e);

/* All documents of all paths, each encoded as a whole, as one packed stream, EOS between documents (if there
 * is one); empty documents count for nothing. Stops reading once `max_tokens` are there (0: all). */
bool data_pack(const Tokenizer *t, const char *const *paths, size_t n_paths, const char *field,
               uint64_t max_tokens, TokenList *out, Error *e);

#endif

/* Text for training and evaluation, from files and folders: plain text, JSONL (one field of each object), and
 * both compressed with gzip or zstd. */
#ifndef DEROPE_RECAL_TEXT_DATA_H
#define DEROPE_RECAL_TEXT_DATA_H

#include <jansson.h>

#include "surgery/tokenizer/tokenizer.h"

/* Receives documents in parts. `end` marks the last part of a document, which may be empty. `path` names the
 * file, with the line behind it for JSONL. Returning false ends the reading; text_data_read then returns
 * false as well, so a sink that had enough has to remember that it did. */
typedef bool (*TextSink)(void *context, const char *path, const char *text, size_t n, bool end, Error *e);
/* Reads the documents of `path` in order and hands them to `sink`. `path` is a file or a folder; a folder is
 * walked in sorted order without hidden names, at most 32 deep. A name that ends in .jsonl (.jsonl.gz,
 * .jsonl.zst) has one JSON object a line, each a document: its member `field` ("text" if NULL). Any other
 * file is one document. Files come in parts of at most 256 KB, so that memory does not grow with them; a line
 * of JSONL comes as a whole and may have up to 64 MB. Errors name file and line. */
bool text_data_read(const char *path, const char *field, TextSink sink, void *context, Error *e);

/* Appends the paths of the files that text_data_read would read, in the same order, to a JSON array. */
bool text_data_list(const char *path, json_t *files, Error *e);

/* Encodes all documents of all paths and appends them to `out` as one packed stream of tokens, with the
 * end-of-sequence token between documents if the tokenizer has one. Each document gets the tokens that it has
 * as a whole, although it is read in parts. Empty documents are left out. Reading stops once there are
 * `max_tokens` (0: no limit). */
bool text_data_pack(const Tokenizer *t, const char *const *paths, size_t n_paths, const char *field,
                    uint64_t max_tokens, TokenList *out, Error *e);

#endif

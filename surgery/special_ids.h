/* Ids of special tokens that lie beyond the vocabulary: somebody added a padding token and never enlarged the
 * embedding. No text can contain such a token, llama.cpp ignores its id, and transformers fails to load a
 * model with such a padding id. So outputs leave these ids out (special_ids.c). */
#ifndef DEROPE_SURGERY_SPECIAL_IDS_H
#define DEROPE_SURGERY_SPECIAL_IDS_H

#include "formats/checkpoint.h"

/* Sets each *_token_id of a config.json or generation_config.json (`name`, for the notice) that is `vocab` or
 * more to null, and takes such ids out of lists of ids. Appends a notice for each. */
void special_ids_limit_config(json_t *config, const char *name, uint32_t vocab, json_t *notices);

/* Removes the keys tokenizer.ggml.*_token_id of a GGUF whose value is `vocab` or more, with a notice for
 * each. */
void special_ids_limit_keys(Checkpoint *gguf, uint32_t vocab, json_t *notices);

#endif

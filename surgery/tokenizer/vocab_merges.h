/* Byte-level BPE in two files, vocab.json and merges.txt, as GPT-2 was published and as older folders of
 * Qwen 2, GPT-NeoX and others have it. The files hold vocabulary and merges alone; how text is cut and
 * normalised before is part of the class of transformers that tokenizer_config.json names. */
#ifndef DEROPE_SURGERY_TOKENIZER_VOCAB_MERGES_H
#define DEROPE_SURGERY_TOKENIZER_VOCAB_MERGES_H

#include "formats/checkpoint.h"

/* Whether the folder has both files. */
bool vocab_merges_are_there(const Checkpoint *c);

/* Reads both files as a new value in the form of a tokenizer.json, without added tokens and without
 * post_processor. `config` is tokenizer_config.json, an object; special tokens that the class has by default
 * are added to it. NULL with an ERR_INPUT if a file is damaged, or if derope does not know the class. */
json_t *vocab_merges_read(const Checkpoint *c, json_t *config, Error *e);

/* Sets the post_processor of `root`, whose added tokens are complete, to what add_bos_token and add_eos_token
 * of `config` ask for. */
void vocab_merges_add_special(json_t *root, const json_t *config);

#endif

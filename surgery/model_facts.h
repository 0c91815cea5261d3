/* What people say about a model and no weight shows: its name, licence, languages, tags, and how its texts
 * are to be sampled. A folder has these in README.md (the front matter of its model card) and in
 * generation_config.json, a GGUF in the keys general.*; this file takes them from one to the other, with the
 * keys of llama.cpp's converter (gguf-py/gguf/metadata.py). */
#ifndef DEROPE_SURGERY_MODEL_FACTS_H
#define DEROPE_SURGERY_MODEL_FACTS_H

#include "formats/checkpoint.h"

/* The facts of a folder's card or of a GGUF's keys, as a new object of texts and lists of texts with the
 * names of a card: license, license_name, license_link, language[], tags[], base_model[]. Missing ones are
 * absent. A card that is not valid YAML gives an empty object and sets `*e`, for a notice: it is no reason to
 * fail. */
json_t *model_facts_read(const Checkpoint *c, Error *e);

/* Writes the facts of a folder as keys, also the sampling of generation_config.json. A card that cannot be
 * read gives a notice. */
void model_facts_to_gguf(const Checkpoint *folder, Checkpoint *gguf, json_t *notices);

/* Writes README.md and generation_config.json from the keys of a GGUF, unless `folder` has them or the keys
 * say nothing of them. `vocab` is the number of rows of the embedding; ids beyond it are left out. */
void model_facts_to_folder(const Checkpoint *gguf, uint64_t vocab, Checkpoint *folder);

#endif

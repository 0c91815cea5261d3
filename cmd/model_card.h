/* The model card: README.md and its pictures in an HF folder that derope wrote, from the results of an
 * evaluation. */
#ifndef DEROPE_CMD_MODEL_CARD_H
#define DEROPE_CMD_MODEL_CARD_H

#include <jansson.h>

#include "formats/error.h"

/* Whether `folder` is an HF folder with a manifest, in which files can be written; asked before the work. */
bool model_card_check(const char *folder, Error *e);
/* Writes the card about the model whose "path" in the results is `path`. From the existing card, which is
 * usually the source's, the front matter's licence, language, library, datasets and tags are taken over.
 * `base_model` is what the hub calls the source; NULL: config.json's _name_or_path, if that is a name of the
 * hub. The manifest lists the new files, so that `derope verify` checks them too. */
bool model_card_write(const char *folder, const char *path, const char *base_model, const json_t *results,
                      Error *e);
/* Whether the card in `folder` was written from exactly these. */
bool model_card_is_current(const char *folder, const char *path, const char *base_model,
                           const json_t *results);

#endif

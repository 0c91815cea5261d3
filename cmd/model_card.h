/* The model card: README.md and its pictures in an HF folder of ours, from what an evaluation found. */
#ifndef DEROPE_CMD_MODEL_CARD_H
#define DEROPE_CMD_MODEL_CARD_H

#include <jansson.h>

#include "formats/error.h"

/* Whether `folder` is an HF folder with a manifest that can be written to: asked before the work. */
bool card_check(const char *folder, Error *e);
/* Writes the card about the model that the results have under `path`. What the front matter of the card that
 * is there (the source's own, carried along) says of license, language, library, datasets and tags is taken
 * over. `base_model`: what the hub calls the source; NULL: as config.json's _name_or_path says, if that is a
 * hub's name. The manifest lists the files anew, so that `derope verify` holds them as well. */
bool card_write(const char *folder, const char *path, const char *base_model, const json_t *results,
                Error *e);
/* Whether the card that stands in `folder` was written from all of this. */
bool card_holds(const char *folder, const char *path, const char *base_model, const json_t *results);

#endif

/* Writes a model card from the results of an evaluation: README.md and its pictures, in an HF folder that
 * derope wrote. */
#ifndef DEROPE_CMD_MODEL_CARD_H
#define DEROPE_CMD_MODEL_CARD_H

#include <jansson.h>

#include "formats/error.h"

/* Checks that `folder` is an HF folder with a manifest, and that files can be written to it. Called before
 * the evaluation, so that a mistake is reported early. */
bool model_card_check(const char *folder, Error *e);
/* Writes the card of the model whose "path" in the results is `path`. Licence, language, library, datasets
 * and tags are copied from the front matter of the existing README.md, which is usually that of the source
 * model. `base_model` is the name of the source on the model hub; if it is NULL, _name_or_path of config.json
 * is used if it looks like such a name. The new files are added to the manifest, so that `derope verify`
 * checks them too. */
bool model_card_write(const char *folder, const char *path, const char *base_model, const json_t *results,
                      Error *e);
/* Whether the card in `folder` is up to date, that is, was written from exactly these arguments. */
bool model_card_is_current(const char *folder, const char *path, const char *base_model,
                           const json_t *results);

#endif

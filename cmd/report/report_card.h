/* The text of a model card: YAML front matter and Markdown, as the Hugging Face hub reads it. Which folder it
 * goes into is decided in cmd/model_card.h. */
#ifndef DEROPE_CMD_REPORT_REPORT_CARD_H
#define DEROPE_CMD_REPORT_REPORT_CARD_H

#include <jansson.h>

#include "formats/buffer.h"

/* Appends the card. `front` (may be NULL) has what goes into the front matter as it stands: base_model,
 * license, language, tags and other keys, with strings, numbers, booleans or arrays of these. Three keys are
 * added: the tag derope, "metrics", and a "model-index" with the numbers of the model that the card is about.
 *
 * Two keys of `front` are instructions and are not written: "model" (a name, or an index into "models") says
 * which model the card is about, "title" is the card's heading. Without "model" it is the first model that
 * passes changed, or the first of all; without "title" the model's name.
 *
 * The text shows the pictures perplexity.svg and needle.svg (report_picture.h) if there is something in them.
 */
void report_card(const json_t *results, const json_t *front, Buffer *out);

#endif

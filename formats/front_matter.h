/* The front matter of a model card: the YAML between two lines "---" at the start of a README.md, in which
 * the Hugging Face hub keeps licence, languages, tags and more (huggingface.co/docs/hub/model-cards). */
#ifndef DEROPE_FORMATS_FRONT_MATTER_H
#define DEROPE_FORMATS_FRONT_MATTER_H

#include <jansson.h>

#include "formats/checkpoint.h"

/* The members of the front matter whose value is a text, true or false, or a list of these, as a new object;
 * numbers are texts, null and nested values are left out. Empty if `card` is NULL or has no front matter.
 * NULL with an ERR_INPUT "front matter of README.md:LINE:COLUMN: ..." if it is not valid YAML. The time is
 * linear in the size, of which 4 MiB at most are read; aliases are left out. */
json_t *front_matter_read(const SideFile *card, Error *e);

/* Appends front matter with these members, texts or lists of texts, to `out`. Every text is quoted, because
 * YAML takes many plain words ("no", "1.0") for something else. */
void front_matter_print(const json_t *members, Buffer *out);

#endif

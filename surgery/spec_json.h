/* The spec as JSON. */
#ifndef DEROPE_SURGERY_SPEC_JSON_H
#define DEROPE_SURGERY_SPEC_JSON_H

#include <jansson.h>

#include "surgery/spec.h"

/* What `inspect --json` prints as .spec: the sizes of the model, and an object for each of its layers. The
 * manifest, the resume state and the tests read it too. New reference. */
json_t *spec_to_json(const ModelSpec *s);

#endif

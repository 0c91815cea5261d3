/* The registry of carriers, and the choice among them. surgery/carrier.h explains what a carrier is; each is
 * defined in a file of this folder, and the functions in carriers.c. */
#ifndef DEROPE_SURGERY_CARRIERS_CARRIERS_H
#define DEROPE_SURGERY_CARRIERS_CARRIERS_H

#include "surgery/carrier.h"

/* All carriers of both formats, NULL-terminated, in order of preference. */
extern const Carrier *const carriers[];

/* The carrier of a format by its name; NULL if there is none. */
const Carrier *carrier_by_name(Format format, const char *name);

/* The first carrier of the format that can express the model, or the one called `name` if that is given. On
 * failure NULL, and the error lists every carrier of the format with its reason. If `explain` is not NULL it
 * becomes a JSON array with an object {"carrier", "can", "why", "runtimes"} for each carrier of the format.
 */
const Carrier *carrier_pick(const Model *m, Format format, const char *name, json_t **explain, Error *e);

/* The carriers that are preferred to `chosen`, each with the reason why it could not: {"own": "has no windows
 * per layer"}. New reference. */
json_t *carrier_because(const Model *m, const Carrier *chosen);

/* ---- what a carrier means for a model of a certain family ---- */

/* The architecture that a GGUF is written as (general.architecture). */
const char *carrier_arch(const Carrier *c, const Model *m);
/* Whether rows of q and k are interleaved. */
bool carrier_is_interleaved(const Carrier *c, const Model *m);
/* Whether an output projection without a bias gets one of zeros where q, k and v have biases. */
bool carrier_needs_o_bias(const Carrier *c, const Model *m);
/* The first release of a runtime that runs a result as intended, as Carrier.since has it. `f` is the family
 * of the source, or of the result as it is read again. NULL: no stock runtime. */
const char *carrier_since(const Carrier *c, const Family *f);
/* Which runtimes run a checkpoint (surgery/runtimes.h: [{"runtime", "runs", "why"}]), by the carrier that its
 * manifest names and the family that it is read as. `carrier` NULL or unknown: the family's own class or
 * architecture. `f` NULL: it cannot be read as a model. New reference. */
json_t *carrier_runtimes_of(const Checkpoint *c, const char *carrier, const Family *f);
/* The first release in words, with the carrier's caveat: "transformers from 4.53". */
void carrier_runtimes(const Carrier *c, const Family *f, char *out, size_t size);

#endif

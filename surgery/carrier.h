/* A carrier: a stock architecture, and the metadata of it, that expresses a spec in one format. Adding one is
 * a file in surgery/carriers/ and a line in the table of surgery/carriers/carriers.c, which is in order of
 * preference: the plainest first. */
#ifndef DEROPE_SURGERY_CARRIER_H
#define DEROPE_SURGERY_CARRIER_H

#include "surgery/model.h"

typedef struct Carrier {
    const char *name; /* "llama", "smollm3", "granite_swa": what --carrier takes */
    Format format;
    const char *runtimes; /* "transformers >= 4.53" : who runs it as intended */
    /* True if it can say what `m->spec` says; else the reason in `why` ("has no per-layer rotation"). */
    bool (*can)(const Model *m, char *why, size_t why_size);
    /* Fills `out` (empty, of the right format): tensors under the carrier's names and layout, configuration
     * or metadata. Files common to all (tokenizer, derope keys) are added by model_export. */
    bool (*write)(Model *m, Checkpoint *out, Error *e);
} Carrier;

/* NULL-terminated, in order of preference. */
extern const Carrier *const carriers[];

/* The first that can, or `name` if given. On failure the error lists every carrier of the format with its
 * reason. If `explain` is not NULL it becomes a JSON array [{"carrier", "can", "why", "runtimes"}]. */
const Carrier *carrier_pick(const Model *m, Format format, const char *name, json_t **explain, Error *e);

#endif

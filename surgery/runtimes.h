/* Which stock runtimes run a checkpoint. The registry has the releases that the tests hold our outputs
 * against (tests/peers/); families and carriers have the first release that knows their architecture. `derope
 * verify`, `derope inspect`, the manifest and the tables in the documentation all ask here. */
#ifndef DEROPE_SURGERY_RUNTIMES_H
#define DEROPE_SURGERY_RUNTIMES_H

#include "formats/checkpoint.h"

typedef struct Runtime {
    const char *name;    /* "transformers 4.56" */
    Format format;       /* what it reads: FORMAT_HF or FORMAT_GGUF */
    const char *version; /* "4.56"; llama.cpp, which numbers every commit, goes by the month: "2026-10" */
    /* transformers 4 knows only the legacy keys rope_theta and rope_scaling, not rope_parameters. */
    bool legacy_rope_only;
} Runtime;

/* Ends with a NULL name. */
extern const Runtime runtimes[];

/* True if `r` runs the checkpoint as intended; otherwise `why` receives the reason as the end of the sentence
 * "no, it ..." ("is too old: ..."). `since` is the first release with the architecture, as Carrier.since has
 * it; NULL: no stock runtime has it. What is checked beside the release: that the runtime reads the format,
 * that the keys it knows say all there is to say, that a GGUF has a tokenizer, and what the runtime does with
 * this configuration and these types (surgery/runtime_checks.h). */
bool runtime_runs(const Runtime *r, const Checkpoint *c, const char *since, char *why, size_t why_size);
/* Calls runtime_runs for every runtime of the registry: [{"runtime", "runs", "why"}]. New reference. */
json_t *runtimes_of(const Checkpoint *c, const char *since);
/* The first release in words: "transformers from 4.53", "llama.cpp from May 2025"; "no stock runtime" for
 * NULL. */
void runtime_since_text(Format format, const char *since, char *out, size_t size);

#endif

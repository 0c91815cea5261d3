/* The manifest of an output: what was made of what, by which tool, and what happened to every tensor. It lies
 * beside the weights of an HF folder as derope.json, and in a GGUF as the key derope.manifest. `derope
 * verify` checks an output against it, `inspect` prints it, and `run` finds out by it which outputs are done.
 *
 * Its members:
 *   derope                  the tool's version
 *   carrier, carrier_says, runtimes   the stock architecture, how it says what it carries, and who runs it
 *   carrier_because         {carrier: why it could not} for those that would have been preferred
 *   sources                 [{file, bytes, xxh3_128}]
 *   passes, notices         what was applied, with arguments; what a person should know
 *   layers                  [{position, window, rope}]: what the output must still say when it is read again
 *   files or keys_xxh3_128  hashes of what is no tensor
 *   tensors                 [{name, dtype, shape, status, xxh3_128}], where status is a TensorStatus
 * The same source and arguments give the same manifest: it has no times and no paths. */
#ifndef DEROPE_SURGERY_MANIFEST_H
#define DEROPE_SURGERY_MANIFEST_H

#include "surgery/export.h"

/* Builds the manifest of `out`, which model_export made and whose tensors have their hashes. `sources` is
 * from manifest_sources; the members of `extra` (tokens seen, losses, recipe; may be NULL) are added to it.
 * New reference. */
json_t *manifest_build(const Model *m, const ExportReport *report, const Checkpoint *out,
                       const json_t *sources, const json_t *extra);
/* Name, size and XXH3-128 of every file the source was read from, which are read whole for it. New reference.
 */
json_t *manifest_sources(const Model *m);
/* For each layer {"position", "window", "rope"}. New reference. */
json_t *manifest_layers(const ModelSpec *s);
/* Hash of a GGUF's keys, types and values in their order, the manifest's own key left out. */
void manifest_keys_hash(const Checkpoint *c, char out[33]);
/* The manifest that a checkpoint of ours carries. New reference; NULL without an error if it has none. */
json_t *manifest_read(const Checkpoint *c, Error *e);

#endif

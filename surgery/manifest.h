/* The manifest of an output records from which source it was made, by which version of the tool, and what was
 * done to every tensor (manifest.c). In a Hugging Face folder it is the file derope.json, in a GGUF the key
 * derope.manifest. `derope verify` checks an output against it, `inspect` prints it, and `run` uses it to
 * find finished outputs.
 *
 * Its members:
 *   derope                  the tool's version
 *   carrier                 the stock architecture that the output is written as
 *   carrier_says            which of its keys express the model
 *   runtimes                which runtimes run the output
 *   carrier_because         {carrier: reason} why each carrier that is preferred to it was not chosen
 *   sources                 [{file, bytes, xxh3_128}]
 *   passes                  the passes that were applied, with their arguments
 *   notices                 what a user should know about the output
 *   layers                  [{position, window, rope}], which `verify` compares with the output as read
 *   files or keys_xxh3_128  hashes of the other files of a folder, or of the keys of a GGUF
 *   weights                 [{file, bytes}], of a folder: the files that hold the tensors
 *   tensors                 [{name, dtype, shape, status, xxh3_128}], where status is a TensorStatus
 *
 * Only files that "files" and "weights" list are replaced when a folder is written again
 * (formats/owned_files.h).
 *
 * The manifest has no times and no paths, so the same source and arguments always give the same manifest. */
#ifndef DEROPE_SURGERY_MANIFEST_H
#define DEROPE_SURGERY_MANIFEST_H

#include "surgery/export.h"

/* Builds the manifest of `out`, which model_export made and whose tensors have their hashes. `sources` is
 * from manifest_sources; the members of `extra` (tokens seen, losses, recipe; may be NULL) are added to it.
 * New reference. */
json_t *manifest_build(const Model *m, const ExportReport *report, const Checkpoint *out,
                       const json_t *sources, const json_t *extra);
/* Name, size and XXH3-128 of every file that the source was read from. Reads these files completely, to hash
 * them. New reference. */
json_t *manifest_sources(const Model *m);
/* An array with an object {"position", "window", "rope"} for each layer. New reference. */
json_t *manifest_layers(const ModelSpec *s);
/* The hash of the keys, types and values of a GGUF, in their order. The key of the manifest is left out. */
void manifest_keys_hash(const Checkpoint *c, char out[33]);
/* The manifest of a checkpoint that derope has written. New reference; NULL without an error if it has
 * none. */
json_t *manifest_read(const Checkpoint *c, Error *e);

#endif

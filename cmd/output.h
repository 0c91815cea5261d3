/* Writing a model: what convert, recal and run do once the surgery is done, and what plan describes. The
 * carrier (the stock architecture that the model is written as) is chosen by surgery/export.h; the file
 * formats are formats/gguf_write.h and formats/hf_write.h. */
#ifndef DEROPE_CMD_OUTPUT_H
#define DEROPE_CMD_OUTPUT_H

#include "surgery/export.h"
#include "surgery/model.h"

/* What to write and where, filled by flags or by an entry of a recipe's `outputs` (cmd/output_options.h).
 * Texts are borrowed. Start from {0}. */
typedef struct OutputRequest {
    const char *path; /* NAME.gguf is a GGUF, NAME.zip a zip of an HF folder, anything else an HF folder */
    /* Type of the weights: a plain one, such as "bf16", or in a GGUF a mix (surgery/quant_mix.h); NULL: as in
     * the source. */
    const char *dtype;
    bool pure;           /* every matrix gets the base type of the mix */
    const char *carrier; /* name of the carrier; NULL: the first of the table that can express the model */
    /* Largest safetensors file of an HF folder in bytes; 0: the writer's default. */
    uint64_t max_shard_size;
    bool force; /* replace what is there */
    /* Write values that the dtype cannot hold (too large, or NaN in a type of blocks) instead of failing. */
    bool allow_nonfinite;
    const json_t *extra; /* members for the manifest; may be NULL */
    size_t notices_told; /* how many of the model's notices were printed with an earlier output of it, and are
                            not repeated */
} OutputRequest;

/* Whether the output of that name is a folder: neither a .gguf nor a .zip. */
bool folder_of_path(const char *path);
/* What output_write would refuse about type, carrier and place, before the work whose result it writes. */
bool output_check(const Model *m, const OutputRequest *r, Error *e);
/* The export that output_write writes and `plan` describes, so that what is promised is what is done. The
 * report's notices include what concerns the command line alone; the caller frees it with export_report_free.
 */
Checkpoint *output_export(const Model *m, const OutputRequest *r, ExportReport *report, Error *e);
/* Exports, writes with its manifest, and prints the notices. */
bool output_write(const Model *m, const OutputRequest *r, Error *e);
/* Whether a depfile may be written to `path`, which is no target and no input; for asking before the work. */
bool depfile_check(const char *path, const char *const *targets, size_t n_targets, const Checkpoint *source,
                   const json_t *more, Error *e);
/* A make rule "targets: inputs". The inputs are every file that the model was read from, and `more` (an array
 * of paths; may be NULL). */
bool depfile_write(const char *path, const char *const *targets, size_t n_targets, const Checkpoint *source,
                   const json_t *more, Error *e);

/* Replacing `path` removes what is there: that must be neither the source nor hold it, --force or not. */
bool output_spares_source(const Checkpoint *source, const char *path, Error *e);
/* Whether two paths lead to one file. */
bool same_file(const char *a, const char *b);

#endif

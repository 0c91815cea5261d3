/* Writing a model: what convert, recal and run do once the surgery is done. */
#ifndef DEROPE_CMD_OUTPUT_H
#define DEROPE_CMD_OUTPUT_H

#include "surgery/export.h"
#include "surgery/model.h"

typedef struct OutputRequest {
    const char *path;    /* *.gguf is GGUF, anything else an HF folder, *.zip one in a zip */
    const char *dtype;   /* NULL: as in the source */
    const char *carrier; /* NULL: the plainest that can */
    uint64_t max_shard_size;
    bool force;          /* replace what is there */
    const json_t *extra; /* members for the manifest; may be NULL */
    size_t notices_told; /* so many of the model's notices were printed with an earlier output of it */
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

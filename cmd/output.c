/* Writes a model, or describes what would be written, for convert, recal, run and plan (output.h). The
 * format follows from the name of the output. surgery/export.h chooses the carrier and makes a checkpoint
 * of views over the source's data; formats/gguf_write.h and formats/hf_write.h write it; the manifest is
 * made by surgery/manifest.c while they do. The second half of the file writes depfiles, the make rules of
 * --depfile. */
#include "cmd/output.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/cmd.h"
#include "formats/checkpoint.h"
#include "formats/gguf_write.h"
#include "formats/hf_write.h"
#include "formats/json.h"
#include "formats/output.h"
#include "formats/text.h"
#include "surgery/carriers/carriers.h"
#include "surgery/export.h"
#include "surgery/export_check.h"
#include "surgery/manifest.h"
#include "surgery/notices.h"
#include "surgery/pass.h"
#include "surgery/quant_mix.h"

/* The format that a path's name asks for: GGUF for NAME.gguf, HF for anything else, a .zip included. ".gguf"
 * alone is a name without an ending, so it is an HF folder. */
static Format format_of_path(const char *path) {
    return strlen(path) > 5 && text_ends_with(path, ".gguf") ? FORMAT_GGUF : FORMAT_HF;
}

bool folder_of_path(const char *path) {
    return format_of_path(path) == FORMAT_HF && !hf_is_zip(path);
}

/* What print_manifest needs when the writer calls it. The writers do so twice: before the tensors, for the
 * manifest's length, and after them, when the hashes of the tensors are known (formats/write_options.h). */
typedef struct ManifestContext {
    /* The model after surgery. */
    const Model *m;
    const ExportReport *report; /* carrier, notices and what was converted */
    json_t *sources;            /* the source's files with their hashes, owned */
    const json_t *extra;        /* further members, as in OutputRequest; may be NULL */
    bool compact;               /* on one line, for a GGUF key; otherwise indented, for derope.json */
} ManifestContext;

/* WriteOptions.manifest: appends the text of the manifest. `out` is the checkpoint that is being written. */
static bool print_manifest(void *context, const Checkpoint *out, Buffer *text, Error *e) {
    (void)e;
    const ManifestContext *c = context;
    json_t *manifest = manifest_build(c->m, c->report, out, c->sources, c->extra);
    json_print(manifest, c->compact ? 0 : 2, text);
    json_decref(manifest);
    return true;
}

/* What check_output needs when the writer calls it. */
typedef struct CheckContext {
    const Model *m; /* after surgery */
    const Carrier *carrier;
    const Checkpoint *out; /* what was written */
    const char *path;      /* where it will be */
} CheckContext;

/* WriteOptions.check: reads the output, which is at `temp`, and compares it with what was asked. */
static bool check_output(void *context, const char *temp, Error *e) {
    const CheckContext *c = context;
    return export_check(c->m, c->carrier, c->out, temp, e) || error_place(e, "%s", c->path);
}

/* WriteOptions.progress: shows how much of the output is written; sizes are in bytes, `context` is the path
 * of the output. */
static void show_progress(void *context, uint64_t done, uint64_t total) {
    cmd_progress("writing %s: %.0f of %.0f MB", (const char *)context, (double)done / 1e6,
                 (double)total / 1e6);
}

/* Prints the notices of one output. The list begins with the model's own notices, of which the first
 * r->notices_told were printed with an earlier output of the same model and are skipped. */
static void print_notices(const Model *m, const OutputRequest *r, const json_t *notices) {
    size_t of_model = json_array_size(m->notices);
    for (size_t i = 0; i < json_array_size(notices); i++)
        if (i >= of_model || i >= r->notices_told)
            cmd_note("%s", json_string_value(json_array_get(notices, i)));
}

/* Replacing an output removes a file or a whole folder, so none of the source's files may be it or lie in it.
 * Both paths are resolved first, so that symbolic links are seen through. A path that does not exist yet
 * replaces nothing. */
bool output_spares_source(const Checkpoint *source, const char *path, Error *e) {
    char out[PATH_MAX], in[PATH_MAX];
    if (!realpath(path, out)) return true;
    size_t n = strlen(out);
    for (const Mapping *f = source->mappings; f; f = f->next)
        if (realpath(f->source.path, in) && strncmp(in, out, n) == 0 && (in[n] == 0 || in[n] == '/'))
            return cmd_usage(e, "%s: the source is there (%s), and a source is never written to", path,
                             f->source.path);
    return true;
}

/* Sets the error for a dtype that cannot be written and returns false. It lists the dtypes that can be
 * chosen: those of a safetensors file if `holder` is FORMAT_HF, all of them otherwise. */
static bool refuse_dtype(const char *dtype, Format holder, Error *e) {
    Buffer names = {0};
    dtype_list_names(false, &names);
    if (holder == FORMAT_GGUF) {
        buffer_printf(&names, " or, in a GGUF, ");
        quant_mix_list_names(&names);
    }
    cmd_usage(e,
              holder == FORMAT_HF ? "dtype %.40s: a safetensors file cannot hold it; choose one of %s"
                                  : "dtype '%.40s': expected %s",
              dtype, buffer_string(&names));
    buffer_free(&names);
    return false;
}

/* Looks up a dtype: a plain type, or for a GGUF a mix, whose base is the type of most tensors. */
static bool find_dtype(const OutputRequest *r, ExportOptions *o, Error *e) {
    o->mix = quant_mix_find(r->dtype);
    o->pure = r->pure;
    if (o->mix) o->dtype = o->mix->base;
    /* First whether derope can write the dtype at all, then whether this format can hold it. */
    if (!o->mix && (!dtype_from_name(r->dtype, &o->dtype) || !dtype_info(o->dtype)->encode))
        return refuse_dtype(r->dtype, FORMAT_GGUF, e);
    return o->format == FORMAT_GGUF || !o->mix || refuse_dtype(r->dtype, FORMAT_HF, e);
}

/* Translates a request into the options of model_export. Refuses an unknown dtype, one without an encoder or
 * one that the format cannot hold, and a shard size for a GGUF, with ERR_USAGE. */
static bool output_options(const OutputRequest *r, ExportOptions *o, Error *e) {
    *o = (ExportOptions){.format = format_of_path(r->path),
                         .carrier = r->carrier,
                         .has_dtype = r->dtype != NULL,
                         .allow_nonfinite = r->allow_nonfinite};
    if (r->dtype && !find_dtype(r, o, e)) return false;
    if (r->pure && !o->mix)
        return cmd_usage(
            e, "pure: it is about the types of a GGUF in blocks; name one as dtype, such as q4_k_m");
    return !r->max_shard_size || o->format == FORMAT_HF ||
           cmd_usage(e, "max_shard_size: a GGUF is one file; leave it out, or name a folder");
}

bool output_check(const Model *m, const OutputRequest *r, Error *e) {
    ExportOptions o;
    return output_options(r, &o, e) && carrier_pick(m, o.format, o.carrier, NULL, e) &&
           output_spares_source(m->source, r->path, e);
}

/* Adds a notice if the surgery changed the position encoding of some layer but not the stated context length.
 * Dropping the rotation is done to read longer texts, and runtimes limit texts to the stated context. The
 * notice is inserted after the model's own, so that print_notices shows it with each output. */
static void note_context(const Model *m, json_t *notices) {
    if (m->new_context || json_array_size(m->passes) == 0) return;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].position != m->source_spec.layers[i].position) {
            json_array_insert_new(
                notices, json_array_size(m->notices),
                json_sprintf("the stated context stays %u tokens; --set-context N states another",
                             m->spec.context));
            return;
        }
}

Checkpoint *output_export(const Model *m, const OutputRequest *r, ExportReport *report, Error *e) {
    ExportOptions o;
    *report = (ExportReport){0};
    if (!output_options(r, &o, e)) return NULL;
    Checkpoint *out = model_export(m, &o, report, e);
    if (!out) return NULL;
    note_context(m, report->notices);
    /* Weights that the source packs in 8 or 4 bits grow to fp32; the notice says how to halve that. */
    if (report->dequantized)
        notice_add(report->notices, "quantised weights were written as f32; --dtype bf16 halves the output");
    return out;
}

/* Prints a note for each tensor with values that are not finite, by the numbers that the writer counted.
 * Where the output was refused because values would have been lost, the tensors that were not reached are
 * counted here, so that all of them are named at once. */
static void note_nonfinite(Checkpoint *out, bool written) {
    enum { MOST = 20 }; /* notes; the rest are one number */
    size_t told = 0, more = 0;
    bool refused = false;
    for (size_t i = 0; i < out->n_tensors && !cmd_stop; i++) {
        Tensor *t = &out->tensors[i];
        Buffer words = {0};
        if (refused) {
            t->allow_nonfinite = true;
            t->nonfinite = (NonFinite){0};
            tensor_count_nonfinite(t, &t->nonfinite, NULL);
        }
        nonfinite_text(&t->nonfinite, t->dtype, &words);
        /* The tensor that was refused is in the error message. */
        bool in_error = !written && !refused && nonfinite_is_loss(&t->nonfinite);
        bool tells = words.size && !in_error && (written || refused);
        if (tells && told++ < MOST)
            cmd_note("tensor '%s': %s", t->name, buffer_string(&words));
        else if (tells)
            more++;
        refused |= in_error;
        buffer_free(&words);
    }
    if (more) cmd_note("%zu more tensors have values that are not finite or too large", more);
}

/* The manifest needs the hashes of the source's files, which takes as long as reading them once, so they are
 * computed only when the export has succeeded. */
bool output_write(const Model *m, const OutputRequest *r, Error *e) {
    ExportReport report = {0};
    if (!output_spares_source(m->source, r->path, e)) return false;
    Checkpoint *out = output_export(m, r, &report, e);
    /* The export describes the output; its tensors are read and converted only while they are written. */
    bool ok = out != NULL, gguf = format_of_path(r->path) == FORMAT_GGUF;
    ManifestContext context = {.m = m, .report = &report, .extra = r->extra, .compact = gguf};
    CheckContext check = {.m = m, .carrier = report.carrier, .out = out, .path = r->path};
    WriteOptions w = {.force = r->force,
                      .max_shard_size = r->max_shard_size,
                      .manifest = print_manifest,
                      .manifest_context = &context,
                      .check = check_output,
                      .check_context = &check,
                      .progress = show_progress,
                      .progress_context = (void *)r->path,
                      .stop = &cmd_stop};
    if (ok) {
        context.sources = manifest_sources(m);
        ok = gguf ? gguf_write(out, r->path, &w, e) : hf_write(out, r->path, &w, e);
        cmd_progress_end();
    }
    if (ok) print_notices(m, r, report.notices);
    if (out) note_nonfinite(out, ok);
    json_decref(context.sources);
    checkpoint_close(out);
    export_report_free(&report);
    return ok;
}

/* ---- depfile ---- */

/* Appends a path as make reads it in a rule: a backslash before each character of `escaped`, which are
 * separators, comments or wildcards there, and two dollar signs for one. */
static void put_path(Buffer *b, const char *path, const char *escaped) {
    for (; *path; path++) {
        if (strchr(escaped, *path)) buffer_byte(b, '\\');
        if (*path == '$') buffer_byte(b, '$');
        buffer_byte(b, (uint8_t)*path);
    }
}

/* What has to be escaped in targets and in inputs; "%" makes a pattern rule only as a target. */
static const char escaped_left[] = " #:*?[%", escaped_right[] = " #:*?[";

/* Appends an input to the rule, and to `phony` a rule without commands for it, so that make rebuilds instead
 * of stopping when the input has vanished (gcc -MP does the same). */
static void put_input(Buffer *rule, Buffer *phony, const char *path) {
    buffer_append(rule, " \\\n  ", 5);
    put_path(rule, path, escaped_right);
    put_path(phony, path, escaped_left);
    buffer_append(phony, ":\n", 2);
}

/* Equal names need no file; otherwise device and inode tell whether two paths lead to one file. */
bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return strcmp(a, b) == 0 ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

bool depfile_check(const char *path, const char *const *targets, size_t n_targets, const Checkpoint *source,
                   const json_t *more, Error *e) {
    size_t i;
    json_t *file;
    /* A rule must not depend on itself or replace what make reads. */
    for (i = 0; i < n_targets; i++)
        if (same_file(path, targets[i])) return cmd_usage(e, "--depfile: %s is an output itself", path);
    json_array_foreach(more, i, file) {
        if (same_file(path, json_string_value(file)))
            return cmd_usage(e, "--depfile: %s is read from, and cannot be written to", path);
    }
    return output_spares_source(source, path, e) && output_may_begin(path, false, true, e);
}

bool depfile_write(const char *path, const char *const *targets, size_t n_targets, const Checkpoint *source,
                   const json_t *more, Error *e) {
    /* `rule` is "targets: inputs"; `phony` gets an empty rule for each input, and follows it. */
    Buffer rule = {0}, phony = {0};
    const char *last = "";
    size_t i;
    json_t *file;
    for (i = 0; i < n_targets; i++) {
        if (i) buffer_byte(&rule, ' ');
        put_path(&rule, targets[i], escaped_left);
    }
    buffer_byte(&rule, ':');
    /* Inputs: the files that the source was read from, then `more`. */
    for (const Mapping *f = source->mappings; f; f = f->next) {
        if (strcmp(f->source.path, last) != 0) put_input(&rule, &phony, f->source.path);
        last = f->source.path; /* all entries of a zip have the path of the zip, which is listed once */
    }
    json_array_foreach(more, i, file) put_input(&rule, &phony, json_string_value(file));
    buffer_byte(&rule, '\n');
    buffer_append(&rule, phony.data, phony.size);
    /* An earlier depfile is replaced without --force, as compilers do. */
    bool ok = file_write(path, rule.data, rule.size, true, e);
    buffer_free(&rule);
    buffer_free(&phony);
    return ok;
}

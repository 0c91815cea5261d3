/* derope verify: compares an output with the manifest that was written with it (surgery/manifest.c), and says
 * which stock runtimes run it (surgery/runtimes.h). It checks three things: that tensors, files and keys are
 * byte for byte those that were written; that nothing was added; and that derope, reading the output like any
 * other checkpoint, finds the positions in each layer that the surgery asked for. */
#include <math.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "formats/checkpoint_open.h"
#include "formats/file_names.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "formats/text.h"
#include "surgery/carriers/carriers.h"
#include "surgery/derope_keys.h"
#include "surgery/manifest.h"
#include "surgery/model_open.h"
#include "surgery/runtimes.h"

/* What was found. Every problem is one line for people and one string in the JSON. */
typedef struct Report {
    /* The output that is checked, borrowed. */
    const Checkpoint *c;
    json_t *manifest;     /* what derope.json or the GGUF key derope.manifest holds */
    json_t *problems;     /* array of texts, empty if all is well */
    const Family *family; /* of the output as it is read again; NULL: it cannot be read */
    size_t n_tensors;     /* number of tensors whose dtype, shape and hash are those of the manifest */
} Report;

/* Adds a problem to the report. Names come from files and may hold any bytes, so the text is cut to 700 bytes
 * and made valid UTF-8. */
static void problem(Report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void problem(Report *r, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    char text[700];
    vsnprintf(text, sizeof text, fmt, ap);
    json_array_append_new(r->problems, json_text(text));
    va_end(ap);
}

/* Returns the manifest of a checkpoint, new reference. A checkpoint without one was not written by derope, or
 * lost it, so there is nothing to verify: NULL with ERR_INPUT. */
static json_t *read_manifest(const Checkpoint *c, Error *e) {
    json_t *manifest = manifest_read(c, e);
    if (!manifest && e->code == ERR_NONE)
        error_set(e, ERR_INPUT, "%s: has no manifest (%s): derope did not write it, or it was changed since",
                  c->path, c->format == FORMAT_GGUF ? "the key " MANIFEST_KEY : MANIFEST_FILE);
    if (manifest && !json_is_array(json_object_get(manifest, "tensors"))) {
        error_set(e, ERR_INPUT, "%s: the manifest lists no tensors", c->path);
        json_decref(manifest);
        return NULL;
    }
    return manifest;
}

/* ---- tensors, files, keys ---- */

/* Whether a tensor has the shape that the manifest lists. Both are in the file's order, outermost dimension
 * first. */
static bool same_shape(const Tensor *t, const json_t *shape) {
    if (json_array_size(shape) != t->rank) return false;
    for (uint32_t i = 0; i < t->rank; i++)
        if (json_integer_value(json_array_get(shape, i)) != (json_int_t)t->shape[i]) return false;
    return true;
}

/* Checks the tensor that one row of the manifest lists. Dtype and shape are compared before the hash, because
 * they say more about what happened. Returns false only if the file cannot be read; a difference is a problem
 * in the report. */
static bool check_tensor(Report *r, const json_t *row, Error *e) {
    const char *name = json_get_string(row, "name"), *dtype = json_get_string(row, "dtype");
    const char *promised = json_get_string(row, "xxh3_128");
    const Tensor *t = name ? checkpoint_find(r->c, name) : NULL;
    char hash[33];
    /* Only the first difference of a tensor is reported, as further ones usually follow from it. */
    if (!name || !dtype || !promised) {
        problem(r, "the manifest has a tensor without name, dtype or hash");
    } else if (!t) {
        problem(r, "tensor '%s' is missing", name);
    } else if (strcmp(dtype, dtype_info(t->dtype)->name) != 0) {
        problem(r, "tensor '%s' is %s, the manifest says %s", name, dtype_info(t->dtype)->name, dtype);
    } else if (!same_shape(t, json_object_get(row, "shape"))) {
        problem(r, "tensor '%s' has another shape than the manifest says", name);
    } else {
        if (!tensor_hash(t, hash, e)) return false;
        if (strcmp(hash, promised) == 0)
            r->n_tensors++;
        else
            problem(r, "tensor '%s' has hash %s, the manifest says %s", name, hash, promised);
    }
    return true;
}

/* Checks all tensors that the manifest lists. If the output has more of them than that, somebody added
 * one. */
static bool check_tensors(Report *r, Error *e) {
    const json_t *list = json_object_get(r->manifest, "tensors");
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        if (cmd_stop) return error_set(e, ERR_INTERRUPTED, "interrupted");
        cmd_progress("verifying tensor %zu of %zu", i + 1, n);
        if (!check_tensor(r, json_array_get(list, i), e)) return false;
    }
    if (r->c->n_tensors > n) problem(r, "%zu tensors are there, the manifest lists %zu", r->c->n_tensors, n);
    return true;
}

/* Checks the side files that the manifest of an HF folder lists. A Python file is a problem even if its hash
 * is right: derope writes none, and transformers runs such code with trust_remote_code. */
static void check_files(Report *r) {
    size_t i;
    json_t *row;
    /* Each listed file has to be there with its hash. */
    json_array_foreach(json_object_get(r->manifest, "files"), i, row) {
        const char *name = json_get_string(row, "file"), *promised = json_get_string(row, "xxh3_128");
        const SideFile *f = name ? checkpoint_file(r->c, name) : NULL;
        char hash[33];
        if (!f) {
            problem(r, "file %s is missing", name ? name : "(unnamed)");
            continue;
        }
        hash_bytes(f->bytes, f->size, hash);
        if (!promised || strcmp(hash, promised) != 0)
            problem(r, "file %s is not the one that was written", name);
    }
    /* Files that are code, whether the manifest lists them or not. */
    for (i = 0; i < r->c->n_files; i++) {
        const char *name = r->c->files[i].name;
        if (text_ends_with(name, ".py")) problem(r, "file %s is code nobody wrote here", name);
    }
}

/* Checks the keys of a GGUF, which one hash covers. The manifest is itself a key and is left out of the
 * hash. */
static void check_keys(Report *r) {
    char hash[33];
    const char *promised = json_get_string(r->manifest, "keys_xxh3_128");
    manifest_keys_hash(r->c, hash);
    if (!promised || strcmp(hash, promised) != 0)
        problem(r, "the GGUF's keys are not the ones that were written");
}

/* ---- what it says when it is read again ---- */

/* Whether two values are equal, numbers up to a relative difference of 1e-6. A GGUF stores settings as fp32,
 * which keeps about seven digits of a number. */
static bool close_enough(const json_t *a, const json_t *b) {
    if (!json_is_number(a) || !json_is_number(b)) return json_equal((json_t *)a, (json_t *)b);
    double x = json_number_value(a), y = json_number_value(b);
    return fabs(x - y) <= 1e-6 * fabs(x);
}

/* Whether two "rope" objects describe the same rotation, by the numbers that both HF and GGUF store. A member
 * that both lack is equal. */
static bool same_rope(const json_t *a, const json_t *b) {
    static const char *const keys[] = {"base", "rotary_dim", "scaling", "factor"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *x = json_object_get(a, keys[i]), *y = json_object_get(b, keys[i]);
        if ((x || y) && !(x && y && close_enough(x, y))) return false;
    }
    return true;
}

/* The sliding window of a layer in tokens, 0 for none. A window at least as long as the context hides no
 * token and counts as none. */
static json_int_t window_of(const json_t *layer, uint64_t context) {
    json_int_t w = json_integer_value(json_object_get(layer, "window"));
    return (uint64_t)w >= context ? 0 : w;
}

/* Whether two layers agree in position encoding, window and rotation. Layers without rotation have no "rope"
 * object on either side, which same_rope accepts. */
static bool same_layer(const json_t *a, const json_t *b, uint32_t context) {
    return json_equal(json_object_get(a, "position"), json_object_get(b, "position")) &&
           window_of(a, context) == window_of(b, context) &&
           same_rope(json_object_get(a, "rope"), json_object_get(b, "rope"));
}

/* Compares how position enters in each layer, as derope reads the output (`m`), with what the manifest
 * promises. Hashes show that the file is unchanged; this shows that it was written correctly, and so finds
 * errors of derope's own writers too. */
static void check_layers(Report *r, const Model *m) {
    const json_t *promised = json_object_get(r->manifest, "layers");
    json_t *read = manifest_layers(&m->spec);
    Buffer wrong = {0};
    /* Collect the numbers of all layers that differ, for one problem instead of many. */
    if (json_array_size(promised) != json_array_size(read))
        problem(r, "%zu layers are read, the manifest says %zu", json_array_size(read),
                json_array_size(promised));
    else
        for (size_t i = 0; i < json_array_size(read); i++)
            if (!same_layer(json_array_get(promised, i), json_array_get(read, i), m->spec.context))
                buffer_printf(&wrong, "%s%zu", wrong.size ? ", " : "", i);
    if (wrong.size)
        problem(r, "read again, other positions, windows or rotations than were written, in layers %s",
                buffer_string(&wrong));
    buffer_free(&wrong);
    json_decref(read);
}

/* Opens the output as a model and checks its layers. That it cannot be opened is a problem of the output, not
 * an error of verify. */
static void check_model(Report *r) {
    Error reason = {0};
    Model *m = model_open((Checkpoint *)r->c, &reason);
    if (m) {
        r->family = m->family;
        check_layers(r, m);
    } else {
        problem(r, "%s", reason.message);
    }
    model_close(m);
}

/* ---- the verb ---- */

/* Returns the report as JSON, new reference (its members are listed in the help text at the end of this
 * file). The runtimes are computed for the output as it was read again. */
static json_t *to_json(const Report *r) {
    const char *carrier = json_get_string(r->manifest, "carrier"),
               *by = json_get_string(r->manifest, "runtimes");
    return json_pack("{s:o, s:b, s:s, s:s, s:I, s:O, s:o}", "path", json_text(r->c->path), "ok",
                     json_array_size(r->problems) == 0, "carrier", carrier ? carrier : "", "carried_by",
                     by ? by : "", "tensors_verified", (json_int_t)r->n_tensors, "problems", r->problems,
                     "runtimes", carrier_runtimes_of(r->c, carrier, r->family));
}

/* Prints the report for people. */
static void print_text(const json_t *report) {
    size_t i;
    json_t *row;
    printf("%s\ncarrier    %s (%s)\ntensors    %lld as the manifest says\n", json_get_string(report, "path"),
           json_get_string(report, "carrier"), json_get_string(report, "carried_by"),
           (long long)json_integer_value(json_object_get(report, "tensors_verified")));
    /* Every tested runtime, with the reason if it does not run the output as intended. */
    json_array_foreach(json_object_get(report, "runtimes"), i, row) {
        const char *why = json_get_string(row, "why");
        printf("%-10s %s: %s%s\n", i ? "" : "runtimes", json_get_string(row, "runtime"),
               *why ? "no, it " : "runs it as intended", why);
    }
    json_array_foreach(json_object_get(report, "problems"), i, row)
        printf("problem: %s\n", json_string_value(row));
}

/* Checks an output and prints the report. Problems make the verb fail with ERR_FAILED (exit status 1), after
 * the report; ERR_INPUT means that there was nothing to check. */
static bool verify(Checkpoint *c, bool json, Error *e) {
    Report r = {.c = c, .manifest = read_manifest(c, e)};
    if (!r.manifest) return false;
    r.problems = json_array();
    bool ok = check_tensors(&r, e);
    cmd_progress_end();
    /* The rest cannot fail, only find problems. */
    if (ok) {
        check_files(&r);
        if (c->format == FORMAT_GGUF) check_keys(&r);
        check_model(&r);
        json_t *report = to_json(&r);
        if (json)
            cmd_print_json(report);
        else
            print_text(report);
        json_decref(report);
        /* The report is printed in any case; the exit status says whether all is well. */
        size_t n = json_array_size(r.problems);
        ok = n == 0 || error_set(e, ERR_FAILED, "%s: is not what its manifest promises (%zu problem%s)",
                                 c->path, n, n == 1 ? "" : "s");
    }
    json_decref(r.problems);
    json_decref(r.manifest);
    return ok;
}

/* The function of the verb (cmd/verb.h). */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    JsonArguments a = {.json = false};
    if (!command_line_parse(self, argc, argv, &a, operands_take, e)) return false;
    if (a.operands.n != 1) return cmd_usage(e, "one output is needed (derope verify --help)");
    /* Opening checks the container itself: sizes, offsets, and that tensors lie inside the file. */
    Checkpoint *c = checkpoint_open(a.operands.list[0], e);
    bool ok = c && verify(c, a.json, e);
    checkpoint_close(c);
    return ok;
}

const Verb verb_verify = {
    .name = "verify",
    .summary = "check an output against its manifest, and list the runtimes that can load it",
    .operands = "OUT",
    .about = "OUT is a folder, a .zip or a GGUF that derope wrote. Reads OUT and compares it with its "
             "manifest: the hash, type and shape of every tensor, every other file (HF) or key (GGUF), and "
             "the position encoding of every layer. The exit status is 0 if everything agrees, 1 if "
             "something differs, 3 if there is no manifest.\n\n--json prints .ok, .problems[], .carrier, "
             ".tensors_verified and .runtimes[] (runtime, runs, why).",
    .groups = json_arguments_groups,
    .examples = "  derope verify out.gguf && echo as promised\n",
    .run = run,
};

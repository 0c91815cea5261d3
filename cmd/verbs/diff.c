/* derope diff: what differs between two checkpoints, in tensors, settings and side files.
 *
 * Two checkpoints of the same format are compared as they are stored. A folder and a GGUF store the same
 * model under different names and with different row orders, so these two are opened as models and compared
 * under HF names and in HF layout; their settings are compared as specs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "formats/checkpoint_open.h"
#include "formats/file_names.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "surgery/derope_keys.h"
#include "surgery/family.h"
#include "surgery/model_open.h"
#include "surgery/spec_json.h"

enum {
    CHUNK = 1 << 18,  /* elements compared at a time */
    LONG_VALUE = 400, /* bytes; longer strings are shown as a hash */
};

/* ---- settings: both sides as one JSON object, then member by member ---- */

/* Replaces a value that is too long to show, or that JSON cannot hold, by a text with its length and hash,
 * which still tell whether two values are equal. `what` is its kind, "array" for example. */
static json_t *long_value(const char *what, const void *bytes, size_t n) {
    char hash[33];
    hash_bytes(bytes, n, hash);
    return json_sprintf("%s of %zu bytes, xxh3_128 %s", what, n, hash);
}

/* Converts a GGUF value to JSON. Arrays (a tokenizer's vocabulary, for instance), long strings and numbers
 * that JSON cannot hold (NaN, infinity) become hashes. The types are gguf_metadata_value_type of the GGUF
 * specification. */
static json_t *meta_to_json(const MetaEntry *m) {
    double number;
    MetaEntry as_array = *m;
    if (m->type == META_ARRAY) return long_value("array", m->bytes, m->size);
    if (m->type == META_STRING) {
        /* A GGUF string is a 64-bit length followed by that many bytes. */
        const char *s = (const char *)m->bytes + sizeof(uint64_t);
        size_t n = m->size - sizeof(uint64_t);
        json_t *text = n > LONG_VALUE ? NULL : json_stringn(s, n);
        return text ? text : long_value("string", s, n);
    }
    as_array.type = META_ARRAY; /* meta_array_f64 reads elements of arrays, so the value is passed as an array
                                   of one element */
    as_array.elem_type = m->type;
    as_array.count = 1;
    if (m->type == META_BOOL) return json_boolean(m->bytes[0]);
    if (!meta_array_f64(&as_array, 0, &number) || !isfinite(number))
        return long_value("number", m->bytes, m->size);
    /* Integers are shown without a fraction as long as a double holds them exactly. */
    bool whole = m->type != META_F32 && m->type != META_F64 && fabs(number) < 1e15;
    return whole ? json_integer((json_int_t)number) : json_real(number);
}

/* Returns all keys of a GGUF as one object, except the manifest, which tells how the file was made and not
 * what the model is. With `plain_arch` the architecture in front of a key becomes ARCH, so that
 * llama.block_count and granite.block_count are the same setting. */
static json_t *keys_to_json(const Checkpoint *c, bool plain_arch) {
    const char *arch = meta_string(c, "general.architecture", NULL);
    size_t n = arch ? strlen(arch) : 0;
    json_t *o = json_object();
    for (size_t i = 0; i < c->n_meta; i++) {
        const MetaEntry *m = &c->meta[i];
        bool of_arch = plain_arch && n && strncmp(m->key, arch, n) == 0 && m->key[n] == '.';
        if (strcmp(m->key, MANIFEST_KEY) == 0) continue;
        Buffer key = {0};
        buffer_printf(&key, "%s%s", of_arch ? "ARCH" : "", m->key + (of_arch ? n : 0));
        json_object_set_new(o, buffer_string(&key), meta_to_json(m));
        buffer_free(&key);
    }
    return o;
}

/* Whether two GGUFs state the same architecture; their keys are then compared under their full names. */
static bool same_arch(const Checkpoint *a, const Checkpoint *b) {
    const char *x = meta_string(a, "general.architecture", NULL),
               *y = meta_string(b, "general.architecture", NULL);
    return x && y && strcmp(x, y) == 0;
}

/* Returns the settings of checkpoint `c` as a JSON object, new reference: the keys of a GGUF, or config.json.
 * If the two formats differ (`by_format` is false), both sides give the spec of the model instead, which is
 * the same for all formats. A file that cannot be read gives an empty object. */
static json_t *settings_of(Checkpoint *c, const Checkpoint *other, bool by_format) {
    json_t *o = NULL;
    if (!by_format) {
        Model *m = model_open(c, NULL);
        if (m) o = spec_to_json(&m->spec);
        model_close(m);
    } else if (c->format == FORMAT_GGUF) {
        o = keys_to_json(c, !same_arch(c, other));
    } else {
        o = checkpoint_json(c, CONFIG_FILE, NULL);
    }
    return o ? o : json_object();
}

/* compare_members and compare_values call each other, because settings are nested. */
static void compare_values(const char *key, const json_t *a, const json_t *b, json_t *rows);

/* Compares two objects key by key, over the keys of either; `prefix` is the path to the objects, such as
 * "rope_scaling", and "" at the top. */
static void compare_members(const char *prefix, const json_t *a, const json_t *b, json_t *rows) {
    json_t *keys = json_copy((json_t *)a), *unused;
    const char *key;
    json_object_update_missing(keys, (json_t *)b);
    json_object_foreach(keys, key, unused) {
        Buffer path = {0};
        buffer_printf(&path, "%s%s%s", prefix, *prefix ? "." : "", key);
        compare_values(buffer_string(&path), json_object_get(a, key), json_object_get(b, key), rows);
        buffer_free(&path);
    }
    json_decref(keys);
}

/* Adds a row {"key", "a", "b"} for each value that differs. Objects, and arrays of equal length, are compared
 * member by member, so that a row names the place of the difference. "a" or "b" is missing where that side
 * has no such value. */
static void compare_values(const char *key, const json_t *a, const json_t *b, json_t *rows) {
    if (a && b && json_equal((json_t *)a, (json_t *)b)) return;
    if (json_is_object(a) && json_is_object(b)) {
        compare_members(key, a, b, rows);
    } else if (json_is_array(a) && json_is_array(b) && json_array_size(a) == json_array_size(b)) {
        for (size_t i = 0; i < json_array_size(a); i++) {
            Buffer path = {0};
            buffer_printf(&path, "%s[%zu]", key, i);
            compare_values(buffer_string(&path), json_array_get(a, i), json_array_get(b, i), rows);
            buffer_free(&path);
        }
    } else {
        json_t *row = json_pack("{s:s}", "key", key);
        if (a) json_object_set(row, "a", (json_t *)a);
        if (b) json_object_set(row, "b", (json_t *)b);
        json_array_append_new(rows, row);
    }
}

/* ---- side files ---- */

/* Compares the files beside the weights (tokenizer, templates) byte by byte and adds a row {"name", "status"}
 * for each that differs. The manifest is left out, because it differs between any two outputs. */
static void compare_files(const Checkpoint *a, const Checkpoint *b, json_t *rows) {
    for (size_t i = 0; i < a->n_files; i++) {
        const SideFile *x = &a->files[i], *y = checkpoint_file(b, x->name);
        if (strcmp(x->name, MANIFEST_FILE) == 0) continue;
        if (y && x->size == y->size && memcmp(x->bytes, y->bytes, x->size) == 0) continue;
        json_array_append_new(
            rows, json_pack("{s:o, s:s}", "name", json_text(x->name), "status", y ? "changed" : "only in a"));
    }
    for (size_t i = 0; i < b->n_files; i++)
        if (strcmp(b->files[i].name, MANIFEST_FILE) != 0 && !checkpoint_file(a, b->files[i].name))
            json_array_append_new(
                rows, json_pack("{s:o, s:s}", "name", json_text(b->files[i].name), "status", "only in b"));
}

/* ---- tensors ---- */

/* Returns the tensors of a model as a checkpoint with HF names and in HF layout; the caller closes it before
 * the model, whose data it refers to. Where HF stores several tensors in one (a fused q, k and v), the role
 * is added to the name to tell them apart. */
static Checkpoint *hf_view(const Model *m) {
    Checkpoint *view = checkpoint_new(FORMAT_HF);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const ModelTensor *from = &m->tensors[i];
        Tensor t = from->tensor;
        if (from->row && from->row->hf_fused)
            t.name = arena_printf(&view->arena, "%s (%s)", t.name, role_name(from->role));
        checkpoint_add_tensor(view, &t);
    }
    return view;
}

/* Computes the largest |a - b| over all elements of two tensors of the same shape, decoded to fp32 piece by
 * piece. The result is infinity if an element is NaN on one side only. */
static bool max_difference(const Tensor *a, const Tensor *b, double *out, Error *e) {
    /* A view of dtype fp32 decodes when its rows are read. */
    Tensor x = *a, y = *b;
    x.dtype = y.dtype = DTYPE_F32;
    x.allow_nonfinite = y.allow_nonfinite = true;
    /* Whole rows at a time, about CHUNK elements, so that memory does not grow with the tensor. */
    uint64_t cols = a->row_elems, step = cols && cols < CHUNK ? CHUNK / cols : 1;
    float *p = big_alloc(step * cols, sizeof *p, a->name, e),
          *q = p ? big_alloc(step * cols, sizeof *q, b->name, e) : NULL;
    bool ok = q != NULL;
    *out = 0;
    for (uint64_t i = 0; ok && i < a->n_rows; i += step) {
        uint64_t rows = a->n_rows - i < step ? a->n_rows - i : step;
        ok = tensor_read_rows(&x, i, rows, p, e) && tensor_read_rows(&y, i, rows, q, e);
        for (uint64_t k = 0; ok && k < rows * cols; k++) {
            /* Equal infinities and two NaNs count as equal, although their difference is NaN. */
            double d = p[k] == q[k] || (isnan(p[k]) && isnan(q[k])) ? 0 : fabs((double)p[k] - (double)q[k]);
            *out = fmax(*out, isnan(d) ? INFINITY : d);
        }
    }
    free(p);
    free(q);
    return ok;
}

/* For qsort: fp32 values in ascending order. */
static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The sum of hashes of all rows of a tensor, each with its elements in ascending order. It is the same for
 * tensors of which one has the rows, or the elements of rows, of the other in another order. */
static bool unordered_hash(const Tensor *t, uint64_t sum[2], Error *e) {
    Tensor x = *t;
    x.dtype = DTYPE_F32;
    uint64_t cols = t->row_elems;
    float *row = big_alloc(cols ? cols : 1, sizeof *row, t->name, e);
    bool ok = row != NULL;
    sum[0] = sum[1] = 0;
    for (uint64_t i = 0; ok && i < t->n_rows; i++) {
        char hash[33];
        unsigned long long high, low;
        ok = tensor_read_rows(&x, i, 1, row, e);
        if (!ok) break;
        qsort(row, cols, sizeof *row, by_value);
        hash_bytes(row, cols * sizeof *row, hash);
        if (sscanf(hash, "%16llx%16llx", &high, &low) != 2) continue;
        sum[0] += high;
        sum[1] += low;
    }
    free(row);
    return ok;
}

/* Whether two tensors of one shape have the same elements in another order, as rows of queries and keys have
 * after a change of architecture. A vector is a single row. */
static bool is_permuted(const Tensor *a, const Tensor *b, bool *permuted, Error *e) {
    uint64_t x[2], y[2];
    if (!unordered_hash(a, x, e) || !unordered_hash(b, y, e)) return false;
    *permuted = x[0] == y[0] && x[1] == y[1];
    return true;
}

/* Describes one side of a row: {"dtype", "shape", "xxh3_128"}. `hash` is NULL where it was not computed,
 * because the other side has no such tensor. */
static json_t *describe(const Tensor *t, const char *hash) {
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    json_t *o = json_pack("{s:s, s:o}", "dtype", dtype_info(t->dtype)->name, "shape", shape);
    if (hash) json_object_set_new(o, "xxh3_128", json_string(hash));
    return o;
}

/* Whether two tensors have the same shape. */
static bool same_layout(const Tensor *a, const Tensor *b) {
    return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

/* Compares two tensors of one name and adds "a", "b", "status" and perhaps "max_abs_difference" to `row`.
 * Equal hashes of equal dtypes are "equal". Tensors of the same shape in other dtypes are decoded and
 * compared by value, which tells a lossless conversion ("same values") from a change. A dtype without a
 * decoder leaves the status at "changed". Fails only if a file cannot be read. */
static bool compare_pair(const Tensor *a, const Tensor *b, json_t *row, Error *e) {
    char x[33], y[33];
    double difference;
    if (!tensor_hash(a, x, e) || !tensor_hash(b, y, e)) return false;
    json_object_set_new(row, "a", describe(a, x));
    json_object_set_new(row, "b", describe(b, y));
    const char *status = "changed";
    /* From the cheapest comparison to the most expensive: shape, then dtype and hash, then values. */
    if (!same_layout(a, b)) {
        status = "reshaped";
    } else if (a->dtype == b->dtype && strcmp(x, y) == 0) {
        status = "equal";
    } else if (dtype_info(a->storage_dtype)->decode && dtype_info(b->storage_dtype)->decode &&
               a->n_rows == b->n_rows) {
        if (!max_difference(a, b, &difference, e)) return false;
        bool permuted = false;
        if (difference == 0)
            status = "same values";
        else if (!is_permuted(a, b, &permuted, e))
            return false;
        /* A difference of elements that do not belong together says nothing. */
        if (permuted)
            status = "permuted";
        else if (isfinite(difference))
            json_object_set_new(row, "max_abs_difference", json_real(difference));
    }
    json_object_set_new(row, "status", json_string(status));
    return true;
}

/* Adds a row for each tensor name that either side has: first the names of `a` in its order, then those that
 * only `b` has. Stops with ERR_INTERRUPTED after a signal. */
static bool compare_tensors(const Checkpoint *a, const Checkpoint *b, json_t *rows, Error *e) {
    for (size_t i = 0; i < a->n_tensors; i++) {
        const Tensor *x = &a->tensors[i], *y = checkpoint_find(b, x->name);
        if (cmd_stop) return error_set(e, ERR_INTERRUPTED, "interrupted");
        cmd_progress("comparing tensor %zu of %zu", i + 1, a->n_tensors);
        json_t *row = json_pack("{s:s, s:s}", "name", x->name, "status", "only in a");
        json_array_append_new(rows, row);
        if (!y)
            json_object_set_new(row, "a", describe(x, NULL));
        else if (!compare_pair(x, y, row, e))
            return false;
    }
    for (size_t i = 0; i < b->n_tensors; i++)
        if (!checkpoint_find(a, b->tensors[i].name))
            json_array_append_new(rows, json_pack("{s:s, s:s, s:o}", "name", b->tensors[i].name, "status",
                                                  "only in b", "b", describe(&b->tensors[i], NULL)));
    return true;
}

/* Compares the weights of two checkpoints. Both are opened as models only if their formats differ, so that
 * two files of one format can be compared even if derope does not know their architecture. */
static bool compare_weights(Checkpoint *a, Checkpoint *b, bool by_format, json_t *rows, Error *e) {
    if (by_format) return compare_tensors(a, b, rows, e);
    Model *x = model_open(a, e), *y = x ? model_open(b, e) : NULL;
    bool ok = false;
    if (y) {
        Checkpoint *p = hf_view(x), *q = hf_view(y);
        ok = compare_tensors(p, q, rows, e);
        checkpoint_close(p);
        checkpoint_close(q);
    }
    model_close(x);
    model_close(y);
    return ok;
}

/* ---- the verb ---- */

/* Counts the rows with a status. */
static size_t count(const json_t *rows, const char *status) {
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(rows); i++)
        n += strcmp(json_get_string(json_array_get(rows, i), "status"), status) == 0;
    return n;
}

/* Prints a value on one line, cut after 60 bytes; "(none)" for a setting that this side lacks. */
static void print_value(const json_t *v) {
    Buffer text = {0};
    if (v) json_print(v, 0, &text);
    if (v)
        printf("%.60s%s", buffer_string(&text), text.size > 60 ? "..." : "");
    else
        printf("(none)");
    buffer_free(&text);
}

/* Prints the comparison for people: the number of tensors by status, then every difference on a line of its
 * own. */
static void print_text(const json_t *o) {
    static const char *const statuses[] = {"equal",    "same values", "permuted", "changed",
                                           "reshaped", "only in a",   "only in b"};
    const json_t *tensors = json_object_get(o, "tensors");
    size_t i;
    json_t *row;
    printf("a  %s\nb  %s\ntensors:", json_get_string(o, "a"), json_get_string(o, "b"));
    for (i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (count(tensors, statuses[i])) printf("  %zu %s", count(tensors, statuses[i]), statuses[i]);
    printf("\n");
    /* Tensors that are not equal, with their dtypes and the largest difference. */
    json_array_foreach(tensors, i, row) {
        const char *status = json_get_string(row, "status"),
                   *was = json_get_string(json_object_get(row, "a"), "dtype"),
                   *is = json_get_string(json_object_get(row, "b"), "dtype");
        double d;
        if (strcmp(status, "equal") == 0) continue;
        printf("  %-11s %s  %s", status, json_get_string(row, "name"), was ? was : is);
        if (was && is && strcmp(was, is) != 0) printf(" -> %s", is);
        if (json_get_f64(row, "max_abs_difference", &d) && d > 0) printf("  max |a-b| %.3g", d);
        printf("\n");
    }
    /* Settings, each with its value on both sides, then side files. The heading is printed with the first
     * row. */
    json_array_foreach(json_object_get(o, "settings"), i, row) {
        printf("%s  %s: ", i ? "" : "settings:\n", json_get_string(row, "key"));
        print_value(json_object_get(row, "a"));
        printf(" -> ");
        print_value(json_object_get(row, "b"));
        printf("\n");
    }
    json_array_foreach(json_object_get(o, "files"), i, row) printf(
        "%s  %s: %s\n", i ? "" : "files:\n", json_get_string(row, "name"), json_get_string(row, "status"));
    if (json_is_true(json_object_get(o, "equal"))) printf("equal\n");
}

/* Does the whole comparison and prints it as text or JSON. Formats count as different between a GGUF and
 * anything else; safetensors and PyTorch files share the HF names. Side files are compared only where the
 * formats are the same. */
static bool diff(Checkpoint *a, Checkpoint *b, bool json, Error *e) {
    bool by_format = (a->format == FORMAT_GGUF) == (b->format == FORMAT_GGUF);
    json_t *tensors = json_array(), *settings = json_array(), *files = json_array();
    bool ok = compare_weights(a, b, by_format, tensors, e);
    cmd_progress_end();
    json_t *x = settings_of(a, b, by_format), *y = settings_of(b, a, by_format);
    compare_members("", x, y, settings);
    if (by_format) compare_files(a, b, files);
    /* Two checkpoints are equal if nothing differs. Tensors with the "same values" in another dtype
     * differ. */
    bool equal = count(tensors, "equal") == json_array_size(tensors) && json_array_size(settings) == 0 &&
                 json_array_size(files) == 0;
    json_t *o = json_pack("{s:o, s:o, s:b, s:o, s:o, s:o}", "a", json_text(a->path), "b", json_text(b->path),
                          "equal", equal, "tensors", tensors, "settings", settings, "files", files);
    if (ok && json)
        cmd_print_json(o);
    else if (ok)
        print_text(o);
    json_decref(x);
    json_decref(y);
    json_decref(o);
    return ok;
}

/* The function of the verb (cmd/verb.h). */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    JsonArguments arguments = {.json = false};
    if (!command_line_parse(self, argc, argv, &arguments, operands_take, e)) return false;
    if (arguments.operands.n != 2) return cmd_usage(e, "two models are needed (derope diff --help)");
    Checkpoint *a = checkpoint_open(arguments.operands.list[0], e),
               *b = a ? checkpoint_open(arguments.operands.list[1], e) : NULL;
    bool ok = b && diff(a, b, arguments.json, e);
    checkpoint_close(a);
    checkpoint_close(b);
    return ok;
}

const Verb verb_diff = {
    .name = "diff",
    .summary = "compare two checkpoints: tensors, settings, files",
    .operands = "A B",
    .about = "A and B are HF folders or .zips of them, .gguf, .safetensors or PyTorch files. Tensors are "
             "compared by hash, and if the hashes differ by value, if both can be decoded. Two folders or "
             "two GGUFs are compared under their own tensor names. A folder and a GGUF are compared under HF "
             "names, with the rows of q and k in the same order. The exit status is 0 whether they differ or "
             "not.\n\n--json prints .equal, .tensors[] (name, status, a, b, max_abs_difference), .settings[] "
             "(key, a, b) and .files[] (name, status). A tensor's status is \"equal\", \"same values\" "
             "(another type), \"permuted\" (the same elements in another order), \"changed\", \"reshaped\", "
             "\"only in a\" or \"only in b\".",
    .groups = json_arguments_groups,
    .examples = "  derope diff SmolLM2-135M out.gguf --json\n",
    .run = run,
};

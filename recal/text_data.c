/* Reading texts for training and evaluation. Three layers: files and folders are walked, each file is cut
 * into documents (one for a plain text, one a line for JSONL), and documents are packed into one stream of
 * tokens. decompress.c opens the files, so .gz and .zst work everywhere. haystack.c uses the documents
 * without packing, and eval_results.c only the list of files. */
#include "recal/text_data.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/json.h"
#include "formats/text.h"
#include "recal/decompress.h"
#include "surgery/tokenizer/text_stream.h"

enum { MAX_DEPTH = 32 };      /* folders inside folders */
enum { MAX_LINE = 64 << 20 }; /* bytes; a line of JSONL is in memory as a whole */

/* One walk over a path. */
typedef struct Reading {
    const char *field; /* member of a JSONL object that holds the text */
    TextSink sink;     /* receives the documents */
    void *context;     /* handed to the sink */
    json_t *list;      /* not NULL: only collect the names of the files */
    size_t files;      /* files found so far */
} Reading;

/* ---- documents ---- */

/* A plain text is one document; an empty last part ends it. */
static bool read_text(const Reading *r, const char *path, Decompressor *u, Error *e) {
    Buffer text = {0};
    bool ok = true, end = false;
    while (ok && !end) {
        text.size = 0;
        ok = decompressor_read(u, &text, e);
        end = text.size == 0;
        ok = ok && r->sink(r->context, path, (char *)text.data, text.size, end, e);
    }
    buffer_free(&text);
    return ok;
}

/* Hands on the text of a JSONL object. */
static bool read_object(const Reading *r, const char *where, const json_t *o, Error *e) {
    const json_t *v = json_object_get(o, r->field);
    /* Each kind of mistake has its own message, with file and line in `where`. */
    if (!json_is_object(o)) return error_set(e, ERR_INPUT, "%s: not an object", where);
    if (!v) return error_set(e, ERR_INPUT, "%s: the object has no field '%s'", where, r->field);
    if (!json_is_string(v)) return error_set(e, ERR_INPUT, "%s: its field '%s' is not text", where, r->field);
    return r->sink(r->context, where, json_string_value(v), json_string_length(v), true, e);
}

/* One line of JSONL; a blank one is no document. */
static bool read_line(const Reading *r, const char *path, size_t line, const char *p, size_t n, Error *e) {
    size_t blank = 0;
    while (blank < n && memchr(" \t\r", p[blank], 3))
        blank++;
    if (blank == n) return true;
    char where[PATH_MAX + 32];
    snprintf(where, sizeof where, "%s:%zu", path, line);
    json_t *o = json_parse_line(path, line, p, n, e);
    bool ok = o && read_object(r, where, o, e);
    json_decref(o);
    return ok;
}

/* Reads JSONL piece by piece. Complete lines are handed on; the incomplete one behind them moves to the start
 * of the buffer and waits for the next piece. `searched` is where the search for its newline goes on, so that
 * a line of many pieces is not searched again and again. */
static bool read_lines(const Reading *r, const char *path, Decompressor *u, Error *e) {
    Buffer text = {0};
    size_t line = 1, searched = 0;
    bool ok = true, end = false;
    while (ok && !end) {
        /* 1. Append the next piece to the incomplete line of the one before. `at` is where the current line
         * begins. */
        size_t before = text.size, at = 0;
        ok = decompressor_read(u, &text, e);
        end = text.size == before;
        /* 2. Hand on all complete lines; at the end of the file also the last one, which need not have a
         * newline. */
        const char *p = (const char *)text.data, *stop;
        while (ok && (stop = memchr(p + searched, '\n', text.size - searched))) {
            ok = read_line(r, path, line++, p + at, (size_t)(stop - p) - at, e);
            at = searched = (size_t)(stop - p) + 1;
        }
        if (ok && end) ok = read_line(r, path, line, p + at, text.size - at, e);
        /* 3. Keep the rest for the next piece. */
        memmove(text.data, text.data + at, text.size - at);
        text.size -= at;
        searched = text.size;
        if (ok && text.size > MAX_LINE)
            ok = error_set(e, ERR_INPUT, "%s:%zu: more than %d bytes in one line", path, line, MAX_LINE);
    }
    buffer_free(&text);
    return ok;
}

/* Whether the name says JSONL, compressed or not. */
static bool is_jsonl(const char *path) {
    return text_ends_with(path, ".jsonl") || text_ends_with(path, ".jsonl.gz") ||
           text_ends_with(path, ".jsonl.zst");
}

/* ---- files and folders ---- */

/* Lists of files are kept as JSON, which cannot hold a name that is not UTF-8. Returns false. */
static bool not_a_name(const char *path, Error *e) {
    return error_set(e, ERR_INPUT, "%s: the name is not UTF-8", path);
}

/* Reads one file, or only notes its name. */
static bool read_file(Reading *r, const char *path, Error *e) {
    r->files++;
    if (r->list) return json_array_append_new(r->list, json_string(path)) == 0 || not_a_name(path, e);
    Decompressor *u = decompressor_open(path, e);
    bool ok = u && (is_jsonl(path) ? read_lines : read_text)(r, path, u, e);
    if (u) decompressor_close(u);
    return ok;
}

/* For scandir: hidden names are left out. */
static int visible(const struct dirent *d) {
    return d->d_name[0] != '.';
}

static bool read_folder(Reading *r, const char *path, int depth, Error *e);

/* One entry of a folder. Symbolic links to files are read, those to folders are not followed because they may
 * lead in a circle. Sockets, pipes and devices are passed over. */
static bool read_entry(Reading *r, const char *folder, const char *name, int depth, Error *e) {
    char path[PATH_MAX];
    struct stat st;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return error_set(e, ERR_INPUT, "%s: '%.100s...': the path is too long", folder, name);
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) return read_folder(r, path, depth, e);
    if (stat(path, &st) != 0) return error_errno(e, "%s", path);
    return !S_ISREG(st.st_mode) || read_file(r, path, e);
}

/* Reads all entries of a folder in alphabetical order, so that a text is the same on every machine with the
 * same locale. */
static bool read_folder(Reading *r, const char *path, int depth, Error *e) {
    if (depth == MAX_DEPTH)
        return error_set(e, ERR_INPUT, "%s: folders are nested more than %d deep", path, MAX_DEPTH);
    struct dirent **list;
    int n = scandir(path, &list, visible, alphasort);
    if (n < 0) return error_errno(e, "%s", path);
    bool ok = true;
    for (int i = 0; i < n; i++) {
        ok = ok && read_entry(r, path, list[i]->d_name, depth + 1, e);
        free(list[i]);
    }
    free(list);
    return ok;
}

/* What a user named has to exist, so a missing path is an error of the input (ERR_INPUT). */
static bool read_path(Reading *r, const char *path, Error *e) {
    struct stat st;
    if (stat(path, &st) != 0) {
        error_errno(e, "%s", path);
        if (e) e->code = ERR_INPUT;
        return false;
    }
    if (!(S_ISDIR(st.st_mode) ? read_folder(r, path, 0, e) : read_file(r, path, e))) return false;
    return r->files || error_set(e, ERR_INPUT, "%s: there is no file in this folder", path);
}

bool text_data_read(const char *path, const char *field, TextSink sink, void *context, Error *e) {
    Reading r = {.field = field ? field : "text", .sink = sink, .context = context};
    return read_path(&r, path, e);
}

bool text_data_list(const char *path, json_t *files, Error *e) {
    Reading r = {.list = files};
    return read_path(&r, path, e);
}

/* ---- packing ---- */

/* The context of pack_part. */
typedef struct Packer {
    TextStream text; /* encodes a document that comes in parts */
    TokenList *out;
    uint64_t max; /* tokens wanted; 0: all */
    bool inside;  /* a part of the current document has been encoded already */
    bool full;    /* there are enough tokens, so the sink ended the reading on purpose */
} Packer;

/* A TextSink. The end-of-sequence token is written before a document that follows another one, and not behind
 * each, so that an empty document leaves no trace and the stream does not end with it. */
static bool pack_part(void *context, const char *path, const char *text, size_t n, bool end, Error *e) {
    Packer *p = context;
    /* `inside` is false at the first part of a document that has text, which is where the separator
     * belongs. */
    int32_t eos = tokenizer_eos(p->text.t);
    if (n && !p->inside && p->out->n && eos >= 0) token_append(p->out, eos);
    p->inside = !end && (p->inside || n);
    if (!text_stream_add(&p->text, text, n, p->out, e) || (end && !text_stream_end(&p->text, p->out, e)))
        return error_place(e, "%s", path);
    p->full = p->max && p->out->n >= p->max;
    return !p->full;
}

bool text_data_pack(const Tokenizer *t, const char *const *paths, size_t n_paths, const char *field,
                    uint64_t max_tokens, TokenList *out, Error *e) {
    Packer p = {.text = {.t = t}, .out = out, .max = max_tokens};
    bool ok = true;
    for (size_t i = 0; ok && i < n_paths && !p.full; i++)
        ok = text_data_read(paths[i], field, pack_part, &p, e) || p.full;
    /* The last document may have gone beyond the limit. */
    if (ok && max_tokens && out->n > max_tokens) out->n = max_tokens;
    text_stream_free(&p.text);
    return ok;
}

#include "recal/data.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/json.h"
#include "recal/unpack.h"

/* A line of JSONL is in memory as a whole. */
enum { MAX_DEPTH = 32, MAX_LINE = 64 << 20 };

/* Where documents go to, and how they are found. */
typedef struct Reading {
    const char *field;
    TextSink sink;
    void *context;
    json_t *list; /* only name the files */
    size_t files;
} Reading;

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* ---- documents ---- */

static bool read_text(const Reading *r, const char *path, Unpack *u, Error *e) {
    Buffer text = {0};
    bool ok = true, end = false;
    while (ok && !end) {
        text.size = 0;
        ok = unpack_more(u, &text, e);
        end = text.size == 0;
        ok = ok && r->sink(r->context, path, (char *)text.data, text.size, end, e);
    }
    buffer_free(&text);
    return ok;
}

static bool read_object(const Reading *r, const char *where, const json_t *o, Error *e) {
    const json_t *v = json_object_get(o, r->field);
    if (!json_is_object(o)) return error_set(e, ERR_INPUT, "%s: not an object", where);
    if (!v) return error_set(e, ERR_INPUT, "%s: the object has no field '%s'", where, r->field);
    if (!json_is_string(v)) return error_set(e, ERR_INPUT, "%s: its field '%s' is no text", where, r->field);
    return r->sink(r->context, where, json_string_value(v), json_string_length(v), true, e);
}

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

/* Lines as they come; what is left of the last one waits at the buffer's start for the next piece. */
static bool read_lines(const Reading *r, const char *path, Unpack *u, Error *e) {
    Buffer text = {0};
    size_t line = 1, searched = 0;
    bool ok = true, end = false;
    while (ok && !end) {
        size_t before = text.size, at = 0;
        ok = unpack_more(u, &text, e);
        end = text.size == before;
        const char *p = (const char *)text.data, *stop;
        while (ok && (stop = memchr(p + searched, '\n', text.size - searched))) {
            ok = read_line(r, path, line++, p + at, (size_t)(stop - p) - at, e);
            at = searched = (size_t)(stop - p) + 1;
        }
        if (ok && end) ok = read_line(r, path, line, p + at, text.size - at, e);
        memmove(text.data, text.data + at, text.size - at);
        text.size -= at;
        searched = text.size;
        if (ok && text.size > MAX_LINE)
            ok = error_set(e, ERR_INPUT, "%s:%zu: more than %d bytes in one line", path, line, MAX_LINE);
    }
    buffer_free(&text);
    return ok;
}

static bool is_jsonl(const char *path) {
    return ends_with(path, ".jsonl") || ends_with(path, ".jsonl.gz") || ends_with(path, ".jsonl.zst");
}

/* ---- files and folders ---- */

static bool not_a_name(const char *path, Error *e) {
    return error_set(e, ERR_INPUT, "%s: the name is not UTF-8", path);
}

static bool read_file(Reading *r, const char *path, Error *e) {
    r->files++;
    if (r->list) return json_array_append_new(r->list, json_string(path)) == 0 || not_a_name(path, e);
    Unpack *u = unpack_open(path, e);
    bool ok = u && (is_jsonl(path) ? read_lines : read_text)(r, path, u, e);
    if (u) unpack_close(u);
    return ok;
}

static int visible(const struct dirent *d) {
    return d->d_name[0] != '.';
}

static bool read_folder(Reading *r, const char *path, int depth, Error *e);

/* An entry of a folder. Links to folders are not followed (they may lead round in circles), and what is
 * neither file nor folder is passed over. */
static bool read_entry(Reading *r, const char *folder, const char *name, int depth, Error *e) {
    char path[PATH_MAX];
    struct stat st;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return error_set(e, ERR_INPUT, "%s: '%.100s...': the path is too long", folder, name);
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) return read_folder(r, path, depth, e);
    if (stat(path, &st) != 0) return error_errno(e, "%s", path);
    return !S_ISREG(st.st_mode) || read_file(r, path, e);
}

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

bool data_read(const char *path, const char *field, TextSink sink, void *context, Error *e) {
    Reading r = {.field = field ? field : "text", .sink = sink, .context = context};
    return read_path(&r, path, e);
}

bool data_list(const char *path, json_t *files, Error *e) {
    Reading r = {.list = files};
    return read_path(&r, path, e);
}

/* ---- packing ---- */

typedef struct Packer {
    TextStream text;
    TokenList *out;
    uint64_t max;
    bool inside; /* a document of which something has been read */
    bool full;   /* there is nothing more to read */
} Packer;

static bool pack_part(void *context, const char *path, const char *text, size_t n, bool end, Error *e) {
    Packer *p = context;
    int32_t eos = tokenizer_eos(p->text.t);
    if (n && !p->inside && p->out->n && eos >= 0) token_append(p->out, eos);
    p->inside = !end && (p->inside || n);
    if (!text_stream_add(&p->text, text, n, p->out, e) || (end && !text_stream_end(&p->text, p->out, e)))
        return error_place(e, "%s", path);
    p->full = p->max && p->out->n >= p->max;
    return !p->full;
}

bool data_pack(const Tokenizer *t, const char *const *paths, size_t n_paths, const char *field,
               uint64_t max_tokens, TokenList *out, Error *e) {
    Packer p = {.text = {.t = t}, .out = out, .max = max_tokens};
    bool ok = true;
    for (size_t i = 0; ok && i < n_paths && !p.full; i++)
        ok = data_read(paths[i], field, pack_part, &p, e) || p.full;
    if (ok && max_tokens && out->n > max_tokens) out->n = max_tokens;
    text_stream_free(&p.text);
    return ok;
}

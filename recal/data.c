#include "recal/data.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include "formats/file.h"
#include "formats/json.h"

#define MAX_TEXT ((uint64_t)1 << 36)
enum { MAX_DEPTH = 32 };

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* ---- unpacking ---- */

static bool read_gzip(const char *path, Buffer *out, Error *e) {
    gzFile f = gzopen(path, "rb");
    if (!f) return error_errno(e, "%s", path);
    int n;
    bool ok = true;
    do {
        buffer_reserve(out, 1 << 18);
        n = gzread(f, out->data + out->size, 1 << 18);
        if (n > 0) out->size += (size_t)n;
        if (out->size > MAX_TEXT) ok = error_set(e, ERR_INPUT, "%s: unpacks to more than 64 GB", path);
    } while (ok && n > 0);
    int code;
    const char *message = gzerror(f, &code);
    if (ok && (n < 0 || code == Z_BUF_ERROR))
        ok = error_set(e, ERR_INPUT, "%s: after %zu bytes of text: %s", path, out->size,
                       code == Z_BUF_ERROR ? "the gzip file is cut short" : message);
    gzclose(f);
    return ok;
}

static bool read_zstd(const char *path, Buffer *out, Error *e) {
    Buffer packed = {0};
    bool ok = file_read(path, MAX_TEXT, &packed, e);
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_inBuffer in = {packed.data, packed.size, 0};
    size_t left = 1;
    while (ok && (in.pos < in.size || left)) {
        buffer_reserve(out, 1 << 18);
        ZSTD_outBuffer piece = {out->data + out->size, 1 << 18, 0};
        size_t read = in.pos;
        left = ZSTD_decompressStream(stream, &piece, &in);
        if (ZSTD_isError(left))
            ok = error_set(e, ERR_INPUT, "%s: offset %zu: %s", path, read, ZSTD_getErrorName(left));
        else if (read == in.pos && !piece.pos)
            ok = left == 0 ||
                 error_set(e, ERR_INPUT, "%s: the zstd file is cut short after %zu bytes", path, in.size);
        else if ((out->size += piece.pos) > MAX_TEXT)
            ok = error_set(e, ERR_INPUT, "%s: unpacks to more than 64 GB", path);
        if (ok && read == in.pos && !piece.pos) break;
    }
    ZSTD_freeDStream(stream);
    buffer_free(&packed);
    return ok;
}

static bool read_text(const char *path, Buffer *out, Error *e) {
    if (ends_with(path, ".gz")) return read_gzip(path, out, e);
    if (ends_with(path, ".zst")) return read_zstd(path, out, e);
    return file_read(path, MAX_TEXT, out, e);
}

/* ---- documents ---- */

static bool is_jsonl(const char *path) {
    return ends_with(path, ".jsonl") || ends_with(path, ".jsonl.gz") || ends_with(path, ".jsonl.zst");
}

static bool read_lines(const char *path, const Buffer *text, const char *field, TextSink sink, void *context,
                       Error *e) {
    const char *p = (const char *)text->data, *end = p + text->size;
    for (size_t line = 1; p < end; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((stop ? stop : end) - p);
        size_t blank = 0;
        while (blank < n && strchr(" \t\r", p[blank]))
            blank++;
        if (blank < n) {
            char where[PATH_MAX + 32];
            snprintf(where, sizeof where, "%s:%zu", path, line);
            json_t *o = json_parse(where, p, n, e);
            if (!o) return false;
            const json_t *v = json_object_get(o, field);
            bool ok = json_is_string(v) ||
                      error_set(e, ERR_INPUT, "%s: the object has no text in its field '%s'", where, field);
            ok = ok && sink(context, where, json_string_value(v), json_string_length(v), e);
            json_decref(o);
            if (!ok) return false;
        }
        p += n + (stop != NULL);
    }
    return true;
}

static bool read_file(const char *path, const char *field, TextSink sink, void *context, Error *e) {
    Buffer text = {0};
    bool ok = read_text(path, &text, e);
    if (ok)
        ok = is_jsonl(path) ? read_lines(path, &text, field ? field : "text", sink, context, e)
                            : sink(context, path, buffer_string(&text), text.size, e);
    buffer_free(&text);
    return ok;
}

static int visible(const struct dirent *d) {
    return d->d_name[0] != '.';
}

static bool read_path(const char *path, const char *field, TextSink sink, void *context, int depth,
                      size_t *files, Error *e) {
    struct stat st;
    if (stat(path, &st) != 0) {
        error_errno(e, "%s", path);
        if (e) e->code = ERR_INPUT;
        return false;
    }
    if (!S_ISDIR(st.st_mode)) {
        ++*files;
        return read_file(path, field, sink, context, e);
    }
    if (depth == MAX_DEPTH)
        return error_set(e, ERR_INPUT, "%s: folders are nested more than %d deep", path, MAX_DEPTH);
    struct dirent **list;
    int n = scandir(path, &list, visible, alphasort);
    if (n < 0) return error_errno(e, "%s", path);
    bool ok = true;
    for (int i = 0; i < n; i++) {
        char child[PATH_MAX];
        if (ok && snprintf(child, sizeof child, "%s/%s", path, list[i]->d_name) < (int)sizeof child)
            ok = read_path(child, field, sink, context, depth + 1, files, e);
        free(list[i]);
    }
    free(list);
    return ok;
}

bool data_read(const char *path, const char *field, TextSink sink, void *context, Error *e) {
    size_t files = 0;
    if (!read_path(path, field, sink, context, 0, &files, e)) return false;
    return files || error_set(e, ERR_INPUT, "%s: there is no file in this folder", path);
}

/* ---- packing ---- */

typedef struct Packer {
    const Tokenizer *t;
    TokenList *out;
    uint64_t max;
} Packer;

/* A novel at a time would hold its text twice; a piece ends at a line where it can. */
static size_t piece_end(const char *text, size_t from, size_t n) {
    enum { PIECE = 1 << 20 };
    if (n - from <= PIECE) return n;
    size_t at = from + PIECE;
    while (at < n && text[at - 1] != '\n')
        at++;
    return at;
}

static bool pack_document(void *context, const char *path, const char *text, size_t n, Error *e) {
    Packer *p = context;
    int32_t eos = tokenizer_eos(p->t);
    if (p->max && p->out->n >= p->max) return true;
    if (p->out->n && eos >= 0) token_append(p->out, eos);
    for (size_t at = 0; at < n && !(p->max && p->out->n >= p->max);) {
        size_t end = piece_end(text, at, n);
        if (!tokenizer_encode(p->t, text + at, end - at, false, p->out, e))
            return error_place(e, "%s: from byte %zu", path, at);
        at = end;
    }
    return true;
}

bool data_pack(const Tokenizer *t, const char *const *paths, size_t n_paths, const char *field,
               uint64_t max_tokens, TokenList *out, Error *e) {
    Packer p = {.t = t, .out = out, .max = max_tokens};
    for (size_t i = 0; i < n_paths; i++)
        if (!data_read(paths[i], field, pack_document, &p, e)) return false;
    if (max_tokens && out->n > max_tokens) out->n = max_tokens;
    return true;
}

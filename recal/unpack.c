#include "recal/unpack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "formats/file.h"

enum { PIECE = 1 << 18 };

struct Unpack {
    const char *path;
    int fd;
    uint64_t offset; /* bytes read from fd */
    gzFile gzip;
    ZSTD_DStream *zstd;
    ZSTD_inBuffer packed;
    size_t frame_left; /* 0 between zstd frames */
    uint8_t *input;
    bool (*more)(Unpack *u, Buffer *out, Error *e);
};

/* Up to PIECE bytes from the file; -1 with an error. */
static ssize_t read_file(Unpack *u, uint8_t *out, Error *e) {
    ssize_t n;
    do
        n = read(u->fd, out, PIECE);
    while (n < 0 && errno == EINTR);
    if (n < 0) error_errno(e, "%s: offset %llu", u->path, (unsigned long long)u->offset);
    if (n > 0) u->offset += (uint64_t)n;
    return n;
}

static bool more_plain(Unpack *u, Buffer *out, Error *e) {
    buffer_reserve(out, PIECE);
    ssize_t n = read_file(u, out->data + out->size, e);
    if (n > 0) out->size += (size_t)n;
    return n >= 0;
}

static bool more_gzip(Unpack *u, Buffer *out, Error *e) {
    buffer_reserve(out, PIECE);
    if (gzdirect(u->gzip)) return error_set(e, ERR_INPUT, "%s: offset 0: not a gzip file", u->path);
    int n = gzread(u->gzip, out->data + out->size, PIECE), code;
    const char *message = gzerror(u->gzip, &code);
    if (n > 0) out->size += (size_t)n;
    if (n > 0 || (n == 0 && code == Z_OK)) return true;
    long long at = (long long)gzoffset(u->gzip);
    if (code == Z_ERRNO) return error_errno(e, "%s: offset %lld", u->path, at);
    return error_set(e, ERR_INPUT, "%s: offset %lld: %s", u->path, at,
                     code == Z_BUF_ERROR ? "the gzip file is cut short" : message);
}

static bool more_zstd(Unpack *u, Buffer *out, Error *e) {
    buffer_reserve(out, PIECE);
    ZSTD_outBuffer piece = {out->data + out->size, PIECE, 0};
    while (!piece.pos) {
        if (u->packed.pos == u->packed.size) {
            ssize_t n = read_file(u, u->input, e);
            if (n < 0) return false;
            if (n == 0)
                return !u->frame_left ||
                       error_set(e, ERR_INPUT, "%s: offset %llu: the zstd file is cut short", u->path,
                                 (unsigned long long)u->offset);
            u->packed = (ZSTD_inBuffer){u->input, (size_t)n, 0};
        }
        u->frame_left = ZSTD_decompressStream(u->zstd, &piece, &u->packed);
        if (ZSTD_isError(u->frame_left))
            return error_set(e, ERR_INPUT, "%s: offset %llu: %s", u->path,
                             (unsigned long long)(u->offset - u->packed.size + u->packed.pos),
                             ZSTD_getErrorName(u->frame_left));
    }
    out->size += piece.pos;
    return true;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

Unpack *unpack_open(const char *path, Error *e) {
    struct stat st;
    int fd = file_open(path, 0, e);
    if (fd < 0) return NULL;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(fd);
        errno = EISDIR;
        file_error(path, e);
        return NULL;
    }
    Unpack *u = xcalloc(1, sizeof *u);
    *u = (Unpack){.path = path, .fd = fd, .more = more_plain};
    if (ends_with(path, ".gz")) {
        u->gzip = gzdopen(fd, "rb");
        u->more = more_gzip;
    } else if (ends_with(path, ".zst")) {
        u->zstd = ZSTD_createDStream();
        u->frame_left = 1; /* an empty file is no zstd file */
        u->input = xmalloc(PIECE);
        u->more = more_zstd;
    }
    if (u->more == more_plain || u->gzip || u->zstd) return u;
    error_set(e, ERR_FAILED, "%s: no memory to unpack it", path);
    unpack_close(u);
    return NULL;
}

bool unpack_more(Unpack *u, Buffer *out, Error *e) {
    return u->more(u, out, e);
}

void unpack_close(Unpack *u) {
    if (u->gzip)
        gzclose(u->gzip);
    else
        close(u->fd);
    ZSTD_freeDStream(u->zstd);
    free(u->input);
    free(u);
}

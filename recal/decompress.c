/* Reading plain, gzip and zstd files piece by piece, for the texts of training and evaluation (text_data.c).
 * One function for each kind of file appends the next piece; which one it is follows from the end of the
 * file's name. A file that is cut short is an error, because training on half a text would go unnoticed. */
#include "recal/decompress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "formats/file.h"
#include "formats/text.h"

enum { PIECE = 1 << 18 }; /* bytes read or appended at once */

struct Decompressor {
    const char *path; /* borrowed, for messages */
    int fd;
    uint64_t offset;          /* bytes read from fd so far */
    gzFile gzip;              /* zlib's reader, which owns fd; NULL for other files */
    ZSTD_DStream *zstd;       /* NULL for other files */
    ZSTD_inBuffer compressed; /* the part of `input` that zstd has not consumed yet */
    uint8_t *input;           /* (PIECE): compressed bytes of a zstd file */
    size_t frame_left; /* what zstd still expects of its frame; 0 between frames, where a file may end */
    bool (*read_piece)(Decompressor *u, Buffer *out, Error *e);
};

/* Reads up to PIECE bytes from the file; 0 at its end, -1 with an error. */
static ssize_t read_file(Decompressor *u, uint8_t *out, Error *e) {
    ssize_t n;
    do
        n = read(u->fd, out, PIECE);
    while (n < 0 && errno == EINTR);
    if (n < 0) error_errno(e, "%s: offset %llu", u->path, (unsigned long long)u->offset);
    if (n > 0) u->offset += (uint64_t)n;
    return n;
}

/* Appends the next piece of an uncompressed file. Nothing is appended at its end. */
static bool read_plain(Decompressor *u, Buffer *out, Error *e) {
    buffer_reserve(out, PIECE);
    ssize_t n = read_file(u, out->data + out->size, e);
    if (n > 0) out->size += (size_t)n;
    return n >= 0;
}

/* zlib accepts files without a gzip header and hands their bytes through (gzdirect), which would let a file
 * with the wrong name pass silently. A file that ends inside its compressed stream gives Z_BUF_ERROR. */
static bool read_gzip(Decompressor *u, Buffer *out, Error *e) {
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

/* Decompresses until there is at least one byte, since an empty piece means the end. zstd files may consist
 * of several frames, one behind the other; a file that ends inside of one was cut short. */
static bool read_zstd(Decompressor *u, Buffer *out, Error *e) {
    buffer_reserve(out, PIECE);
    ZSTD_outBuffer piece = {out->data + out->size, PIECE, 0};
    while (!piece.pos) {
        /* Read more when all compressed bytes are used up. */
        if (u->compressed.pos == u->compressed.size) {
            ssize_t n = read_file(u, u->input, e);
            if (n < 0) return false;
            if (n == 0)
                return !u->frame_left ||
                       error_set(e, ERR_INPUT, "%s: offset %llu: the zstd file is cut short", u->path,
                                 (unsigned long long)u->offset);
            u->compressed = (ZSTD_inBuffer){u->input, (size_t)n, 0};
        }
        u->frame_left = ZSTD_decompressStream(u->zstd, &piece, &u->compressed);
        if (ZSTD_isError(u->frame_left))
            return error_set(e, ERR_INPUT, "%s: offset %llu: %s", u->path,
                             (unsigned long long)(u->offset - u->compressed.size + u->compressed.pos),
                             ZSTD_getErrorName(u->frame_left));
    }
    out->size += piece.pos;
    return true;
}

Decompressor *decompressor_open(const char *path, Error *e) {
    struct stat st;
    int fd = file_open(path, 0, e);
    if (fd < 0) return NULL;
    /* Opening a folder succeeds on Linux and only reading fails; the error is given here, where the path is
     * known. */
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(fd);
        errno = EISDIR;
        file_error(path, e);
        return NULL;
    }
    Decompressor *u = xcalloc(1, sizeof *u);
    *u = (Decompressor){.path = path, .fd = fd, .read_piece = read_plain};
    if (text_ends_with(path, ".gz")) {
        u->gzip = gzdopen(fd, "rb");
        u->read_piece = read_gzip;
    } else if (text_ends_with(path, ".zst")) {
        u->zstd = ZSTD_createDStream();
        u->frame_left = 1; /* an empty file is not a zstd file, so at the start a frame is expected */
        u->input = xmalloc(PIECE);
        u->read_piece = read_zstd;
    }
    if (u->read_piece == read_plain || u->gzip || u->zstd) return u;
    error_set(e, ERR_FAILED, "%s: out of memory to decompress it", path);
    decompressor_close(u);
    return NULL;
}

bool decompressor_read(Decompressor *u, Buffer *out, Error *e) {
    return u->read_piece(u, out, e);
}

void decompressor_close(Decompressor *u) {
    if (u->gzip)
        gzclose(u->gzip);
    else
        close(u->fd);
    ZSTD_freeDStream(u->zstd);
    free(u->input);
    free(u);
}

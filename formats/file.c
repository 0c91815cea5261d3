/* Opening and reading of files with errors that name the path: see formats/file.h. Large files are not read
 * through here but mapped (checkpoint_map). */
#include "formats/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Reports errno for `path`; always false. ENOENT, ENOTDIR, EISDIR and ELOOP mean that the name is wrong,
 * which the user can correct, so they are ERR_INPUT. */
bool file_error(const char *path, Error *e) {
    bool absent = errno == ENOENT || errno == ENOTDIR || errno == EISDIR || errno == ELOOP;
    error_errno(e, "%s", path);
    if (e && absent) e->code = ERR_INPUT;
    return false;
}

/* Opens a file for reading, with further flags of open(2). O_CLOEXEC keeps child processes from inheriting an
 * open model. -1 with an error on failure. */
int file_open(const char *path, int flags, Error *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0) file_error(path, e);
    return fd;
}

/* Appends the content of a file to `out`, up to `limit` bytes. The file is read in steps and not by its
 * stated size, because pipes and files of /proc state none. */
bool file_read(const char *path, uint64_t limit, Buffer *out, Error *e) {
    int fd = file_open(path, 0, e);
    if (fd < 0) return false;
    bool ok = true;
    size_t start = out->size;
    for (;;) {
        buffer_reserve(out, 65536);
        ssize_t n = read(fd, out->data + out->size, 65536);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) ok = file_error(path, e);
        if (n <= 0) break;
        out->size += (size_t)n;
        /* Only what this call has read counts. */
        if (out->size - start > limit) {
            ok = error_set(e, ERR_INPUT, "%s: larger than %llu bytes, the limit for such a file", path,
                           (unsigned long long)limit);
            break;
        }
    }
    close(fd);
    return ok;
}

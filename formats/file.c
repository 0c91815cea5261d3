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
 * open model. An open that a signal interrupts, as it may on a network file system, is repeated. -1 with an
 * error on failure. */
int file_open(const char *path, int flags, Error *e) {
    int fd;
    do
        fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) file_error(path, e);
    return fd;
}

int file_open_output(const char *path, int flags, Error *e) {
    int fd;
    do
        fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0666);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) error_errno(e, "%s", path);
    return fd;
}

/* On Linux the descriptor is closed also where a signal interrupted the call, so it is not repeated. */
bool file_close_output(int fd, const char *path, Error *e) {
    return close(fd) == 0 || errno == EINTR || error_errno(e, "%s", path);
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

/* ---- which file is mapped where ---- */

/* A file that is read byte by byte through a block on the stack. */
typedef struct Bytes {
    int fd;
    size_t at, n; /* bytes of the block that were taken, and that there are */
    char block[1024];
} Bytes;

/* The next byte, or -1 at the end of the file and after an error. */
static int next_byte(Bytes *b) {
    if (b->at == b->n) {
        ssize_t n = read(b->fd, b->block, sizeof b->block);
        if (n <= 0) return -1;
        b->n = (size_t)n;
        b->at = 0;
    }
    return (unsigned char)b->block[b->at++];
}

/* Reads a hexadecimal number and the one character after it. */
static uintptr_t next_address(Bytes *b) {
    uintptr_t value = 0;
    for (int c = next_byte(b);; c = next_byte(b)) {
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return value;
        value = value * 16 + (uintptr_t)digit;
    }
}

/* A line of /proc/self/maps is "START-END PERMISSIONS OFFSET DEVICE INODE   PATH". The path is the rest of
 * the line from its first slash; lines without one are memory that is not of a file. */
bool file_mapped_at(const void *address, char path[PATH_MAX]) {
    Bytes b = {.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
    if (b.fd < 0) return false;
    bool found = false;
    for (int c = 0; c >= 0 && !found;) {
        uintptr_t start = next_address(&b), end = next_address(&b);
        size_t n = 0;
        while ((c = next_byte(&b)) >= 0 && c != '\n')
            if ((n || c == '/') && n + 1 < PATH_MAX) path[n++] = (char)c;
        path[n] = 0;
        found = n && start <= (uintptr_t)address && (uintptr_t)address < end;
    }
    close(b.fd);
    return found;
}

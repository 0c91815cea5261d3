/* Canonical paths: see formats/path.h. realpath(3) does the work for paths that exist; outputs usually do not
 * exist yet, so only the existing folders at the beginning of their paths are given to it. */
#include "formats/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/text.h"

/* Appends one component of a path, `n` bytes, to the canonical path `out`. "." stays where it is, and ".."
 * goes to the folder above. */
static bool append(char out[PATH_MAX], const char *name, size_t n) {
    size_t size = strlen(out);
    if (n == 0 || (n == 1 && *name == '.')) return true;
    if (n == 2 && memcmp(name, "..", 2) == 0) {
        char *slash = strrchr(out, '/');
        slash[slash == out] = 0; /* the root is its own parent */
        return true;
    }
    int written = snprintf(out + size, PATH_MAX - size, "%s%.*s", size > 1 ? "/" : "", (int)n, name);
    if (size + (size_t)written < PATH_MAX) return true;
    errno = ENAMETOOLONG;
    return false;
}

/* Resolves the longest beginning of `path` that exists, up to `n` bytes, and appends the rest as text. */
static bool resolve(const char *path, size_t n, char out[PATH_MAX]) {
    char head[PATH_MAX];
    size_t at = n;
    /* Shorten the beginning, one component at a time, until it exists. */
    for (;;) {
        snprintf(head, sizeof head, "%.*s", at ? (int)at : 1, at ? path : ".");
        if (realpath(head, out)) break;
        if (!at || (errno != ENOENT && errno != ENOTDIR)) return false;
        while (at > 0 && path[at - 1] != '/')
            at--;
        while (at > 1 && path[at - 1] == '/')
            at--;
    }
    /* Append the components that do not exist. */
    while (at < n) {
        size_t length = strcspn(path + at, "/");
        if (length > n - at) length = n - at;
        if (!append(out, path + at, length)) return false;
        at += length + 1;
    }
    return true;
}

bool path_resolve(const char *path, bool follow, char out[PATH_MAX]) {
    size_t n = path_length(path), base = n;
    if (n == 0 || n >= PATH_MAX) {
        errno = n ? ENAMETOOLONG : ENOENT;
        return false;
    }
    while (base > 0 && path[base - 1] != '/')
        base--;
    /* A last component "." or ".." is no name that could be kept. */
    bool is_dots = strspn(path + base, ".") >= n - base && n - base <= 2;
    if (follow || is_dots) return resolve(path, n, out);
    return resolve(path, base, out) && append(out, path + base, n - base);
}

void path_parent(const char *path, char out[PATH_MAX]) {
    const char *slash = strrchr(path, '/');
    snprintf(out, PATH_MAX, "%.*s", !slash || slash == path ? 1 : (int)(slash - path), slash ? path : ".");
}

const char *path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool path_lies_in(const char *path, const char *folder) {
    size_t n = strlen(folder);
    if (n == 1) return true; /* the root */
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || !path[n]);
}

bool path_same_file(const char *a, const char *b) {
    struct stat x, y;
    return strcmp(a, b) == 0 ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* Some file systems do not know the flag. There, somebody could create `to` between the two calls. */
bool path_move(const char *from, const char *to) {
    struct stat st;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return true;
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP) return false;
    if (lstat(to, &st) != 0) return rename(from, to) == 0;
    errno = EEXIST;
    return false;
}

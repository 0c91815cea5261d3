/* Removing a file or a folder without allocating memory: see formats/remove_tree.h. nftw() and opendir() of
 * the C library allocate, so the entries of a folder are read by the system call that these use. */
#include "formats/remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DEPTH = 32 }; /* levels of folders; each takes the space of one block of entries on the stack */

static bool remove_entry(int parent, const char *name, int folder, int depth);

/* Removes every entry of one block that getdents64 returned. Returns how many of them are gone. */
static size_t remove_block(int folder, const char *block, size_t n, int depth) {
    size_t gone = 0;
    for (size_t at = 0; at < n;) {
        const struct dirent64 *entry = (const struct dirent64 *)(block + at);
        at += entry->d_reclen;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            gone += remove_entry(folder, entry->d_name, -1, depth);
    }
    return gone;
}

/* Removes all entries of an open folder. A file system may leave out entries where others are removed while
 * the folder is being read, so it is read again until one pass removes nothing. */
static void empty_folder(int folder, int depth) {
    _Alignas(struct dirent64) char block[4096];
    size_t gone;
    do {
        gone = 0;
        if (lseek(folder, 0, SEEK_SET) != 0) return;
        for (ssize_t n; (n = getdents64(folder, block, sizeof block)) > 0;)
            gone += remove_block(folder, block, (size_t)n, depth);
    } while (gone);
}

/* Removes `name` of the open folder `parent`. `folder` is as for remove_tree. unlinkat() says of a folder
 * that it is one: with EISDIR on Linux, with EPERM on other systems. */
static bool remove_entry(int parent, const char *name, int folder, int depth) {
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return true;
    if ((errno != EISDIR && errno != EPERM) || depth == MAX_DEPTH) return false;
    int fd = folder >= 0 ? folder : openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) empty_folder(fd, depth + 1);
    if (fd >= 0 && folder < 0) close(fd);
    return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

bool remove_tree(const char *path, int folder) {
    return remove_entry(AT_FDCWD, path, folder, 0);
}

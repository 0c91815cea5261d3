/* Temporary names beside outputs: see formats/temp_names.h. output.c and output_folder.c make such names and
 * clean up after processes that died. */
#include "formats/temp_names.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "formats/buffer.h"
#include "formats/path.h"

char *temp_name(const char *path, const char *suffix) {
    const char *name = path_name(path);
    Buffer b = {0};
    buffer_printf(&b, "%.*s.%s.%s-%ld", (int)(name - path), path, name, suffix, (long)getpid());
    return buffer_string(&b);
}

/* Calls `visit` unless another process is at work on the file. That process holds the lock; locks of dead
 * processes are released by the kernel. */
static bool visit_if_abandoned(const char *temp, const char *path,
                               bool (*visit)(const char *temp, const char *path, Error *e), Error *e) {
    int fd = open(temp, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return true;
    bool ok = flock(fd, LOCK_EX | LOCK_NB) != 0 || visit(temp, path, e);
    close(fd);
    return ok;
}

bool temp_names_each(const char *path, const char *suffix,
                     bool (*visit)(const char *temp, const char *path, Error *e), Error *e) {
    char parent[PATH_MAX], prefix[NAME_MAX + 8], temp[PATH_MAX];
    bool ok = true;
    path_parent(path, parent);
    size_t n = (size_t)snprintf(prefix, sizeof prefix, ".%s.%s-", path_name(path), suffix);
    DIR *d = n < sizeof prefix ? opendir(parent) : NULL;
    for (struct dirent *entry; ok && d && (entry = readdir(d));) {
        const char *name = entry->d_name;
        /* Only names that temp_name makes: the prefix and a process id. */
        if (strncmp(name, prefix, n) != 0 || !name[n] || name[n + strspn(name + n, "0123456789")]) continue;
        if (snprintf(temp, sizeof temp, "%s/%s", parent, name) < (int)sizeof temp)
            ok = visit_if_abandoned(temp, path, visit, e);
    }
    if (d) closedir(d);
    return ok;
}

/* Outputs that appear complete or not at all: see formats/output.h. Three kinds of event can leave temporary
 * files behind: an error (output_discard removes them), a fatal signal or the end of memory
 * (output_discard_all does) and the death of the process (the next run does, in remove_abandoned). */
#include "formats/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/buffer.h"
#include "formats/file.h"
#include "formats/file_names.h"
#include "formats/remove_tree.h"
#include "formats/text.h"

/* The outputs begun and not committed. This is the one list that a signal handler has to find without being
 * given a pointer. It is volatile because the handler may run between any two instructions. */
static Output *volatile open_outputs;

/* Takes an output from the list, if it is on it. */
static void forget_output(const Output *o) {
    for (Output *volatile *p = &open_outputs; *p; p = &(*p)->next)
        if (*p == o) {
            *p = o->next;
            return;
        }
}

/* Closes the lock if there is one. output_discard may be called with an output that is all zeros and never
 * had a lock; such an output has no path. */
static void close_lock(Output *o) {
    if (o->path && o->lock >= 0) close(o->lock);
    o->lock = -1;
}

/* "FOLDER/.NAME.SUFFIX-PID" for "FOLDER/NAME". The leading dot hides the file from listings and from readers
 * of model folders. The result is freed with free(). */
static char *beside(const char *path, const char *suffix) {
    size_t n = path_length(path);
    size_t slash = n;
    while (slash > 0 && path[slash - 1] != '/')
        slash--;
    Buffer b = {0};
    buffer_printf(&b, "%.*s.%.*s.%s-%ld", (int)slash, path, (int)(n - slash), path + slash, suffix,
                  (long)getpid());
    return buffer_string(&b);
}

/* The folder that holds `path`, which has no slash at its end. A name without a slash lies in ".", a name
 * like "/x" in "/". */
static void parent_of(const char *path, char out[PATH_MAX]) {
    const char *slash = strrchr(path, '/');
    snprintf(out, PATH_MAX, "%.*s", !slash || slash == path ? 1 : (int)(slash - path), slash ? path : ".");
}

/* A copy of `path` without slashes at its end, to be freed with free(). */
static char *without_end_slashes(const char *path) {
    char *copy = xstrdup(path);
    copy[path_length(copy)] = 0;
    return copy;
}

/* Replacing a folder deletes all that is in it. That is allowed for an empty folder and for one that holds a
 * file that a model folder has, but not for any other folder, which was probably named by mistake. */
static bool may_replace(const char *folder, Error *e) {
    static const char *const marks[] = {CONFIG_FILE, MANIFEST_FILE, SAFETENSORS_FILE,
                                        SAFETENSORS_FILE INDEX_ENDING};
    /* A path that cannot be opened as a folder is left to the later steps. */
    DIR *d = opendir(folder);
    if (!d) return true;
    bool empty = true, model = false;
    for (struct dirent *entry; (entry = readdir(d));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        empty = false;
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
            model |= strcmp(entry->d_name, marks[i]) == 0;
    }
    closedir(d);
    return empty || model ||
           error_set(e, ERR_FAILED, "%s: is a folder that holds no model; remove it first", folder);
}

/* Checks whether an output may be written to `path` before any work is done. lstat does not follow a link: a
 * symbolic link at `path` would itself be replaced. */
bool output_may_begin(const char *path, bool is_folder, bool force, Error *e) {
    struct stat st;
    if (!*path) return error_set(e, ERR_USAGE, "the output's name is empty");
    /* What is there? */
    char *plain = without_end_slashes(path), parent[PATH_MAX];
    bool ok = true;
    if (lstat(plain, &st) == 0) {
        if (!force)
            ok = error_set(e, ERR_FAILED, "%s: exists already; --force replaces it", path);
        else if (S_ISDIR(st.st_mode) != is_folder)
            ok = error_set(e, ERR_FAILED, "%s: is a %s, but a %s is to be written there", path,
                           is_folder ? "file" : "folder", is_folder ? "folder" : "file");
        else
            ok = !is_folder || may_replace(plain, e);
    }
    /* May a file be created beside it? */
    parent_of(plain, parent);
    if (ok && access(parent, W_OK | X_OK) != 0) ok = error_errno(e, "%s: cannot write there", path);
    free(plain);
    return ok;
}

/* Removes a temporary file unless another process is writing it. That process holds the lock; locks of dead
 * processes are released by the kernel. */
static void remove_if_abandoned(const char *temp) {
    int fd = open(temp, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) remove_tree(temp, -1);
    close(fd);
}

/* Removes all files ".NAME.tmp-NUMBER" beside `path` that no process is writing. */
static void remove_abandoned(const char *path) {
    char parent[PATH_MAX], prefix[NAME_MAX + 8], temp[PATH_MAX];
    const char *slash = strrchr(path, '/');
    parent_of(path, parent);
    size_t n = (size_t)snprintf(prefix, sizeof prefix, ".%s.tmp-", slash ? slash + 1 : path);
    DIR *d = n < sizeof prefix ? opendir(parent) : NULL;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        const char *name = entry->d_name;
        /* Only names that `beside` makes: the prefix and a process id. */
        if (strncmp(name, prefix, n) != 0 || !name[n] || name[n + strspn(name + n, "0123456789")]) continue;
        if (snprintf(temp, sizeof temp, "%s/%s", parent, name) < (int)sizeof temp) remove_if_abandoned(temp);
    }
    if (d) closedir(d);
}

/* Removes the temporary file or folder. The lock is a descriptor of it, which serves to read a folder when
 * no more files can be opened. */
static bool remove_temp(const Output *o) {
    return remove_tree(o->temp, o->is_folder ? o->lock : -1);
}

/* Locks o->temp, which exists, and returns 0, or the errno of the call that failed. EAGAIN stands for the
 * case that another process took the new file for abandoned, because it saw it before it was locked: that
 * process holds the lock or has removed the file. A file system without locks says so by one of the other
 * errors below; the output is then written without one. */
static int lock_temp(Output *o) {
    do
        o->lock = open(o->temp, O_RDONLY | O_CLOEXEC);
    while (o->lock < 0 && errno == EINTR);
    if (o->lock < 0) return errno == ENOENT ? EAGAIN : errno;
    int failed;
    do
        failed = flock(o->lock, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    while (failed == EINTR);
    if (failed == ENOLCK || failed == EOPNOTSUPP || failed == ENOSYS || failed == EINVAL) failed = 0;
    if (!failed && access(o->temp, F_OK) != 0) failed = errno == ENOENT ? EAGAIN : errno;
    return failed;
}

/* Creates o->temp, which must not exist, and locks it. It is created again where another process has taken it
 * for abandoned. On failure nothing is left, and errno has the reason. */
static bool make_temp(Output *o) {
    int failed = 0;
    for (int tries = 0; tries < 10; tries++) {
        /* Create the file or folder. */
        int fd = -1;
        if (o->is_folder ? mkdir(o->temp, 0777) != 0
                         : (fd = open(o->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) < 0) {
            failed = errno;
            if (failed == EINTR) continue;
            break;
        }
        if (fd >= 0) close(fd);
        failed = lock_temp(o);
        if (!failed) return true;
        /* Of a file that another process has locked, that process removes what is left. */
        if (failed != EAGAIN) remove_temp(o);
        close_lock(o);
        if (failed != EAGAIN) break;
    }
    errno = failed;
    return false;
}

/* Begins an output: removes what earlier runs left behind, creates and locks the temporary file or folder,
 * and enters it in the list. o->next is set before open_outputs, so that a signal handler always finds a
 * valid list. */
bool output_begin(Output *o, const char *path, bool is_folder, bool force, Error *e) {
    *o = (Output){.is_folder = is_folder, .force = force, .lock = -1};
    if (!output_may_begin(path, is_folder, force, e)) return false;
    o->path = without_end_slashes(path);
    o->temp = beside(path, "tmp");
    remove_abandoned(o->path);
    if (!make_temp(o)) {
        error_errno(e, "%s: cannot write there", path);
        free(o->path);
        free(o->temp);
        *o = (Output){.lock = -1};
        return false;
    }
    o->next = open_outputs;
    open_outputs = o;
    return true;
}

/* Flushes a file or folder to disk. EINVAL means that the file system cannot flush this kind of file, which
 * is not reported. */
static bool sync_path(const char *path, Error *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_errno(e, "%s", path);
    bool ok = fsync(fd) == 0 || errno == EINVAL || error_errno(e, "%s: cannot be flushed to disk", path);
    close(fd);
    return ok;
}

/* Flushes the folder that holds `path`. */
static bool sync_parent(const char *path, Error *e) {
    char parent[PATH_MAX];
    parent_of(path, parent);
    return sync_path(parent, e);
}

/* Flushes the files of a folder, then the folder itself, whose entries are data too. */
static bool sync_folder(const char *path, Error *e) {
    DIR *d = opendir(path);
    if (!d) return error_errno(e, "%s", path);
    bool ok = true;
    struct dirent *entry;
    while (ok && (entry = readdir(d))) {
        if (entry->d_name[0] == '.' && (!entry->d_name[1] || (entry->d_name[1] == '.' && !entry->d_name[2])))
            continue;
        char file[PATH_MAX];
        if (snprintf(file, sizeof file, "%s/%s", path, entry->d_name) < (int)sizeof file)
            ok = sync_path(file, e);
    }
    closedir(d);
    return ok && sync_path(path, e);
}

/* Puts the new folder in place. rename() replaces an empty folder only, so an existing one is renamed first,
 * and renamed back if the second step fails. Between the two renames there is no folder of that name; no
 * portable call exchanges folders in one step. */
static bool replace_folder(const Output *o, Error *e) {
    /* Move the existing folder out of the way. */
    char *old = beside(o->path, "old");
    remove_tree(old, -1);
    bool had = rename(o->path, old) == 0;
    bool ok = (had || errno == ENOENT) && rename(o->temp, o->path) == 0;
    if (!ok) error_errno(e, "%s: cannot be renamed to its final name", o->path);
    /* Undo the first step if the second failed. */
    if (!ok && had && rename(old, o->path) != 0) error_place(e, "the former output is now %s", old);
    if (ok && had) remove_tree(old, -1);
    free(old);
    return ok;
}

/* The final name was free or replaceable when the output was begun; it is checked again, because another
 * process may have created it since. */
bool output_commit(Output *o, Error *e) {
    /* Make sure that the content is on disk before the name is. */
    bool ok = o->is_folder ? sync_folder(o->temp, e) : sync_path(o->temp, e);
    struct stat st;
    if (ok && !o->force && lstat(o->path, &st) == 0)
        ok = error_set(e, ERR_FAILED, "%s: was created by another process while it was being written",
                       o->path);
    if (ok && o->is_folder)
        ok = replace_folder(o, e);
    else if (ok)
        ok = rename(o->temp, o->path) == 0 ||
             error_errno(e, "%s: cannot be renamed to its final name", o->path);
    if (!ok) return false;
    /* The rename itself reaches the disk when the folder is flushed. */
    ok = sync_parent(o->path, e);
    forget_output(o);
    free(o->temp);
    o->temp = NULL;
    close_lock(o);
    return ok;
}

/* After output_commit, o->temp is NULL and only memory is freed. */
void output_discard(Output *o) {
    if (o->temp) remove_temp(o);
    forget_output(o);
    close_lock(o);
    free(o->temp);
    free(o->path);
    *o = (Output){0};
}

/* Called by a signal handler or by exit() just before the process ends. Another thread may be writing the
 * output meanwhile, and may create a file in a folder between its last removal and that of the folder
 * itself. */
void output_discard_all(void) {
    for (; open_outputs; open_outputs = open_outputs->next)
        for (int tries = 0; tries < 10 && !remove_temp(open_outputs) && errno == ENOTEMPTY; tries++) {}
}

/* Names the mapped input file that `bytes` lie in, which can no longer be read. */
static bool lost_input(const void *bytes, Error *e) {
    char input[PATH_MAX];
    if (!file_mapped_at(bytes, input)) snprintf(input, sizeof input, "an input file");
    return error_set(e, ERR_INPUT, "%s: shrank or became unreadable while it was being read", input);
}

/* write() takes at most 2^31 - 4096 bytes on Linux, so larger requests are cut to 2^30. EFAULT means that
 * `bytes` lies in a mapped input file that was truncated meanwhile. */
bool fd_write(int fd, const void *bytes, size_t n, const char *path, Error *e) {
    const uint8_t *p = bytes;
    size_t left = n;
    while (left) {
        ssize_t w = write(fd, p, left < (1 << 30) ? left : (1 << 30));
        if (w < 0 && errno == EINTR) continue;
        if (w < 0 && errno == EFAULT) /* had we touched the page ourselves, it would have been SIGBUS */
            return lost_input(p, e);
        if (w <= 0)
            return error_errno(e, "%s: cannot write at offset %lld", path, (long long)lseek(fd, 0, SEEK_CUR));
        p += w;
        left -= (size_t)w;
    }
    return true;
}

/* Small files, such as reports, take the same way as models: written beside the final name and renamed. */
bool file_write(const char *path, const void *bytes, size_t n, bool force, Error *e) {
    Output o;
    if (!output_begin(&o, path, false, force, e)) return false;
    int fd = open(o.temp, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 || error_errno(e, "%s", o.temp);
    ok = ok && fd_write(fd, bytes, n, path, e);
    if (fd >= 0 && close(fd) != 0 && ok) ok = error_errno(e, "%s", path);
    ok = ok && output_commit(&o, e);
    output_discard(&o);
    return ok;
}

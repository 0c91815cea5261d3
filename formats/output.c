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
#include "formats/output_folder.h"
#include "formats/path.h"
#include "formats/remove_tree.h"
#include "formats/temp_names.h"

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

/* Writes the canonical form of an output's path to `out`. A symbolic link to a folder is followed, so that
 * the folder is replaced and not the link. A link to a file is itself replaced, as rename(2) does. */
static bool resolve(const char *path, bool is_folder, char out[PATH_MAX], Error *e) {
    if (!*path) return error_set(e, ERR_USAGE, "the output's name is empty");
    return path_resolve(path, is_folder, out) || error_errno(e, "%s", path);
}

/* An open folder cannot be renamed away from under the process: its relative paths would lead elsewhere. */
static bool holds_current_folder(const char *path) {
    char here[PATH_MAX];
    return getcwd(here, sizeof here) && path_lies_in(here, path);
}

/* Checks whether an existing file or folder at the canonical path `path` may be replaced. `name` is the path
 * as the user wrote it. */
static bool may_replace(const char *path, const char *name, bool is_folder, bool force, Error *e) {
    struct stat st;
    /* A symbolic link at `path` would itself be replaced, so it is not followed. */
    if (lstat(path, &st) != 0) return true;
    if (!force) return error_set(e, ERR_FAILED, "%s: exists already; --force replaces it", name);
    if (S_ISDIR(st.st_mode) != is_folder)
        return error_set(e, ERR_FAILED, "%s: is a %s, but a %s is to be written there", name,
                         is_folder ? "file" : "folder", is_folder ? "folder" : "file");
    if (is_folder && holds_current_folder(path))
        return error_set(e, ERR_FAILED, "%s: the current folder cannot be replaced; start derope elsewhere",
                         name);
    return !is_folder || output_folder_may_replace(path, name, e);
}

/* Checks the canonical path of an output before any work is done. */
static bool may_begin(const char *path, const char *name, bool is_folder, bool force, Error *e) {
    char parent[PATH_MAX];
    if (!may_replace(path, name, is_folder, force, e)) return false;
    /* May a file be created beside it? */
    path_parent(path, parent);
    return access(parent, W_OK | X_OK) == 0 || error_errno(e, "%s: cannot write there", name);
}

bool output_may_begin(const char *path, bool is_folder, bool force, Error *e) {
    char canonical[PATH_MAX];
    return resolve(path, is_folder, canonical, e) && may_begin(canonical, path, is_folder, force, e);
}

/* For temp_names_each: removes a temporary file or folder that no process is writing. */
static bool remove_abandoned(const char *temp, const char *path, Error *e) {
    (void)path, (void)e;
    remove_tree(temp, -1);
    return true;
}

bool output_recover(const char *path, Error *e) {
    char canonical[PATH_MAX];
    return !path_resolve(path, true, canonical) || output_folder_recover(canonical, e);
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

/* Begins an output: removes or finishes what earlier runs left behind, creates and locks the temporary file
 * or folder, and enters it in the list. o->next is set before open_outputs, so that a signal handler always
 * finds a valid list. */
bool output_begin(Output *o, const char *path, bool is_folder, bool force, Error *e) {
    char canonical[PATH_MAX];
    *o = (Output){.is_folder = is_folder, .force = force, .lock = -1};
    if (!resolve(path, is_folder, canonical, e)) return false;
    if (is_folder && !output_folder_recover(canonical, e)) return false;
    if (!may_begin(canonical, path, is_folder, force, e)) return false;
    o->path = xstrdup(canonical);
    o->name = xstrdup(path);
    o->temp = temp_name(o->path, TEMP_NEW);
    temp_names_each(o->path, TEMP_NEW, remove_abandoned, e);
    if (!make_temp(o)) {
        error_errno(e, "%s: cannot write there", path);
        free(o->path);
        free(o->name);
        free(o->temp);
        *o = (Output){.lock = -1};
        return false;
    }
    o->next = open_outputs;
    open_outputs = o;
    return true;
}

bool output_has_room(const Output *o, const char *file, Error *e) {
    return output_folder_has_room(o->path, file, e);
}

/* Flushes a file or folder to disk. EINVAL means that the file system cannot flush this kind of file, which
 * is not reported. */
static bool sync_path(const char *path, Error *e) {
    int fd = file_open(path, 0, e), failed;
    if (fd < 0) return false;
    do
        failed = fsync(fd);
    while (failed && errno == EINTR);
    bool ok = !failed || errno == EINVAL || error_errno(e, "%s: cannot be flushed to disk", path);
    close(fd);
    return ok;
}

/* Flushes the folder that holds `path`. */
static bool sync_parent(const char *path, Error *e) {
    char parent[PATH_MAX];
    path_parent(path, parent);
    return sync_path(parent, e);
}

/* Flushes the files of a folder and of those in it, then the folder itself, whose entries are data too. */
static bool sync_folder(const char *path, Error *e) {
    DIR *d = opendir(path);
    if (!d) return error_errno(e, "%s", path);
    bool ok = true;
    struct dirent *entry;
    while (ok && (entry = readdir(d))) {
        if (entry->d_name[0] == '.' && (!entry->d_name[1] || (entry->d_name[1] == '.' && !entry->d_name[2])))
            continue;
        char file[PATH_MAX];
        struct stat entry_st;
        if (snprintf(file, sizeof file, "%s/%s", path, entry->d_name) < (int)sizeof file)
            ok = lstat(file, &entry_st) == 0 && S_ISDIR(entry_st.st_mode) ? sync_folder(file, e)
                                                                          : sync_path(file, e);
    }
    closedir(d);
    return ok && sync_path(path, e);
}

/* The final name was free or replaceable when the output was begun; it is checked again, because another
 * process may have created it since. */
bool output_commit(Output *o, Error *e) {
    /* Make sure that the content is on disk before the name is. */
    bool ok = o->is_folder ? sync_folder(o->temp, e) : sync_path(o->temp, e);
    struct stat st;
    bool exists = lstat(o->path, &st) == 0;
    if (ok && !o->force && exists)
        ok = error_set(e, ERR_FAILED, "%s: was created by another process while it was being written",
                       o->name);
    if (ok && o->is_folder)
        ok = output_folder_place(o->temp, o->path, e);
    else if (ok)
        ok = (o->force ? rename(o->temp, o->path) == 0 : path_move(o->temp, o->path)) ||
             error_errno(e, "%s: cannot be renamed to its final name", o->name);
    if (!ok) return false;
    /* Renames reach the disk when the folders are flushed: of files that were moved into the new folder, and
     * of the new folder itself. */
    ok = (!o->is_folder || !exists || sync_path(o->path, e)) && sync_parent(o->path, e);
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
    free(o->name);
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
    int fd = file_open_output(o.temp, 0, e);
    bool ok = fd >= 0;
    ok = ok && fd_write(fd, bytes, n, path, e);
    if (fd >= 0) ok = file_close_output(fd, path, ok ? e : NULL) && ok;
    ok = ok && output_commit(&o, e);
    output_discard(&o);
    return ok;
}

/* Replacing folders: see formats/output_folder.h. The functions walk through the old folder and decide for
 * each entry, by the list of owned_files.c, whether it is derope's or somebody else's. */
#include "formats/output_folder.h"

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
#include "formats/file_names.h"
#include "formats/owned_files.h"
#include "formats/path.h"
#include "formats/temp_names.h"

/* An old folder whose entries are checked or moved, and the new one. */
typedef struct Merge {
    const char *from, *to;
    json_t *owned; /* as owned_files returns it for `from`; NULL: nothing in it is derope's */
    bool moves;    /* entries are moved or removed, and folders that have become empty too */
} Merge;

/* What is done with one entry. `name` is its path relative to both folders, and `hash` the value that the
 * list has for it, or NULL if it is not derope's. */
typedef bool (*Visit)(const Merge *m, const char *name, const char *hash, Error *e);

/* ---- walking through a folder ---- */

/* "FOLDER/NAME"; false with an error if that is too long. */
static bool join(char out[PATH_MAX], const char *folder, const char *name, Error *e) {
    return snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX ||
           error_set(e, ERR_FAILED, "%s/%s: the path is too long", folder, name);
}

/* Filter for scandir. */
static int is_entry(const struct dirent *d) {
    return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

/* True if the list has a file in the folder `name`. */
static bool owns_part_of(const json_t *owned, const char *name) {
    size_t n = strlen(name);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)owned, key, value) {
        if (strncmp(key, name, n) == 0 && key[n] == '/') return true;
    }
    return false;
}

static bool walk(const Merge *m, const char *below, Visit visit, Error *e);

/* Visits one entry. A folder that holds files of derope is walked through; any other folder is one entry. */
static bool visit_entry(const Merge *m, const char *name, Visit visit, Error *e) {
    char path[PATH_MAX];
    struct stat st;
    if (!join(path, m->from, name, e)) return false;
    if (lstat(path, &st) != 0) return errno == ENOENT || error_errno(e, "%s", path);
    if (S_ISDIR(st.st_mode) && owns_part_of(m->owned, name)) {
        if (!walk(m, name, visit, e)) return false;
        /* A folder whose entries have been moved or removed goes before the manifest does. */
        if (m->moves) rmdir(path);
        return true;
    }
    const char *hash = S_ISREG(st.st_mode) || S_ISLNK(st.st_mode)
                           ? json_string_value(json_object_get(m->owned, name))
                           : NULL;
    return visit(m, name, hash, e);
}

/* Visits what is in the folder `below`, a path relative to m->from, "" for m->from itself. The names are read
 * before any entry is moved. The manifest is visited last: while it is there, a later run can go on. */
static bool walk(const Merge *m, const char *below, Visit visit, Error *e) {
    char folder[PATH_MAX], name[PATH_MAX];
    struct dirent **list;
    if (!join(folder, m->from, below, e)) return false;
    int n = scandir(folder, &list, is_entry, alphasort);
    if (n < 0) return error_errno(e, "%s", folder);
    bool ok = true, manifest = false;
    for (int i = 0; i < n; i++) {
        int length = snprintf(name, sizeof name, "%s%s%s", below, *below ? "/" : "", list[i]->d_name);
        free(list[i]);
        if (ok && length >= (int)sizeof name) ok = error_set(e, ERR_FAILED, "%s: too deep", folder);
        if (ok && strcmp(name, MANIFEST_FILE) == 0)
            manifest = true;
        else
            ok = ok && visit_entry(m, name, visit, e);
    }
    free(list);
    return ok && (!manifest || visit_entry(m, MANIFEST_FILE, visit, e));
}

/* ---- checking ---- */

/* Visit: what is not derope's has to have a free place in the new folder, and must be on the file system that
 * the new folder is on, as it is moved by renaming. */
static bool check_entry(const Merge *m, const char *name, const char *hash, Error *e) {
    char from[PATH_MAX], to[PATH_MAX];
    struct stat old, folder, taken;
    if (hash) return true;
    if (!join(from, m->from, name, e) || !join(to, m->to, name, e)) return false;
    if (lstat(to, &taken) == 0)
        return error_set(e, ERR_FAILED,
                         "%s: was not written by derope, and a file of this name is to be written; move it "
                         "away or choose another output",
                         from);
    if (lstat(from, &old) == 0 && stat(m->from, &folder) == 0 && old.st_dev != folder.st_dev)
        return error_set(e, ERR_FAILED,
                         "%s: is another file system, so the folder that holds it cannot be replaced", from);
    return true;
}

/* Sets the error for a folder without a manifest, which names up to three of the things in it. */
static bool refuse_foreign(const char *name, struct dirent **list, int n, Error *e) {
    Buffer names = {0};
    for (int i = 0; i < n && i < 3; i++)
        buffer_printf(&names, "%s%s", i ? ", " : "", list[i]->d_name);
    if (n > 3) buffer_printf(&names, " and %d more", n - 3);
    error_set(e, ERR_FAILED,
              "%s: derope did not write this folder, and does not replace what is in it (%s); choose another "
              "name, or move it away",
              name, buffer_string(&names));
    buffer_free(&names);
    return false;
}

bool output_folder_may_replace(const char *path, const char *name, Error *e) {
    struct dirent **list;
    Error reason = {0};
    /* A folder that cannot be read is left to the later steps, whose errors say why. */
    int n = scandir(path, &list, is_entry, alphasort);
    if (n < 0) return error_errno(e, "%s: cannot be read", name);
    json_t *owned = n ? owned_files(path, &reason) : NULL;
    bool ok = true;
    if (n && !owned)
        ok = reason.code ? error_set(e, ERR_FAILED, "%s", reason.message) : refuse_foreign(name, list, n, e);
    if (ok && access(path, W_OK | X_OK) != 0) ok = error_errno(e, "%s: cannot write there", name);
    for (int i = 0; i < n; i++)
        free(list[i]);
    free(list);
    json_decref(owned);
    return ok;
}

bool output_folder_has_room(const char *path, const char *file, Error *e) {
    char at[PATH_MAX];
    struct stat st;
    Error ignored = {0};
    if (!join(at, path, file, e)) return false;
    if (lstat(at, &st) != 0) return true;
    json_t *owned = owned_files(path, &ignored);
    bool ours = json_object_get(owned, file) && !S_ISDIR(st.st_mode);
    json_decref(owned);
    return ours || error_set(e, ERR_FAILED,
                             "%s: was not written by derope, and a file of this name is to be written; move "
                             "it away or choose another output",
                             at);
}

/* ---- moving ---- */

/* Creates the folders of `name` below `folder` that are missing. */
static void make_folders(const char *folder, const char *name) {
    char path[PATH_MAX];
    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/'))
        if (snprintf(path, sizeof path, "%s/%.*s", folder, (int)(slash - name), name) < (int)sizeof path)
            mkdir(path, 0777);
}

/* Visit: removes a file of derope, and moves everything else to the new folder. */
static bool move_entry(const Merge *m, const char *name, const char *hash, Error *e) {
    char from[PATH_MAX], to[PATH_MAX];
    if (!join(from, m->from, name, e) || !join(to, m->to, name, e)) return false;
    bool edited = hash && owned_file_edited(from, hash);
    if (hash && !edited) return unlink(from) == 0 || error_errno(e, "%s: cannot be removed", from);
    make_folders(m->to, name);
    if (edited) return owned_file_keep(from, m->to, name, e);
    return path_move(from, to) || error_errno(e, "%s: cannot be moved to %s", from, to);
}

/* Step 3 of the head of the header: empties the old folder `from` into `to` and removes it. */
static bool empty_old(const char *from, const char *to, Error *e) {
    Error reason = {0};
    Merge m = {.from = from, .to = to, .owned = owned_files(from, &reason), .moves = true};
    bool ok = walk(&m, "", move_entry, e);
    if (ok && rmdir(from) != 0) ok = error_errno(e, "%s: cannot be removed", from);
    if (!ok)
        error_place(e,
                    "%s is written, but not everything that was there before could be moved into it; the "
                    "rest is in %s",
                    to, from);
    json_decref(m.owned);
    return ok;
}

/* ---- the public steps ---- */

/* Exchanges two folders by three renames, where the file system has no call for that. Undoes what it did if a
 * step fails. `free_name` is a name that nothing has. */
static bool exchange_by_renames(const char *old, const char *path, const char *free_name) {
    if (rename(old, free_name) != 0) return false;
    if (rename(path, old) == 0) {
        if (rename(free_name, path) == 0) return true;
        if (rename(old, path) != 0) return false;
    }
    int saved = errno;
    rename(free_name, old);
    errno = saved;
    return false;
}

/* Steps 1 and 2. */
static bool exchange(const char *temp, const char *old, const char *path, Error *e) {
    if (!path_move(temp, old)) return error_errno(e, "%s: cannot be renamed to %s", temp, old);
    if (renameat2(AT_FDCWD, old, AT_FDCWD, path, RENAME_EXCHANGE) == 0) return true;
    bool unknown = errno == EINVAL || errno == ENOSYS || errno == ENOTSUP;
    if (unknown && exchange_by_renames(old, path, temp)) return true;
    /* Undo step 1, so that the caller finds the new folder under its temporary name. */
    error_errno(e, "%s: cannot be renamed to its final name", path);
    struct stat st;
    if (lstat(path, &st) == 0) path_move(old, temp);
    return false;
}

/* Replaces a folder that exists. Its lock tells other processes that it is being replaced. */
static bool replace(const char *temp, const char *path, Error *e) {
    int lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0) return error_errno(e, "%s", path);
    char *old = temp_name(path, TEMP_OLD);
    Merge m = {.from = path, .to = temp, .owned = owned_files(path, e)};
    bool ok = m.owned || e->code == ERR_NONE;
    if (ok && flock(lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        ok = error_set(e, ERR_FAILED, "%s: is being written by another process", path);
    ok = ok && walk(&m, "", check_entry, e) && exchange(temp, old, path, e) && empty_old(old, path, e);
    json_decref(m.owned);
    free(old);
    close(lock);
    return ok;
}

bool output_folder_place(const char *temp, const char *path, Error *e) {
    if (path_move(temp, path)) return true;
    if (errno == EEXIST) return replace(temp, path, e);
    return error_errno(e, "%s: cannot be renamed to its final name", path);
}

/* For temp_names_each. If OUT is missing, the process died between two renames, and the old folder goes back
 * to its place. */
static bool recover(const char *old, const char *path, Error *e) {
    return path_move(old, path) ||
           (errno == EEXIST ? empty_old(old, path, e)
                            : error_errno(e, "%s: cannot be renamed to %s", old, path));
}

bool output_folder_recover(const char *path, Error *e) {
    return temp_names_each(path, TEMP_OLD, recover, e);
}

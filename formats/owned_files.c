/* The files that a manifest lists: see formats/owned_files.h. surgery/manifest.c writes the manifest with the
 * members "files" (the files beside the weights, with their hashes) and "weights". This file reads only these
 * two, as output_folder.c needs them. */
#include "formats/owned_files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/file.h"
#include "formats/file_names.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/path.h"

enum { MAX_MANIFEST = 1 << 28 }; /* bytes; a manifest takes about 200 for each tensor */

/* True if the name stays inside the folder: relative, without empty parts and without "..". A manifest is
 * read from disk and might name anything. */
static bool stays_inside(const char *name) {
    if (!*name) return false;
    for (const char *part = name; part; part = strchr(part, '/')) {
        part += *part == '/';
        size_t n = strcspn(part, "/");
        if (n == 0 || (n <= 2 && strspn(part, ".") >= n)) return false;
    }
    return true;
}

/* Adds the files of one list of the manifest. */
static void add_listed(json_t *owned, const json_t *list) {
    size_t i;
    json_t *row;
    json_array_foreach(list, i, row) {
        const char *name = json_get_string(row, "file"), *hash = json_get_string(row, "xxh3_128");
        if (name && stays_inside(name)) json_object_set_new(owned, name, json_string(hash ? hash : ""));
    }
}

/* Filter for scandir: the names that weights and their index have. */
static int is_weights(const struct dirent *d) {
    int end = 0;
    sscanf(d->d_name, "model-%*5u-of-%*5u.safetensors%n", &end);
    return (end && !d->d_name[end]) || strcmp(d->d_name, SAFETENSORS_FILE) == 0 ||
           strcmp(d->d_name, SAFETENSORS_FILE INDEX_ENDING) == 0;
}

/* Adds the weights of an output whose manifest does not list them, as those of earlier versions. */
static void add_weights(json_t *owned, const char *folder) {
    struct dirent **list;
    int n = scandir(folder, &list, is_weights, alphasort);
    for (int i = 0; i < n; i++) {
        json_object_set_new(owned, list[i]->d_name, json_string(""));
        free(list[i]);
    }
    if (n >= 0) free(list);
}

json_t *owned_files(const char *folder, Error *e) {
    char path[PATH_MAX];
    Buffer text = {0};
    e->code = ERR_NONE;
    if (snprintf(path, sizeof path, "%s/%s", folder, MANIFEST_FILE) >= (int)sizeof path ||
        (access(path, F_OK) != 0 && errno == ENOENT))
        return NULL;
    json_t *manifest =
               file_read(path, MAX_MANIFEST, &text, e) ? json_parse(path, text.data, text.size, e) : NULL,
           *owned = NULL;
    buffer_free(&text);
    if (json_is_array(json_object_get(manifest, "tensors"))) {
        owned = json_object();
        json_object_set_new(owned, MANIFEST_FILE, json_string(""));
        add_listed(owned, json_object_get(manifest, "files"));
        add_listed(owned, json_object_get(manifest, "weights"));
        if (!json_object_get(manifest, "weights")) add_weights(owned, folder);
    } else if (manifest) {
        error_set(e, ERR_FAILED, "%s: lists no tensors, so it is no manifest", path);
    }
    if (!owned) e->code = ERR_FAILED;
    json_decref(manifest);
    return owned;
}

bool owned_file_edited(const char *path, const char *hash) {
    char found[33];
    Error ignored = {0};
    struct stat st;
    if (!*hash) return false;
    /* Only regular files are read, as a FIFO would wait for a writer. */
    return stat(path, &st) != 0 || !S_ISREG(st.st_mode) || !hash_file(path, found, &ignored) ||
           strcmp(found, hash) != 0;
}

bool owned_file_keep(const char *path, const char *folder, const char *name, Error *e) {
    char kept[PATH_MAX], beside[PATH_MAX];
    struct stat st;
    for (int i = 1; i < 1000; i++) {
        char number[8] = "";
        if (i > 1) snprintf(number, sizeof number, "-%d", i);
        /* The name has to be free where the file is, too, because what has it there is moved as well. */
        if (snprintf(beside, sizeof beside, "%s.edited%s", path, number) < (int)sizeof beside &&
            lstat(beside, &st) == 0)
            continue;
        if (snprintf(kept, sizeof kept, "%s/%s.edited%s", folder, name, number) >= (int)sizeof kept)
            errno = ENAMETOOLONG;
        else if (path_move(path, kept))
            return true;
        if (errno != EEXIST) break;
    }
    return error_errno(e, "%s: was edited and cannot be kept as %s", path, kept);
}

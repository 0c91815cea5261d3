/* Reads Hugging Face folders: see formats/hf_folder.h. The first part implements struct Folder for a folder
 * on disk; the second part reads a folder through that struct. hf_zip.c implements the struct for a folder in
 * a zip file and calls the second part too. */
#include "formats/hf_folder.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/container.h"
#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/text.h"

enum { MAX_INDEX = 256 << 20 }; /* bytes; an index takes about 100 bytes for each tensor */

/* True if the name is that of a weights file or of its index, so that it is not copied as a side file. The
 * endings are those of PyTorch, TensorFlow (.h5), Flax (.msgpack), Rust (.ot), ONNX, Lightning (.ckpt) and
 * GGUF. */
bool hf_is_weights(const char *name) {
    static const char *const endings[] = {".safetensors", ".bin",     ".pt", ".pth",  ".gguf", ".index.json",
                                          ".h5",          ".msgpack", ".ot", ".onnx", ".ckpt"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (text_ends_with(name, endings[i])) return true;
    return false;
}

/* ---- on disk ---- */

/* Filter for scandir. Hidden files, such as .gitattributes, do not belong to the model. */
static int is_side_file(const struct dirent *d) {
    return d->d_name[0] != '.' && !hf_is_weights(d->d_name);
}

/* Adds every regular file of the folder that is not hidden and not a weights file, mapped. Directories and
 * files whose path is too long are left out. */
bool hf_read_side_files(Checkpoint *c, const char *folder, Error *e) {
    struct dirent **list;
    int n =
        scandir(folder, &list, is_side_file, alphasort); /* sorted, because the order on disk is arbitrary */
    if (n < 0) return error_errno(e, "%s", folder);
    /* Every name is freed, even after an error. */
    bool ok = true;
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;
        char path[PATH_MAX];
        struct stat st;
        if (ok && snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path &&
            stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            const ByteSource *file = checkpoint_map(c, path, e);
            ok = file != NULL;
            if (ok) checkpoint_add_file(c, name, file->map, file->size);
        }
        free(list[i]);
    }
    free(list);
    return ok;
}

/* The functions of struct Folder for a folder on disk, where f->path is its path. */
static bool disk_side_files(const Folder *f, Checkpoint *c, Error *e) {
    return hf_read_side_files(c, f->path, e);
}

/* The path of a file in the folder; false if it does not fit in PATH_MAX. */
static bool disk_path(const Folder *f, const char *name, char path[PATH_MAX], Error *e) {
    return snprintf(path, PATH_MAX, "%s/%s", f->path, name) < PATH_MAX ||
           error_set(e, ERR_INPUT, "%s: '%.100s': the path is too long", f->path, name);
}

/* Folder.has: true for files of any kind, even unreadable ones, so that reading them reports the reason. */
static bool disk_has(const Folder *f, const char *name) {
    char path[PATH_MAX];
    struct stat st;
    return disk_path(f, name, path, NULL) && stat(path, &st) == 0;
}

/* Folder.map. */
static const ByteSource *disk_map(const Folder *f, Checkpoint *c, const char *name, Error *e) {
    char path[PATH_MAX];
    return disk_path(f, name, path, e) ? checkpoint_map(c, path, e) : NULL;
}

/* Folder.read_weights: a file of any kind that container.c recognizes. */
static bool disk_weights(const Folder *f, Checkpoint *c, const char *name, Error *e) {
    char path[PATH_MAX];
    return disk_path(f, name, path, e) && container_read(c, path, e);
}

/* Reads a folder on disk by the functions above. */
bool hf_read(Checkpoint *c, const char *folder, Error *e) {
    Folder f = {.path = folder,
                .has = disk_has,
                .map = disk_map,
                .read_weights = disk_weights,
                .read_side_files = disk_side_files};
    return hf_read_folder(c, &f, e);
}

/* ---- anywhere ---- */

/* Reads a weights file of the folder. A GGUF under the name of one is refused with advice, because
 * config.json need not describe that file. */
static bool read_weights(Checkpoint *c, const Folder *f, const char *name, Error *e) {
    if (!f->read_weights(f, c, name, e)) return false;
    if (c->format == FORMAT_GGUF)
        return error_set(e, ERR_INPUT, "%s/%s: a GGUF file; give the path of the file, not of its folder",
                         f->path, name);
    return true;
}

/* Order of strings, for qsort. */
static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* True if an index may name this file as a shard. The index is untrusted, so the name must not lead out of
 * the folder: no separator, not hidden, not empty. */
static bool plain_name(const char *s) {
    return *s && *s != '.' && !strchr(s, '/') && !strchr(s, '\\') && strlen(s) < 256;
}

/* Reads one shard and checks that the index (`map`, its weight_map) names this shard for each tensor in it. A
 * tensor elsewhere than the index says is a sign of mixed-up files. */
static bool read_shard(Checkpoint *c, const Folder *f, const char *index, const json_t *map,
                       const char *shard, Error *e) {
    /* The tensors that this shard adds are those from `first` on. */
    size_t first = c->n_tensors;
    if (!read_weights(c, f, shard, e)) return false;
    for (size_t i = first; i < c->n_tensors; i++) {
        const char *name = c->tensors[i].name, *named = json_get_string(map, name);
        if (!named)
            return error_set(e, ERR_INPUT, "%s: tensor '%.200s' of %.100s is not in the index", index, name,
                             shard);
        if (strcmp(named, shard) != 0)
            return error_set(e, ERR_INPUT, "%s: tensor '%.200s' should be in %.100s but is in %.100s", index,
                             name, named, shard);
    }
    return true;
}

/* Checks that each tensor of the index was found in a shard. */
static bool refuse_missing(const Checkpoint *c, const char *index, const json_t *map, Error *e) {
    const char *name;
    json_t *shard;
    json_object_foreach((json_t *)map, name, shard) {
        if (!checkpoint_find(c, name))
            return error_set(e, ERR_INPUT, "%s: tensor '%.200s' is not in %.100s", index, name,
                             json_string_value(shard));
    }
    return true;
}

/* Returns the names of the shards in an index, sorted, each once, with NULL at the end; the caller frees the
 * table with free(). NULL with an error if one is not a plain file name. */
static const char **shard_names(const char *index, const json_t *map, Error *e) {
    const char **shards = xcalloc(json_object_size(map) + 1, sizeof *shards);
    /* Many tensors name the same shard; collect all names first. */
    size_t n = 0, distinct = 0;
    const char *name;
    json_t *shard;
    json_object_foreach((json_t *)map, name, shard) {
        const char *s = json_string_value(shard);
        if (!s || !plain_name(s)) {
            error_set(e, ERR_INPUT, "%s: the shard of tensor '%.100s', '%.100s', is not a file name", index,
                      name, s ? s : "(not a string)");
            free(shards);
            return NULL;
        }
        shards[n++] = s;
    }
    /* Sort, and keep one of each. */
    qsort(shards, n, sizeof *shards, by_text);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(shards[i], shards[distinct - 1]) != 0) shards[distinct++] = shards[i];
    shards[distinct] = NULL;
    return shards;
}

/* Reads the index and all shards that it names. The index itself is mapped, as all files of a checkpoint are,
 * so that overwriting it later is refused like overwriting a shard. */
static bool read_shards(Checkpoint *c, const Folder *f, const char *index_name, Error *e) {
    const ByteSource *file = f->map(f, c, index_name, e);
    const char *index = file ? file->path : "";
    if (file && file->size > MAX_INDEX)
        return error_set(e, ERR_INPUT, "%s: larger than the %d bytes such a file may have", index, MAX_INDEX);
    /* Parse the index. */
    json_t *root = file ? json_parse(index, file->map, file->size, e) : NULL;
    if (!root) return false;
    json_t *map = json_object_get(root, "weight_map");
    bool ok = json_is_object(map) || error_set(e, ERR_INPUT, "%s: has no weight_map", index);
    /* Read its shards, then look for tensors that none of them had. */
    const char **shards = ok ? shard_names(index, map, e) : NULL;
    ok = shards != NULL;
    for (size_t i = 0; ok && shards[i]; i++)
        ok = read_shard(c, f, index, map, shards[i], e);
    ok = ok && refuse_missing(c, index, map, e);
    free(shards);
    json_decref(root);
    return ok;
}

/* safetensors is preferred over PyTorch files, and a whole file over shards, as in transformers'
 * from_pretrained. */
bool hf_read_folder(Checkpoint *c, const Folder *f, Error *e) {
    c->format = FORMAT_HF;
    if (!f->read_side_files(f, c, e)) return false;
    /* The two forms of weights, each as one file or as shards with an index. */
    static const char *const weights[] = {SAFETENSORS_FILE, PYTORCH_FILE};
    for (int i = 0; i < 2; i++) {
        char index[64];
        snprintf(index, sizeof index, "%s" INDEX_ENDING, weights[i]);
        if (f->has(f, weights[i])) return read_weights(c, f, weights[i], e);
        if (f->has(f, index)) return read_shards(c, f, index, e);
    }
    return error_set(e, ERR_INPUT,
                     "%s: no weights here (expected " SAFETENSORS_FILE ", " SAFETENSORS_FILE INDEX_ENDING
                     ", " PYTORCH_FILE " or " PYTORCH_FILE INDEX_ENDING ")",
                     f->path);
}

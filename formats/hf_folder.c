/* Reads Hugging Face folders: see formats/hf_folder.h. The first part implements struct Folder for a folder
 * on disk; the second part reads a folder through that struct. hf_zip.c implements the struct for a folder in
 * a zip file and calls the second part too. */
#include "formats/hf_folder.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* Limits on what is taken from folders beside the weights. They are far above what a model's files need, and
 * keep out data that somebody put there: in a GGUF, all of it would be copied into keys. */
enum { MAX_NESTING = 4, MAX_NESTED_FILES = 4096, MAX_NESTED_BYTES = 64 << 20, MAX_NAMED = 4 };

/* Each part of the path has to be a name that stays where it is. */
bool hf_side_file_name(const char *name) {
    size_t parts = 0;
    for (const char *at = name; at; parts++) {
        const char *slash = strchr(at, '/');
        size_t n = slash ? (size_t)(slash - at) : strlen(at);
        if (n == 0 || *at == '.' || n > NAME_MAX || memchr(at, '\\', n)) return false;
        at = slash ? slash + 1 : NULL;
    }
    return parts <= MAX_NESTING + 1;
}

void hf_leave_out(Checkpoint *c, const char *name) {
    const char *before = c->not_carried;
    if (c->n_not_carried++ <= MAX_NAMED)
        c->not_carried = arena_printf(&c->arena, "%s%s%.200s", before ? before : "", before ? ", " : "",
                                      c->n_not_carried > MAX_NAMED ? "..." : name);
}

/* A nested file is carried unless it is weights, or so large that it is data. */
bool hf_carries_nested(Checkpoint *c, const char *name, uint64_t size) {
    if (hf_side_file_name(name) && !hf_is_weights(name) && size <= MAX_NESTED_BYTES &&
        c->n_files < MAX_NESTED_FILES)
        return true;
    hf_leave_out(c, name);
    return false;
}

/* Filter for scandir. Hidden files, such as .gitattributes, do not belong to the model. */
static int is_visible(const struct dirent *d) {
    return d->d_name[0] != '.';
}

/* Whether a folder is a model, or an adapter of one, by itself: a checkpoint of the training, for instance.
 */
static bool is_model(const char *folder) {
    static const char *const marks[] = {CONFIG_FILE, ADAPTER_CONFIG_FILE};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        char path[PATH_MAX];
        if (snprintf(path, sizeof path, "%s/%s", folder, marks[i]) < (int)sizeof path &&
            access(path, F_OK) == 0)
            return true;
    }
    return false;
}

/* Whether the model would silently be another one without the file. */
static bool is_needed(const char *name) {
    static const char *const needed[] = {CONFIG_FILE,
                                         TOKENIZER_FILE,
                                         TOKENIZER_CONFIG_FILE,
                                         SENTENCEPIECE_FILE,
                                         ADDED_TOKENS_FILE,
                                         SPECIAL_TOKENS_FILE,
                                         VOCAB_FILE,
                                         MERGES_FILE,
                                         CHAT_TEMPLATE_FILE,
                                         GENERATION_CONFIG_FILE};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (strcmp(name, needed[i]) == 0) return true;
    return false;
}

static bool add_folder(Checkpoint *c, const char *folder, const char *within, Error *e);

/* Adds one entry of a folder: a file, or a folder with all that is in it. `name` is its path within the
 * model's folder. A link to a folder is not followed, because it may lead back. */
static bool add_entry(Checkpoint *c, const char *path, const char *name, Error *e) {
    struct stat st, link;
    bool nested = strchr(name, '/') != NULL;
    if (stat(path, &st) != 0) {
        /* A broken link, such as that of a download which was not finished. */
        if (is_needed(name)) return error_set(e, ERR_INPUT, "%s: cannot be read: %s", path, strerror(errno));
        hf_leave_out(c, name);
        return true;
    }
    if (S_ISDIR(st.st_mode) && lstat(path, &link) == 0 && S_ISDIR(link.st_mode)) {
        if (hf_side_file_name(name) && !is_model(path)) return add_folder(c, path, name, e);
        hf_leave_out(c, name);
        return true;
    }
    if (!S_ISREG(st.st_mode)) return true;
    if (nested ? !hf_carries_nested(c, name, (uint64_t)st.st_size) : hf_is_weights(name)) return true;
    const ByteSource *file = checkpoint_map(c, path, e);
    if (file) checkpoint_add_file(c, name, file->map, file->size);
    return file != NULL;
}

/* Adds the entries of a folder. `within` is its path within the model's folder, "" for that folder itself. */
static bool add_folder(Checkpoint *c, const char *folder, const char *within, Error *e) {
    struct dirent **list;
    int n =
        scandir(folder, &list, is_visible, alphasort); /* sorted, because the order on disk is arbitrary */
    if (n < 0) return error_errno(e, "%s", folder);
    /* Every name is freed, even after an error. */
    bool ok = true;
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX], name[PATH_MAX];
        if (ok && snprintf(path, sizeof path, "%s/%s", folder, list[i]->d_name) < (int)sizeof path &&
            snprintf(name, sizeof name, "%s%s%s", within, *within ? "/" : "", list[i]->d_name) <
                (int)sizeof name)
            ok = add_entry(c, path, name, e);
        free(list[i]);
    }
    free(list);
    return ok;
}

/* Files whose path is too long are left out. */
bool hf_read_side_files(Checkpoint *c, const char *folder, Error *e) {
    return add_folder(c, folder, "", e);
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
    if (f->has(f, ADAPTER_CONFIG_FILE))
        return error_set(e, ERR_INPUT,
                         "%s: an adapter (" ADAPTER_CONFIG_FILE
                         "), which is no model by itself; merge it into its base model first",
                         f->path);
    return error_set(e, ERR_INPUT,
                     "%s: no weights here (expected " SAFETENSORS_FILE ", " SAFETENSORS_FILE INDEX_ENDING
                     ", " PYTORCH_FILE " or " PYTORCH_FILE INDEX_ENDING ")",
                     f->path);
}

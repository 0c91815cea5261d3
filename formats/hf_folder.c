/* A Hugging Face folder: configuration and tokenizer files, and the weights in one or several files. */
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/containers.h"
#include "formats/file.h"
#include "formats/json.h"

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static bool is_weights(const char *name) {
    static const char *const endings[] = {".safetensors", ".bin",     ".pt", ".pth",  ".gguf", ".index.json",
                                          ".h5",          ".msgpack", ".ot", ".onnx", ".ckpt"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends_with(name, endings[i])) return true;
    return false;
}

static bool read_side_files(Checkpoint *c, const char *folder, Error *e) {
    DIR *d = opendir(folder);
    if (!d) return error_errno(e, "%s", folder);
    bool ok = true;
    struct dirent *entry;
    while (ok && (entry = readdir(d))) {
        const char *name = entry->d_name;
        char path[PATH_MAX];
        struct stat st;
        if (name[0] == '.' || is_weights(name) ||
            snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path || stat(path, &st) != 0 ||
            !S_ISREG(st.st_mode))
            continue;
        const ByteSource *file = checkpoint_map(c, path, e);
        ok = file != NULL;
        if (ok) checkpoint_add_file(c, name, file->map, file->size);
    }
    closedir(d);
    return ok;
}

typedef bool (*ShardReader)(Checkpoint *c, const char *path, Error *e);

static bool exists(const char *folder, const char *name) {
    char path[PATH_MAX];
    struct stat st;
    return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && stat(path, &st) == 0;
}

static bool read_one(Checkpoint *c, const char *folder, const char *name, ShardReader reader, Error *e) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return error_set(e, ERR_INPUT, "%s: '%.100s': the path is too long", folder, name);
    return reader(c, path, e);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A shard is a file of this folder and nothing else. */
static bool plain_name(const char *s) {
    return *s && *s != '.' && !strchr(s, '/') && !strchr(s, '\\') && strlen(s) < 256;
}

static bool check_map(const Checkpoint *c, const char *index, const json_t *map, Error *e) {
    const char *name;
    json_t *shard;
    json_object_foreach((json_t *)map, name, shard) {
        const Tensor *t = checkpoint_find(c, name);
        if (!t) return error_set(e, ERR_INPUT, "%s: tensor '%.200s' is in none of the shards", index, name);
        if (!t->n_parts || !t->parts->source->path) continue;
        const char *slash = strrchr(t->parts->source->path, '/');
        const char *file = slash ? slash + 1 : t->parts->source->path;
        if (c->format == FORMAT_HF && strcmp(file, json_string_value(shard)) != 0)
            return error_set(e, ERR_INPUT, "%s: tensor '%.200s' should be in %.100s but is in %.100s", index,
                             name, json_string_value(shard), file);
    }
    if (json_object_size(map) != c->n_tensors)
        for (size_t i = 0; i < c->n_tensors; i++)
            if (!json_object_get(map, c->tensors[i].name))
                return error_set(e, ERR_INPUT, "%s: tensor '%.200s' is in a shard but not in the index",
                                 index, c->tensors[i].name);
    return true;
}

static bool read_shards(Checkpoint *c, const char *folder, const char *index_name, ShardReader reader,
                        Error *e) {
    char index[PATH_MAX];
    snprintf(index, sizeof index, "%s/%s", folder, index_name);
    Buffer text = {0};
    json_t *root = file_read(index, 256 << 20, &text, e) ? json_parse(index, text.data, text.size, e) : NULL;
    buffer_free(&text);
    if (!root) return false;
    json_t *map = json_object_get(root, "weight_map");
    bool ok = json_is_object(map) || error_set(e, ERR_INPUT, "%s: has no weight_map", index);
    const char **shards = xcalloc(json_object_size(map) + 1, sizeof *shards);
    size_t n = 0;
    const char *name;
    json_t *shard;
    json_object_foreach(map, name, shard) {
        const char *s = json_string_value(shard);
        if (ok && (!s || !plain_name(s)))
            ok = error_set(e, ERR_INPUT, "%s: the shard of tensor '%.100s', '%.100s', is not a file name",
                           index, name, s ? s : "(not a string)");
        if (ok) shards[n++] = s;
    }
    qsort(shards, n, sizeof *shards, by_text);
    for (size_t i = 0; ok && i < n; i++)
        if (i == 0 || strcmp(shards[i - 1], shards[i]) != 0) ok = read_one(c, folder, shards[i], reader, e);
    ok = ok && check_map(c, index, map, e);
    free(shards);
    json_decref(root);
    return ok;
}

bool hf_read(Checkpoint *c, const char *folder, Error *e) {
    c->format = FORMAT_HF;
    if (!read_side_files(c, folder, e)) return false;
    if (exists(folder, "model.safetensors"))
        return read_one(c, folder, "model.safetensors", safetensors_read, e);
    if (exists(folder, "model.safetensors.index.json"))
        return read_shards(c, folder, "model.safetensors.index.json", safetensors_read, e);
    c->format = FORMAT_TORCH;
    if (exists(folder, "pytorch_model.bin"))
        return read_one(c, folder, "pytorch_model.bin", torch_zip_read, e);
    if (exists(folder, "pytorch_model.bin.index.json"))
        return read_shards(c, folder, "pytorch_model.bin.index.json", torch_zip_read, e);
    return error_set(e, ERR_INPUT,
                     "%s: no weights here (expected model.safetensors, model.safetensors.index.json, "
                     "pytorch_model.bin or pytorch_model.bin.index.json)",
                     folder);
}

/* Writes a Hugging Face folder: safetensors (sharded when large), side files, derope.json. */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/drain.h"
#include "formats/file.h"
#include "formats/json.h"

#define DEFAULT_SHARD 5000000000u /* what the hub's own tools use */

/* Which shard each tensor goes to; in file order, a shard is closed before it would pass the limit. */
static size_t assign_shards(const Checkpoint *c, uint64_t limit, uint32_t *shard) {
    uint64_t used = 0;
    uint32_t current = 0;
    for (size_t i = 0; i < c->n_tensors; i++) {
        uint64_t bytes = tensor_bytes(&c->tensors[i]);
        if (used && used + bytes > limit) {
            current++;
            used = 0;
        }
        used += bytes;
        shard[i] = current;
    }
    return current + 1;
}

static void shard_name(char *out, size_t size, size_t i, size_t n) {
    if (n == 1)
        snprintf(out, size, "model.safetensors");
    else
        snprintf(out, size, "model-%05zu-of-%05zu.safetensors", i + 1, n);
}

static json_t *metadata_of(const Checkpoint *c) {
    json_t *m = c->st_metadata ? json_copy(c->st_metadata) : json_object();
    if (!json_object_get(m, "format"))
        json_object_set_new(m, "format", json_string("pt")); /* transformers wants it */
    return m;
}

static bool build_header(const Checkpoint *c, const uint32_t *shard, size_t which, Buffer *out, Error *e) {
    json_t *header = json_object();
    json_object_set_new(header, "__metadata__", metadata_of(c));
    uint64_t offset = 0;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const Tensor *t = &c->tensors[i];
        if (shard[i] != which) continue;
        const char *dtype = dtype_info(t->dtype)->safetensors;
        if (!dtype) {
            json_decref(header);
            return error_set(e, ERR_FAILED,
                             "tensor '%s': a safetensors file cannot hold %s; choose a type, as --dtype bf16",
                             t->name, dtype_info(t->dtype)->name);
        }
        json_t *shape = json_array();
        for (uint32_t d = 0; d < t->rank; d++)
            json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
        uint64_t end = offset + tensor_bytes(t);
        json_object_set_new(header, t->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype, "shape", shape, "data_offsets",
                                      (json_int_t)offset, (json_int_t)end));
        offset = end;
    }
    json_print(header, 0, out);
    json_decref(header);
    while (out->size % 8)
        buffer_byte(out, ' ');
    return true;
}

static bool write_shard(Drain *d, Checkpoint *c, const char *path, const uint32_t *shard, size_t which,
                        Error *e) {
    Buffer header = {0};
    d->path = path;
    d->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    bool ok = d->fd >= 0 || error_errno(e, "%s", path);
    ok = ok && build_header(c, shard, which, &header, e);
    uint64_t n = header.size;
    ok = ok && fd_write(d->fd, &n, sizeof n, path, e) && fd_write(d->fd, header.data, header.size, path, e);
    for (size_t i = 0; ok && i < c->n_tensors; i++)
        if (shard[i] == which) ok = drain_tensor(d, &c->tensors[i], e);
    if (d->fd >= 0 && close(d->fd) != 0 && ok) ok = error_errno(e, "%s", path);
    buffer_free(&header);
    return ok;
}

static bool write_small(const char *folder, const char *name, const void *bytes, size_t n, Error *e) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return error_set(e, ERR_FAILED, "%s/%s: the path is too long", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return error_errno(e, "%s", path);
    bool ok = fd_write(fd, bytes, n, path, e);
    if (close(fd) != 0 && ok) ok = error_errno(e, "%s", path);
    return ok;
}

static bool write_index(const Checkpoint *c, const char *folder, const uint32_t *shard, size_t n_shards,
                        Error *e) {
    json_t *map = json_object();
    for (size_t i = 0; i < c->n_tensors; i++) {
        char name[64];
        shard_name(name, sizeof name, shard[i], n_shards);
        json_object_set_new(map, c->tensors[i].name, json_string(name));
    }
    json_t *index =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)drain_total(c), "weight_map", map);
    Buffer text = {0};
    json_print(index, 2, &text);
    buffer_byte(&text, '\n');
    bool ok = write_small(folder, "model.safetensors.index.json", text.data, text.size, e);
    buffer_free(&text);
    json_decref(index);
    return ok;
}

static bool write_folder(Checkpoint *c, const char *folder, const WriteOptions *o, Error *e) {
    uint32_t *shard = xcalloc(c->n_tensors, sizeof *shard);
    size_t n_shards = assign_shards(c, o->max_shard_size ? o->max_shard_size : DEFAULT_SHARD, shard);
    Drain d = {.options = o, .total = drain_total(c)};
    bool ok = true;
    for (size_t s = 0; ok && s < n_shards; s++) {
        char name[64], path[PATH_MAX];
        shard_name(name, sizeof name, s, n_shards);
        if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
            ok = error_set(e, ERR_FAILED, "%s: the path is too long", folder);
        ok = ok && write_shard(&d, c, path, shard, s, e);
    }
    if (ok && n_shards > 1) ok = write_index(c, folder, shard, n_shards, e);
    for (size_t i = 0; ok && i < c->n_files; i++)
        ok = write_small(folder, c->files[i].name, c->files[i].bytes, c->files[i].size, e);
    if (ok && o->manifest) {
        Buffer text = {0};
        ok = o->manifest(o->manifest_context, c, &text, e);
        buffer_byte(&text, '\n');
        ok = ok && write_small(folder, "derope.json", text.data, text.size, e);
        buffer_free(&text);
    }
    free(shard);
    return ok;
}

bool hf_write(Checkpoint *c, const char *path, const WriteOptions *o, Error *e) {
    Output out;
    if (!output_begin(&out, path, true, o->force, e)) return false;
    bool ok = write_folder(c, out.temp, o, e) && output_commit(&out, e);
    output_discard(&out);
    return ok;
}

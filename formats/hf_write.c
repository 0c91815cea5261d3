/* Writes a Hugging Face folder: safetensors (sharded when large), side files, derope.json. */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/drain.h"
#include "formats/file.h"
#include "formats/json.h"

static const char manifest_name[] = "derope.json";
static const uint64_t DEFAULT_SHARD = 5000000000; /* what the hub's own tools use */

/* What goes where: tensors in the order they are written, and the shard of each. */
typedef struct Layout {
    Tensor **tensors;
    uint32_t *shard; /* of tensors[i] */
    size_t n, n_shards;
} Layout;

/* Bytes that an element's address has to be a multiple of. */
static uint32_t alignment_of(const Tensor *t) {
    const DTypeInfo *d = dtype_info(t->dtype);
    return d->block_elems == 1 ? d->block_bytes : 1;
}

/* A shard is closed before it would pass the limit. */
static void assign_shards(Layout *l, uint64_t limit) {
    uint64_t used = 0;
    l->n_shards = 1;
    for (size_t i = 0; i < l->n; i++) {
        uint64_t bytes = tensor_bytes(l->tensors[i]);
        if (used && used + bytes > limit) {
            l->n_shards++;
            used = 0;
        }
        used += bytes;
        l->shard[i] = (uint32_t)l->n_shards - 1;
    }
}

static bool is_aligned(const Layout *l) {
    uint64_t at = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (i && l->shard[i] != l->shard[i - 1]) at = 0;
        if (at % alignment_of(l->tensors[i])) return false;
        at += tensor_bytes(l->tensors[i]);
    }
    return true;
}

static int by_alignment(const void *a, const void *b) {
    const Tensor *x = *(Tensor *const *)a, *y = *(Tensor *const *)b;
    uint32_t m = alignment_of(x), n = alignment_of(y);
    if (m != n) return m > n ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* The checkpoint's order; or, if an element would come to lie askew (torch refuses to view it), the
 * reference's: wide elements first. */
static Layout lay_out(const Checkpoint *c, uint64_t limit) {
    Layout l = {.n = c->n_tensors};
    l.tensors = xcalloc(l.n, sizeof *l.tensors);
    l.shard = xcalloc(l.n, sizeof *l.shard);
    for (size_t i = 0; i < l.n; i++)
        l.tensors[i] = &c->tensors[i];
    assign_shards(&l, limit);
    if (!is_aligned(&l)) {
        qsort(l.tensors, l.n, sizeof *l.tensors, by_alignment);
        assign_shards(&l, limit);
    }
    return l;
}

static void shard_name(char *out, size_t size, size_t i, size_t n) {
    if (n == 1)
        snprintf(out, size, "model.safetensors");
    else
        snprintf(out, size, "model-%05zu-of-%05zu.safetensors", i + 1, n);
}

static json_t *metadata_of(const Checkpoint *c) {
    json_t *m = json_object();
    const char *key;
    json_t *value;
    json_object_foreach(c->st_metadata, key, value) {
        if (json_is_string(value)) json_object_set(m, key, value);
    }
    if (!json_object_get(m, "format"))
        json_object_set_new(m, "format", json_string("pt")); /* transformers wants it */
    return m;
}

static bool build_header(const Checkpoint *c, const Layout *l, size_t which, Buffer *out, Error *e) {
    json_t *header = json_object();
    json_object_set_new(header, "__metadata__", metadata_of(c));
    uint64_t offset = 0;
    for (size_t i = 0; i < l->n; i++) {
        const Tensor *t = l->tensors[i];
        if (l->shard[i] != which) continue;
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

static bool write_shard(Drain *d, const Checkpoint *c, const char *path, const Layout *l, size_t which,
                        Error *e) {
    Buffer header = {0};
    d->path = path;
    d->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    bool ok = d->fd >= 0 || error_errno(e, "%s", path);
    ok = ok && build_header(c, l, which, &header, e);
    uint64_t n = header.size;
    ok = ok && fd_write(d->fd, &n, sizeof n, path, e) && fd_write(d->fd, header.data, header.size, path, e);
    for (size_t i = 0; ok && i < l->n; i++)
        if (l->shard[i] == which) ok = drain_tensor(d, l->tensors[i], e);
    if (d->fd >= 0 && close(d->fd) != 0 && ok) ok = error_errno(e, "%s", path);
    buffer_free(&header);
    return ok;
}

/* The name may come out of a GGUF's keys: it must stay in the folder and replace nothing. */
static bool write_small(const char *folder, const char *name, const void *bytes, size_t n, Error *e) {
    char path[PATH_MAX];
    if (!*name || *name == '.' || strchr(name, '/'))
        return error_set(e, ERR_INPUT, "side file '%.100s': not a plain file name", name);
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return error_set(e, ERR_FAILED, "%s/%s: the path is too long", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return error_errno(e, "%s", path);
    bool ok = fd_write(fd, bytes, n, path, e);
    if (close(fd) != 0 && ok) ok = error_errno(e, "%s", path);
    return ok;
}

typedef struct IndexRow {
    const char *tensor;
    uint32_t shard;
} IndexRow;

static int by_tensor(const void *a, const void *b) {
    return strcmp(((const IndexRow *)a)->tensor, ((const IndexRow *)b)->tensor);
}

static bool write_index(const Layout *l, uint64_t total, const char *folder, Error *e) {
    IndexRow *rows = xcalloc(l->n, sizeof *rows);
    for (size_t i = 0; i < l->n; i++)
        rows[i] = (IndexRow){.tensor = l->tensors[i]->name, .shard = l->shard[i]};
    qsort(rows, l->n, sizeof *rows, by_tensor);
    json_t *map = json_object();
    for (size_t i = 0; i < l->n; i++) {
        char name[64];
        shard_name(name, sizeof name, rows[i].shard, l->n_shards);
        json_object_set_new(map, rows[i].tensor, json_string(name));
    }
    free(rows);
    json_t *index =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    Buffer text = {0};
    json_print(index, 2, &text);
    buffer_byte(&text, '\n');
    bool ok = write_small(folder, "model.safetensors.index.json", text.data, text.size, e);
    buffer_free(&text);
    json_decref(index);
    return ok;
}

static bool write_weights(Checkpoint *c, const char *folder, const WriteOptions *o, Error *e) {
    Layout l = lay_out(c, o->max_shard_size ? o->max_shard_size : DEFAULT_SHARD);
    Drain d = {.options = o, .total = drain_total(c)};
    bool ok = true;
    for (size_t s = 0; ok && s < l.n_shards; s++) {
        char name[64], path[PATH_MAX];
        shard_name(name, sizeof name, s, l.n_shards);
        if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
            ok = error_set(e, ERR_FAILED, "%s: the path is too long", folder);
        ok = ok && write_shard(&d, c, path, &l, s, e);
    }
    if (ok && l.n_shards > 1) ok = write_index(&l, d.total, folder, e);
    free(l.tensors);
    free(l.shard);
    return ok;
}

static bool write_folder(Checkpoint *c, const char *folder, const WriteOptions *o, Error *e) {
    bool ok = write_weights(c, folder, o, e);
    for (size_t i = 0; ok && i < c->n_files; i++)
        if (!o->manifest || strcmp(c->files[i].name, manifest_name) != 0)
            ok = write_small(folder, c->files[i].name, c->files[i].bytes, c->files[i].size, e);
    if (ok && o->manifest) {
        Buffer text = {0};
        ok = o->manifest(o->manifest_context, c, &text, e);
        buffer_byte(&text, '\n');
        ok = ok && write_small(folder, manifest_name, text.data, text.size, e);
        buffer_free(&text);
    }
    return ok;
}

bool hf_write(Checkpoint *c, const char *path, const WriteOptions *o, Error *e) {
    Output out;
    if (!output_begin(&out, path, true, o->force, e)) return false;
    bool ok = write_folder(c, out.temp, o, e) && output_commit(&out, e);
    output_discard(&out);
    return ok;
}

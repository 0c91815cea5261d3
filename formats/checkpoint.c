/* The checkpoint as a container: tensors with a table of their names, side files, mapped files. Readers
 * fill it, surgery edits it, writers write it out. formats/checkpoint.h explains what each part means. */
#include "formats/checkpoint.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/file.h"
#include "formats/json.h"

/* The defaults of the GGUF fields are those of files that state nothing: alignment 32, version 3. */
Checkpoint *checkpoint_new(Format format) {
    Checkpoint *c = xcalloc(1, sizeof *c);
    c->format = format;
    c->path = "";
    c->alignment = 32;
    c->gguf_version = 3;
    return c;
}

/* Mappings are closed before the arena is freed, because their structs lie in it. */
void checkpoint_close(Checkpoint *c) {
    if (!c) return;
    for (Mapping *m = c->mappings; m; m = m->next)
        if (m->close) m->close(m);
    json_decref(c->st_metadata);
    json_decref(c->weight_files);
    free(c->tensors);
    name_table_free(&c->tensor_names);
    free(c->meta);
    name_table_free(&c->meta_keys);
    free(c->files);
    transpose_cache_free(&c->transpose_cache);
    arena_free(&c->arena);
    free(c);
}

/* ---- mapped files ---- */

/* Mapping.close of a mapped file. Files of size 0 were never mapped. */
static void unmap(Mapping *m) {
    if (m->source.size) munmap((void *)m->source.map, m->source.size);
}

/* Hands the bytes of `s` over to the checkpoint, which calls `close_mapping` (may be NULL) when it is closed.
 * New mappings go to the front of the list; their order has no meaning. */
Mapping *checkpoint_add_mapping(Checkpoint *c, const ByteSource *s, void (*close_mapping)(Mapping *)) {
    Mapping *m = arena_alloc(&c->arena, sizeof *m);
    m->source = *s;
    m->close = close_mapping;
    m->next = c->mappings;
    c->mappings = m;
    return m;
}

/* Maps a regular file read-only. O_NONBLOCK keeps the open from blocking on a FIFO, which fstat then refuses.
 * The mapping outlives the file descriptor. mmap refuses a size of 0, so an empty file gets an empty string
 * as its bytes. */
const ByteSource *checkpoint_map(Checkpoint *c, const char *path, Error *e) {
    int fd = file_open(path, O_NONBLOCK, e);
    if (fd < 0) return NULL;
    /* Only regular files have a size that a mapping can rely on. */
    struct stat st;
    void *map = NULL;
    bool ok = fstat(fd, &st) == 0 || error_errno(e, "%s", path);
    if (ok && !S_ISREG(st.st_mode)) ok = error_set(e, ERR_INPUT, "%s: not a regular file", path);
    if (ok && st.st_size > 0) {
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) ok = error_errno(e, "%s: cannot map %lld bytes", path, (long long)st.st_size);
    }
    close(fd);
    if (!ok) return NULL;
    /* The source is complete before it enters the list. */
    ByteSource s = {
        .path = arena_strdup(&c->arena, path),
        .map = map ? map : (const uint8_t *)"",
        .size = (uint64_t)st.st_size,
    };
    return &checkpoint_add_mapping(c, &s, unmap)->source;
}

/* ---- tensors ---- */

/* Appends a copy of the tensor. Name and parts are copied into the arena, because callers build them on the
 * stack. The table of tensors may move, so pointers to tensors are valid only until the next call. */
Tensor *checkpoint_add_tensor(Checkpoint *c, const Tensor *t) {
    if (c->n_tensors == c->tensor_capacity) {
        c->tensor_capacity = c->tensor_capacity ? 2 * c->tensor_capacity : 64;
        c->tensors = xrealloc(c->tensors, c->tensor_capacity * sizeof *c->tensors);
    }
    /* Copy the description and its name. */
    Tensor *added = &c->tensors[c->n_tensors];
    *added = *t;
    added->name = arena_strdup(&c->arena, t->name);
    /* Copy what `t` points to. */
    TensorPart *parts = arena_alloc(&c->arena, t->n_parts * sizeof *parts);
    memcpy(parts, t->parts, t->n_parts * sizeof *parts);
    added->parts = parts;
    /* Of two tensors of one name the first stays in the table. */
    name_table_add(&c->tensor_names, added->name, c->n_tensors++);
    return added;
}

const Tensor *checkpoint_find(const Checkpoint *c, const char *name) {
    size_t at = name_table_find(&c->tensor_names, name);
    return at == NAME_ABSENT ? NULL : &c->tensors[at];
}

/* ---- side files, sorted by name ---- */

/* Binary search: the position of `name` among the sorted files, or the position where it has to be
 * inserted. */
static size_t file_position(const Checkpoint *c, const char *name, bool *found) {
    /* The name, if it is there, lies in [low, high). */
    size_t low = 0, high = c->n_files;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int order = strcmp(c->files[mid].name, name);
        if (order == 0) {
            *found = true;
            return mid;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *found = false;
    return low;
}

/* NULL if there is no such file. */
const SideFile *checkpoint_file(const Checkpoint *c, const char *name) {
    bool found;
    size_t at = file_position(c, name, &found);
    return found ? &c->files[at] : NULL;
}

/* The bytes are not copied and have to live as long as the checkpoint. A new file is inserted at its position
 * in the sorted list; an existing one gets other bytes. */
void checkpoint_add_file(Checkpoint *c, const char *name, const uint8_t *bytes, uint64_t size) {
    bool found;
    size_t at = file_position(c, name, &found);
    if (!found) {
        c->files = xrealloc(c->files, (c->n_files + 1) * sizeof *c->files);
        memmove(c->files + at + 1, c->files + at, (c->n_files - at) * sizeof *c->files);
        c->n_files++;
        c->files[at].name = arena_strdup(&c->arena, name);
    }
    c->files[at].bytes = bytes;
    c->files[at].size = size;
}

/* As checkpoint_add_file, with a copy of the bytes in the arena. */
void checkpoint_set_file(Checkpoint *c, const char *name, const void *bytes, size_t n) {
    checkpoint_add_file(c, name, (uint8_t *)arena_strndup(&c->arena, bytes, n), n);
}

/* Only the entry is removed; the bytes stay with the mapping or the arena until the checkpoint is closed. */
void checkpoint_remove_file(Checkpoint *c, const char *name) {
    bool found;
    size_t at = file_position(c, name, &found);
    if (!found) return;
    c->n_files--;
    memmove(c->files + at, c->files + at + 1, (c->n_files - at) * sizeof *c->files);
}

/* Parses a side file. NULL without an error (e->code stays ERR_NONE) if there is no such file, NULL with one
 * if it is not valid JSON. Messages name the file as "CHECKPOINT/NAME". */
json_t *checkpoint_json(const Checkpoint *c, const char *name, Error *e) {
    if (e) e->code = ERR_NONE;
    const SideFile *f = checkpoint_file(c, name);
    if (!f) return NULL;
    Buffer where = {0};
    buffer_printf(&where, "%s/%s", c->path, name);
    json_t *v = json_parse(buffer_string(&where), f->bytes, f->size, e);
    buffer_free(&where);
    return v;
}

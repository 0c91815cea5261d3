/* PyTorch's zip form: NAME/data.pkl describes the tensors, NAME/data/KEY holds the bytes of storage KEY.
 * libzip finds the entries. Stored ones, which is what torch.save writes, are served from the mapped file;
 * deflated ones are unpacked when the file is opened. Names inside the zip are looked up, never written. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <zip.h>
#include <zlib.h>

#include "formats/containers.h"
#include "formats/file.h"
#include "formats/unpickle.h"

enum { MAX_NAME = 4096, MAX_EXPANSION = 100 };

/* ---- the zip over the map ---- */

/* libzip reads the mapped file through this and so shows where it reads: it has no call that says where in
 * the file an entry's bytes lie. */
typedef struct Window {
    const uint8_t *map;
    uint64_t size, at, last_read;
    zip_error_t error;
} Window;

static zip_int64_t window_read(Window *w, void *out, zip_uint64_t n) {
    if (n > w->size - w->at) n = w->size - w->at;
    memcpy(out, w->map + w->at, n);
    w->last_read = w->at;
    w->at += n;
    return (zip_int64_t)n;
}

static zip_int64_t window_stat(const Window *w, zip_stat_t *st) {
    zip_stat_init(st);
    st->size = w->size;
    st->valid = ZIP_STAT_SIZE;
    return sizeof *st;
}

static zip_int64_t window_command(void *context, void *data, zip_uint64_t n, zip_source_cmd_t command) {
    Window *w = context;
    zip_int64_t to;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        w->at = 0;
        return 0;
    case ZIP_SOURCE_READ:
        return window_read(w, data, n);
    case ZIP_SOURCE_SEEK:
        to = zip_source_seek_compute_offset(w->at, w->size, data, n, &w->error);
        if (to < 0) return -1;
        w->at = (uint64_t)to;
        return 0;
    case ZIP_SOURCE_TELL:
        return (zip_int64_t)w->at;
    case ZIP_SOURCE_STAT:
        return window_stat(w, data);
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&w->error, data, n);
    case ZIP_SOURCE_SUPPORTS:
        return ZIP_SOURCE_SUPPORTS_SEEKABLE;
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    default:
        zip_error_set(&w->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

/* A zip entry's bytes. `source` serves them, and at the first reading holds them against their checksum. */
typedef struct Entry {
    ByteSource source;
    const char *name;
    const uint8_t *bytes;
    uint32_t crc; /* 0: none was computed (torch.serialization.set_crc32_options(False)) */
    bool checked;
} Entry;

typedef struct TorchZip {
    Checkpoint *c;
    const ByteSource *file;
    Window window;
    zip_t *zip;
    const char *prefix; /* "NAME/" */
    Entry **entries;    /* by number in the zip; NULL until opened */
    uint64_t n_entries, unpacked, n_left_out;
    Error *e;
} TorchZip;

static bool check_entry(Entry *x, Error *e) {
    if (x->checked || !x->crc) return true;
    uint32_t crc = (uint32_t)crc32_z(0, x->bytes, x->source.size);
    if (crc != x->crc)
        return error_set(e, ERR_INPUT, "%s: %.300s: its checksum is %08x, and the zip says %08x: damaged",
                         x->source.path, x->name, crc, x->crc);
    x->checked = true;
    return true;
}

static bool read_entry(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e) {
    Entry *x = s->context;
    if (!check_entry(x, e)) return false;
    memcpy(out, x->bytes + offset, n);
    return true;
}

/* A stored entry is its bytes in the file. */
static bool locate(TorchZip *z, Entry *x, uint64_t number, const zip_stat_t *st) {
    if (st->size == 0) {
        x->bytes = z->file->map;
        return true;
    }
    uint8_t first;
    zip_file_t *f = zip_fopen_index(z->zip, number, ZIP_FL_COMPRESSED);
    bool ok = f && zip_fread(f, &first, 1) == 1;
    uint64_t at = z->window.last_read;
    if (f) zip_fclose(f);
    if (!ok || st->comp_size != st->size || st->size > z->file->size || at > z->file->size - st->size)
        return error_set(z->e, ERR_INPUT, "%s: %.300s: its %llu bytes do not lie in the file's %llu",
                         z->file->path, x->name, (unsigned long long)st->size,
                         (unsigned long long)z->file->size);
    x->bytes = z->file->map + at;
    return true;
}

static void free_unpacked(Mapping *m) {
    free(m->source.context);
}

/* A deflated entry is unpacked into memory; libzip checks its sum. */
static bool unpack(TorchZip *z, Entry *x, uint64_t number, uint64_t size) {
    uint64_t limit = z->file->size * MAX_EXPANSION;
    if (size > limit || z->unpacked > limit - size)
        return error_set(z->e, ERR_INPUT,
                         "%s: %.300s: unpacks to %llu bytes, over %d times the file: refused", z->file->path,
                         x->name, (unsigned long long)size, MAX_EXPANSION);
    uint8_t *bytes = big_alloc(size, 1, x->source.path, z->e);
    if (!bytes) return false;
    ByteSource owner = {.path = x->source.path, .size = size, .context = bytes};
    checkpoint_hang(z->c, &owner, free_unpacked);
    z->unpacked += size;
    zip_file_t *f = zip_fopen_index(z->zip, number, 0);
    uint8_t past; /* reading past the end makes libzip compare checksums */
    bool ok = f && zip_fread(f, bytes, size) == (zip_int64_t)size && zip_fread(f, &past, 1) == 0;
    if (!ok)
        error_set(z->e, ERR_INPUT, "%s: %.300s: cannot be unpacked to its %llu bytes: %s", z->file->path,
                  x->name, (unsigned long long)size, f ? zip_file_strerror(f) : zip_strerror(z->zip));
    if (f) zip_fclose(f);
    x->bytes = bytes;
    x->checked = true;
    return ok;
}

/* The entry prefix + name, or NULL with an error. */
static Entry *open_entry(TorchZip *z, const char *name) {
    const char *full = arena_printf(&z->c->arena, "%s%s", z->prefix, name);
    zip_int64_t number = zip_name_locate(z->zip, full, 0);
    zip_stat_t st;
    if (number < 0 || zip_stat_index(z->zip, (zip_uint64_t)number, 0, &st) != 0) {
        error_set(z->e, ERR_INPUT, "%s: has no entry %.300s", z->file->path, full);
        return NULL;
    }
    if (z->entries[number]) return z->entries[number];
    Entry *x = arena_alloc(&z->c->arena, sizeof *x);
    x->name = full;
    x->crc = st.crc;
    x->source = (ByteSource){.path = z->file->path, .size = st.size, .read = read_entry, .context = x};
    bool ok;
    if (st.encryption_method != ZIP_EM_NONE)
        ok = error_set(z->e, ERR_INPUT, "%s: %.300s: encrypted", z->file->path, full);
    else if (st.comp_method == ZIP_CM_STORE)
        ok = locate(z, x, (uint64_t)number, &st);
    else if (st.comp_method == ZIP_CM_DEFLATE)
        ok = unpack(z, x, (uint64_t)number, st.size);
    else
        ok = error_set(z->e, ERR_INPUT, "%s: %.300s: packed by method %u; stored and deflated are read",
                       z->file->path, full, st.comp_method);
    return ok ? z->entries[number] = x : NULL;
}

/* ---- tensors ---- */

/* A tensor whose elements do not lie in row-major order in its storage. */
typedef struct Strided {
    ByteSource source;
    Entry *entry;
    PickleTensor tensor;
    uint32_t item; /* bytes of an element */
} Strided;

/* Gathers elements, with an odometer over the dimensions. Rows are served, so whole elements are. */
static bool read_strided(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e) {
    const Strided *v = s->context;
    const PickleTensor *t = &v->tensor;
    if (!check_entry(v->entry, e)) return false;
    uint64_t index[TENSOR_MAX_RANK], rest = offset / v->item, at = t->offset;
    for (uint32_t d = t->rank; d-- > 0; rest /= t->shape[d]) {
        index[d] = rest % t->shape[d];
        at += index[d] * t->stride[d];
    }
    for (size_t i = 0; i < n; i += v->item) {
        memcpy((uint8_t *)out + i, v->entry->bytes + at * v->item, v->item);
        for (uint32_t d = t->rank; d-- > 0;) {
            at += t->stride[d];
            if (++index[d] < t->shape[d]) break;
            at -= t->shape[d] * t->stride[d];
            index[d] = 0;
        }
    }
    return true;
}

static bool is_contiguous(const PickleTensor *t) {
    uint64_t expected = 1;
    for (uint32_t d = t->rank; d-- > 0; expected *= t->shape[d])
        if (t->shape[d] != 1 && t->stride[d] != expected) return false;
    return true;
}

static const ByteSource *strided_source(TorchZip *z, const PickleTensor *t, Entry *x, uint64_t bytes) {
    Strided *v = arena_alloc(&z->c->arena, sizeof *v);
    v->source = (ByteSource){.path = z->file->path, .size = bytes, .read = read_strided, .context = v};
    v->entry = x;
    v->tensor = *t;
    v->tensor.storage = NULL; /* lives no longer than the pickle */
    v->item = dtype_info(t->dtype)->block_bytes;
    return &v->source;
}

static bool valid_name(const PickleValue *key) {
    if (key->kind != PICKLE_STRING || !key->n || key->n > MAX_NAME) return false;
    utf8proc_int32_t c;
    for (utf8proc_ssize_t i = 0, n; i < key->n; i += n) {
        n = utf8proc_iterate((const utf8proc_uint8_t *)key->text + i, key->n - i, &c);
        if (n <= 0 || c == 0) return false;
    }
    return true;
}

static bool add_tensor(TorchZip *z, const PickleValue *key, const PickleTensor *from) {
    if (!valid_name(key))
        return error_set(z->e, ERR_INPUT,
                         "%s: data.pkl: offset %u: a tensor's name is not UTF-8 text of 1 to %d bytes",
                         z->file->path, key->offset, MAX_NAME);
    Tensor t = {.rank = from->rank, .dtype = from->dtype, .stored = from->dtype, .scale = 1};
    t.name = arena_strndup(&z->c->arena, key->text, key->n);
    if (checkpoint_find(z->c, t.name))
        return error_set(z->e, ERR_INPUT, "%s: tensor '%.200s' is there twice", z->file->path, t.name);
    uint64_t elems = 1;
    for (uint32_t d = 0; d < t.rank; d++)
        elems *= t.shape[d] = from->shape[d];
    t.row_elems = t.rank ? t.shape[t.rank - 1] : 1;
    if (elems == 0) t.row_elems = 0; /* whatever its other dimensions claim */
    t.n_rows = elems ? elems / t.row_elems : 0;

    Entry *x = open_entry(z, arena_printf(&z->c->arena, "data/%s", from->storage->key));
    if (!x) return false;
    if (x->source.size != from->storage->size)
        return error_set(z->e, ERR_INPUT,
                         "%s: tensor '%.200s': %.300s has %llu bytes, its storage takes %llu", z->file->path,
                         t.name, x->name, (unsigned long long)x->source.size,
                         (unsigned long long)from->storage->size);
    TensorPart part = {.source = &x->source, .n_rows = t.n_rows};
    if (elems && is_contiguous(from))
        part.offset = from->offset * dtype_info(t.dtype)->block_bytes;
    else if (elems)
        part.source = strided_source(z, from, x, elems * dtype_info(t.dtype)->block_bytes);
    t.parts = &part;
    t.n_parts = 1;
    checkpoint_add_tensor(z->c, &t);
    return true;
}

/* ---- the state dict ---- */

/* A key for messages. */
static const char *shown(TorchZip *z, const PickleValue *key) {
    if (key->kind == PICKLE_INT) return arena_printf(&z->c->arena, "%lld", (long long)key->integer);
    if (!valid_name(key)) return pickle_kind_name(key->kind);
    return arena_printf(&z->c->arena, "'%.*s'", key->n < 80 ? (int)key->n : 80, key->text);
}

static const PickleValue *no_tensors(TorchZip *z, const PickleValue *top) {
    Buffer keys = {0};
    for (uint32_t i = 0; i < top->n && i < 12; i += 2)
        buffer_printf(&keys, "%s%s", i ? ", " : "", shown(z, top->items[i]));
    error_set(z->e, ERR_INPUT, "%s: neither its dict nor an entry of it is a state dict (keys: %s%s)",
              z->file->path, keys.size ? buffer_string(&keys) : "none", top->n > 12 ? ", ..." : "");
    buffer_free(&keys);
    return NULL;
}

/* The top-level dict, or the one entry of it that holds tensors: {"model": {...}, "epoch": 3}. */
static const PickleValue *find_state_dict(TorchZip *z, const PickleValue *top) {
    if (top->kind != PICKLE_DICT) {
        error_set(z->e, ERR_INPUT, "%s: holds %s, not a state dict; save model.state_dict()", z->file->path,
                  pickle_kind_name(top->kind));
        return NULL;
    }
    const PickleValue *found = top->holds_tensors ? top : NULL;
    const char *where = "its top level";
    for (uint32_t i = 0; i < top->n; i += 2) {
        if (!top->items[i + 1]->holds_tensors) continue;
        if (found) {
            error_set(z->e, ERR_INPUT,
                      "%s: both %s and its entry %s hold tensors; save the one that is meant by itself",
                      z->file->path, where, shown(z, top->items[i]));
            return NULL;
        }
        found = top->items[i + 1];
        where = arena_printf(&z->c->arena, "its entry %s", shown(z, top->items[i]));
    }
    return found && found->kind == PICKLE_DICT ? found : no_tensors(z, top);
}

/* Remembers what is not read on: a version number, a module's extra state, an optimizer beside the model. */
static void leave_out(TorchZip *z, const PickleValue *key) {
    enum { NAMED = 8 };
    const char *before = z->c->left_out;
    if (z->n_left_out++ > NAMED) return;
    z->c->left_out = arena_printf(&z->c->arena, "%s%s%s", before ? before : "", before ? ", " : "",
                                  z->n_left_out > NAMED ? "..." : shown(z, key));
}

static bool add_tensors(TorchZip *z, const PickleValue *top, const PickleValue *dict) {
    for (uint32_t i = 0; top != dict && i < top->n; i += 2)
        if (top->items[i + 1] != dict) leave_out(z, top->items[i]);
    for (uint32_t i = 0; i < dict->n; i += 2)
        if (dict->items[i + 1]->kind != PICKLE_TENSOR)
            leave_out(z, dict->items[i]);
        else if (!add_tensor(z, dict->items[i], dict->items[i + 1]->tensor))
            return false;
    return true;
}

/* ---- the file ---- */

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* torch.save puts everything into one folder, named after the file. */
static bool find_prefix(TorchZip *z) {
    for (uint64_t i = 0; i < z->n_entries; i++) {
        const char *name = zip_get_name(z->zip, i, 0);
        if (!name || !ends_with(name, "/data.pkl") || strchr(name, '/') != strrchr(name, '/')) continue;
        if (z->prefix)
            return error_set(z->e, ERR_INPUT, "%s: two checkpoints in one zip, in %.100s and %.100s",
                             z->file->path, z->prefix, name);
        z->prefix = arena_strndup(&z->c->arena, name, strlen(name) - strlen("data.pkl"));
    }
    if (!z->prefix)
        return error_set(z->e, ERR_INPUT, "%s: a zip file without NAME/data.pkl, so not one of torch.save",
                         z->file->path);
    const char *script = arena_printf(&z->c->arena, "%sconstants.pkl", z->prefix);
    return zip_name_locate(z->zip, script, 0) < 0 ||
           error_set(z->e, ERR_INPUT, "%s: a TorchScript program; torch.save its state_dict() instead",
                     z->file->path);
}

static bool check_byte_order(TorchZip *z) {
    const char *name = arena_printf(&z->c->arena, "%sbyteorder", z->prefix);
    if (zip_name_locate(z->zip, name, 0) < 0) return true; /* torch before 2.1 */
    const Entry *x = open_entry(z, "byteorder");
    if (!x) return false;
    return (x->source.size == 6 && memcmp(x->bytes, "little", 6) == 0) ||
           error_set(z->e, ERR_INPUT, "%s: %.300s: the byte order is not 'little'", z->file->path, x->name);
}

static bool read_state_dict(TorchZip *z) {
    z->n_entries = (uint64_t)zip_get_num_entries(z->zip, 0);
    z->entries = xcalloc(z->n_entries, sizeof *z->entries);
    if (!find_prefix(z) || !check_byte_order(z)) return false;
    Entry *pickle = open_entry(z, "data.pkl");
    if (!pickle || !check_entry(pickle, z->e)) return false;
    Arena values = {0};
    const char *where = arena_printf(&values, "%s: data.pkl", z->file->path);
    const PickleValue *top = unpickle(&values, where, pickle->bytes, pickle->source.size, z->e);
    const PickleValue *dict = top ? find_state_dict(z, top) : NULL;
    bool ok = dict && add_tensors(z, top, dict);
    arena_free(&values);
    return ok;
}

bool torch_zip_read(Checkpoint *c, const char *path, Error *e) {
    TorchZip z = {.c = c, .file = checkpoint_map(c, path, e), .e = e};
    if (!z.file) return false;
    z.window = (Window){.map = z.file->map, .size = z.file->size};
    zip_error_init(&z.window.error);
    zip_error_t why;
    zip_error_init(&why);
    zip_source_t *source = zip_source_function_create(window_command, &z.window, &why);
    z.zip = source ? zip_open_from_source(source, ZIP_RDONLY, &why) : NULL;
    bool ok = z.zip ? read_state_dict(&z)
                    : error_set(e, ERR_INPUT, "%s: not a whole zip file: %s", path, zip_error_strerror(&why));
    if (z.zip)
        zip_discard(z.zip);
    else if (source)
        zip_source_free(source);
    zip_error_fini(&why);
    zip_error_fini(&z.window.error);
    free(z.entries);
    return ok;
}

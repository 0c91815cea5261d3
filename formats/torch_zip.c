/* Reads PyTorch's zip form: see formats/torch_zip.h. The steps: find the folder NAME, run the pickle
 * NAME/data.pkl (unpickle.c), find the state dict in its result, and add each of its tensors, whose bytes are
 * the zip entry of its storage. zip_map.c gives access to the entries. */
#include "formats/torch_zip.h"

#include <stdlib.h>
#include <string.h>

#include "formats/text.h"
#include "formats/unpickle.h"

enum { MAX_NAME = 4096 }; /* bytes of a tensor's name */

/* The file that is being read. */
typedef struct TorchZip {
    Checkpoint *c;
    ZipMap *zip;
    const char *path;
    const char *prefix;  /* "NAME/", the folder of all entries */
    uint64_t n_left_out; /* values that are not tensors, which are not read but listed in c->left_out */
    Error *e;
} TorchZip;

/* Opens the entry NAME/`name`; NULL with an error if there is none. */
static ZipEntry *open_entry(TorchZip *z, const char *name) {
    return zip_map_entry(z->zip, arena_printf(&z->c->arena, "%s%s", z->prefix, name), z->e);
}

/* ---- tensors ---- */

/* The source of a tensor whose elements are not in row-major order in its storage, such as a transposed
 * weight. */
typedef struct Strided {
    ByteSource source;
    ZipEntry *entry;     /* the storage */
    PickleTensor tensor; /* shape and strides */
    uint32_t item;       /* size of an element in bytes */
} Strided;

/* ByteSource.read of a strided tensor: gathers elements in row-major order. `index` holds the position in
 * each dimension: the last dimension runs fastest; where a dimension overflows, the position goes back by its
 * whole extent and the next slower dimension advances. Readers ask for whole rows, so offset and n are
 * multiples of an element. */
static bool read_strided(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e) {
    const Strided *v = s->context;
    const PickleTensor *t = &v->tensor;
    if (!zip_entry_check(v->entry, e)) return false;
    /* The row-major number of the first element is offset / item. Dividing it by the dimensions, last one
     * first, gives its index in each dimension. */
    uint64_t index[TENSOR_MAX_RANK], rest = offset / v->item, at = t->offset;
    for (uint32_t d = t->rank; d-- > 0; rest /= t->shape[d]) {
        index[d] = rest % t->shape[d];
        at += index[d] * t->stride[d];
    }
    /* Copy an element and step to the next one. */
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

/* True if the elements lie in the storage in row-major order without gaps. The stride of a dimension of size
 * 1 is never used, so it may have any value. */
static bool is_contiguous(const PickleTensor *t) {
    uint64_t expected = 1;
    for (uint32_t d = t->rank; d-- > 0; expected *= t->shape[d])
        if (t->shape[d] != 1 && t->stride[d] != expected) return false;
    return true;
}

/* Makes the source of a tensor that is not contiguous; `bytes` is its size in row-major order. */
static const ByteSource *strided_source(TorchZip *z, const PickleTensor *t, ZipEntry *x, uint64_t bytes) {
    Strided *v = arena_alloc(&z->c->arena, sizeof *v);
    v->source = (ByteSource){.path = z->path, .size = bytes, .read = read_strided, .context = v};
    v->entry = x;
    v->tensor = *t;
    v->tensor.storage = NULL; /* points to a value of the pickle, which is freed before the tensor is read */
    v->item = dtype_info(t->dtype)->block_bytes;
    return &v->source;
}

/* A name has to be text that JSON and GGUF can hold: UTF-8, not empty, without zero bytes. */
static bool valid_name(const PickleValue *key) {
    return key->kind == PICKLE_STRING && key->n && key->n <= MAX_NAME && text_is_utf8(key->text, key->n) &&
           !memchr(key->text, 0, key->n);
}

/* Adds one tensor to the checkpoint. pickle_values.c has checked that its elements lie within the size that
 * the pickle gives for the storage. What remains is to compare this size with that of the zip entry. */
static bool add_tensor(TorchZip *z, const PickleValue *key, const PickleTensor *from) {
    if (!valid_name(key))
        return error_set(z->e, ERR_INPUT,
                         "%s: data.pkl: offset %u: a tensor's name is not UTF-8 text of 1 to %d bytes",
                         z->path, key->offset, MAX_NAME);
    Tensor t = {.rank = from->rank,
                .dtype = from->dtype,
                .storage_dtype = from->dtype,
                .exact_dtype = from->dtype,
                .scale = 1};
    t.name = arena_strndup(&z->c->arena, key->text, key->n);
    if (checkpoint_find(z->c, t.name))
        return error_set(z->e, ERR_INPUT, "%s: tensor '%.200s' occurs twice", z->path, t.name);
    uint64_t elems = 1;
    for (uint32_t d = 0; d < t.rank; d++)
        elems *= t.shape[d] = from->shape[d];
    t.row_elems = t.rank ? t.shape[t.rank - 1] : 1;
    if (elems == 0) t.row_elems = 0; /* one dimension is 0, and the others may have any size */
    t.n_rows = elems ? elems / t.row_elems : 0;

    /* Open the entry of the storage. Several tensors may share a storage, as tied embeddings do. */
    ZipEntry *x = open_entry(z, arena_printf(&z->c->arena, "data/%s", from->storage->key));
    if (!x) return false;
    if (x->source.size != from->storage->size)
        return error_set(
            z->e, ERR_INPUT, "%s: tensor '%.200s': %.300s has %llu bytes, its storage takes %llu", z->path,
            t.name, x->name, (unsigned long long)x->source.size, (unsigned long long)from->storage->size);
    /* Contiguous tensors are ranges of the storage; others are gathered. */
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

/* A key of a dict as text for messages. */
static const char *key_text(TorchZip *z, const PickleValue *key) {
    if (key->kind == PICKLE_INT) return arena_printf(&z->c->arena, "%lld", (long long)key->integer);
    if (!valid_name(key)) return pickle_kind_name(key->kind);
    return arena_printf(&z->c->arena, "'%.*s'", key->n < 80 ? (int)key->n : 80, key->text);
}

/* Fails because no state dict was found. The message lists the first six keys of the dict, from which a user
 * can usually tell what the file is. */
static const PickleValue *no_tensors(TorchZip *z, const PickleValue *top) {
    Buffer keys = {0};
    for (uint32_t i = 0; i < top->n && i < 12; i += 2)
        buffer_printf(&keys, "%s%s", i ? ", " : "", key_text(z, top->items[i]));
    error_set(z->e, ERR_INPUT, "%s: neither its dict nor an entry of it is a state dict (keys: %s%s)",
              z->path, keys.size ? buffer_string(&keys) : "none", top->n > 12 ? ", ..." : "");
    buffer_free(&keys);
    return NULL;
}

/* Finds the dict that holds the tensors. It is either the top level itself or an entry of it, as in {"model":
 * {...}, "epoch": 3}. If more than one dict holds tensors, the file is refused, because nothing says which of
 * them is the model. */
static const PickleValue *find_state_dict(TorchZip *z, const PickleValue *top) {
    if (top->kind != PICKLE_DICT) {
        error_set(z->e, ERR_INPUT, "%s: holds %s, not a state dict; save model.state_dict()", z->path,
                  pickle_kind_name(top->kind));
        return NULL;
    }
    const PickleValue *found = top->holds_tensors ? top : NULL;
    const char *where = "its top level";
    for (uint32_t i = 0; i < top->n; i += 2) {
        if (!top->items[i + 1]->holds_tensors) continue;
        if (found) {
            error_set(z->e, ERR_INPUT,
                      "%s: both %s and its entry %s hold tensors; save the intended one alone", z->path,
                      where, key_text(z, top->items[i]));
            return NULL;
        }
        found = top->items[i + 1];
        where = arena_printf(&z->c->arena, "its entry %s", key_text(z, top->items[i]));
    }
    return found && found->kind == PICKLE_DICT ? found : no_tensors(z, top);
}

/* Adds `key` to c->left_out, the list of entries that are not read, such as a version number, the extra state
 * of a module or the state of an optimizer. The list has the first NAMED keys and then "...". */
static void leave_out(TorchZip *z, const PickleValue *key) {
    enum { NAMED = 8 };
    const char *before = z->c->left_out;
    if (z->n_left_out++ > NAMED) return;
    z->c->left_out = arena_printf(&z->c->arena, "%s%s%s", before ? before : "", before ? ", " : "",
                                  z->n_left_out > NAMED ? "..." : key_text(z, key));
}

/* Adds the tensors of the state dict `dict`, and lists all other entries of `dict` and of the top level as
 * left out. */
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

/* True for NAME/data.pkl: torch.save puts all entries into one folder that is named after the file. */
static bool is_pickle(const char *name) {
    return text_ends_with(name, "/data.pkl") && strchr(name, '/') == strrchr(name, '/');
}

/* Finds the one NAME/data.pkl and sets z->prefix to "NAME/". A TorchScript program has a NAME/constants.pkl
 * too, is run by an interpreter, and is refused. */
static bool find_prefix(TorchZip *z) {
    for (uint64_t i = 0; i < zip_map_count(z->zip); i++) {
        const char *name = zip_map_name(z->zip, i);
        if (!is_pickle(name)) continue;
        if (z->prefix)
            return error_set(z->e, ERR_INPUT, "%s: two checkpoints in one zip, in %.100s and %.100s", z->path,
                             z->prefix, name);
        z->prefix = arena_strndup(&z->c->arena, name, strlen(name) - strlen("data.pkl"));
    }
    if (!z->prefix)
        return error_set(z->e, ERR_INPUT,
                         "%s: a zip file without NAME/data.pkl, so not written by torch.save", z->path);
    const char *script = arena_printf(&z->c->arena, "%sconstants.pkl", z->prefix);
    return !zip_map_has(z->zip, script) ||
           error_set(z->e, ERR_INPUT, "%s: a TorchScript program; save its state_dict() instead", z->path);
}

/* Refuses big-endian files. PyTorch writes NAME/byteorder since version 2.1; before that, files were written
 * in the byte order of the machine, in practice little-endian. */
static bool check_byte_order(TorchZip *z) {
    const char *name = arena_printf(&z->c->arena, "%sbyteorder", z->prefix);
    if (!zip_map_has(z->zip, name)) return true; /* written before PyTorch 2.1 */
    const ZipEntry *x = open_entry(z, "byteorder");
    if (!x) return false;
    return (x->source.size == 6 && memcmp(x->bytes, "little", 6) == 0) ||
           error_set(z->e, ERR_INPUT, "%s: %.300s: the byte order is not 'little'", z->path, x->name);
}

/* Reads the file from pickle to tensors. The values of the pickle are needed only until the tensors are
 * added, so they have their own arena. */
static bool read_state_dict(TorchZip *z) {
    if (!find_prefix(z) || !check_byte_order(z)) return false;
    ZipEntry *pickle = open_entry(z, "data.pkl");
    if (!pickle || !zip_entry_check(pickle, z->e)) return false;
    Arena values = {0};
    const char *where = arena_printf(&values, "%s: data.pkl", z->path);
    const PickleValue *top = unpickle(&values, where, pickle->bytes, pickle->source.size, z->e);
    const PickleValue *dict = top ? find_state_dict(z, top) : NULL;
    bool ok = dict && add_tensors(z, top, dict);
    arena_free(&values);
    return ok;
}

/* The ZipMap may be closed afterwards; entries belong to `c`. */
bool torch_zip_parse(Checkpoint *c, ZipMap *zip, Error *e) {
    TorchZip z = {.c = c, .zip = zip, .path = zip_map_path(zip), .e = e};
    c->format = FORMAT_TORCH;
    return read_state_dict(&z);
}

/* The entry point for a path; torch_zip_parse is the one for a zip that is open already. */
bool torch_zip_read(Checkpoint *c, const char *path, Error *e) {
    const ByteSource *file = checkpoint_map(c, path, e);
    ZipMap *zip = file ? zip_map_open(c, file, e) : NULL;
    bool ok = zip && torch_zip_parse(c, zip, e);
    zip_map_close(zip);
    return ok;
}

/* Distinguishes torch.save's zips from zipped folders by whether there is a NAME/data.pkl. */
bool torch_zip_is(const ZipMap *zip) {
    for (uint64_t i = 0; i < zip_map_count(zip); i++)
        if (is_pickle(zip_map_name(zip, i))) return true;
    return false;
}

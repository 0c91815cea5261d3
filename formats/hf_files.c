/* Lists the files of a Hugging Face folder to be written: see formats/hf_files.h. hf_write.c and
 * hf_zip_write.c then write the list to disk or into a zip. The steps: lay_out decides the order of the
 * tensors and the shard of each; list_shards builds the header of each shard (formats/safetensors.h has the
 * format); then follow the index, the side files and the manifest. */
#include "formats/hf_files.h"

#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/hf_folder.h"
#include "formats/json.h"
#include "formats/tensor_writer.h"

static const uint64_t DEFAULT_SHARD =
    5000000000; /* bytes; the default of save_pretrained in transformers 4 */

/* The order in which tensors are written, and their shards. */
typedef struct Layout {
    Tensor **tensors; /* (n) in the order of writing; becomes HfFiles.tensors */
    uint32_t *shard;  /* (n) the shard of each, from 0; never falls */
    size_t n, n_shards;
} Layout;

/* The alignment in bytes that a view of the tensor in memory needs: the size of an element, or 1 for block
 * types, which have no address of their own for an element. */
static uint32_t alignment_of(const Tensor *t) {
    const DTypeInfo *d = dtype_info(t->dtype);
    return d->block_elems == 1 ? d->block_bytes : 1;
}

/* Fills shards in order. A new shard begins where the next tensor would exceed the limit; a tensor larger
 * than the limit has a shard of its own. */
static void assign_shards(Layout *l, uint64_t limit) {
    /* bytes in the current shard */
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

/* True if each tensor begins at a multiple of its alignment within the data of its shard. */
static bool is_aligned(const Layout *l) {
    uint64_t at = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (i && l->shard[i] != l->shard[i - 1]) at = 0;
        if (at % alignment_of(l->tensors[i])) return false;
        at += tensor_bytes(l->tensors[i]);
    }
    return true;
}

/* Order for qsort: larger alignments first; tensors of equal alignment keep the order of the checkpoint,
 * because pointers into one table compare by position. */
static int by_alignment(const void *a, const void *b) {
    const Tensor *x = *(Tensor *const *)a, *y = *(Tensor *const *)b;
    uint32_t m = alignment_of(x), n = alignment_of(y);
    if (m != n) return m > n ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Decides the order of the tensors and the shard of each; `limit` is the size of a shard in bytes. The order
 * of the checkpoint is kept if all tensors are aligned in it. Otherwise a float tensor could follow an odd
 * number of bytes, which torch refuses to view; then tensors are sorted by the size of their elements, as the
 * reference implementation always does (safetensors/src/tensor.rs, prepare). */
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

/* The name of shard `i` of `n`, as transformers has it, for example model-00002-of-00005.safetensors. */
static void shard_name(char *out, size_t size, size_t i, size_t n) {
    if (n == 1)
        snprintf(out, size, "%s", SAFETENSORS_FILE);
    else
        snprintf(out, size, "model-%05zu-of-%05zu.safetensors", i + 1, n);
}

/* Returns the __metadata__ of a shard: that of the source, and "format": "pt", without which transformers
 * refuses to load the file. New reference. */
static json_t *metadata_of(const Checkpoint *c) {
    json_t *m = json_object();
    const char *key;
    json_t *value;
    json_object_foreach(c->st_metadata, key, value) {
        if (json_is_string(value)) json_object_set(m, key, value);
    }
    if (!json_object_get(m, "format")) json_object_set_new(m, "format", json_string("pt"));
    return m;
}

/* Builds the JSON header of shard `which`, padded with spaces to a multiple of 8 bytes, so that the data is
 * aligned. Fails if a tensor has a type that safetensors does not know, as block types of GGUF. */
static bool build_header(const Checkpoint *c, const Layout *l, size_t which, Buffer *out, Error *e) {
    json_t *header = json_object();
    json_object_set_new(header, "__metadata__", metadata_of(c));
    /* Offsets count from the beginning of the data of this shard. */
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
        /* The entry of the tensor: dtype, shape and range. */
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

/* A row of the index before it is sorted. */
typedef struct IndexRow {
    const char *tensor;
    uint32_t shard;
} IndexRow;

/* Order by name, for qsort. */
static int by_tensor(const void *a, const void *b) {
    return strcmp(((const IndexRow *)a)->tensor, ((const IndexRow *)b)->tensor);
}

/* Builds model.safetensors.index.json: the sum of the sizes, and the shard of each tensor, sorted by name. */
static void build_index(const Layout *l, uint64_t total, Buffer *out) {
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
    json_print(index, 2, out);
    buffer_byte(out, '\n');
    json_decref(index);
}

/* ---- the list of files ---- */

/* Appends a file with this name and nothing in it. The pointer is valid until the next append. */
static HfFile *append(HfFiles *f, const char *name) {
    f->files = xrealloc(f->files, (f->n + 1) * sizeof *f->files);
    HfFile *added = &f->files[f->n++];
    *added = (HfFile){.name = arena_strdup(&f->arena, name)};
    return added;
}

/* Makes `text` the content of the file and frees it. */
static void set_text(HfFiles *f, HfFile *file, Buffer *text) {
    file->bytes = (uint8_t *)arena_strndup(&f->arena, buffer_string(text), text->size);
    file->n_bytes = text->size;
    buffer_free(text);
}

/* Lists the shards. f->tensors takes the layout's table over, so that hf_files_free frees it also after an
 * error. */
static bool list_shards(HfFiles *f, const Checkpoint *c, const Layout *l, Error *e) {
    f->tensors = l->tensors;
    for (size_t s = 0, i = 0; s < l->n_shards; s++) {
        char name[64];
        Buffer header = {0}, text = {0};
        if (!build_header(c, l, s, &header, e)) return false;
        /* The file begins with the length of the header as a little-endian u64. */
        uint64_t n = header.size;
        buffer_append(&text, &n, sizeof n);
        buffer_append(&text, header.data, header.size);
        buffer_free(&header);
        shard_name(name, sizeof name, s, l->n_shards);
        HfFile *file = append(f, name);
        set_text(f, file, &text);
        /* The shards are consecutive ranges of the table of tensors. */
        file->tensors = l->tensors + i;
        for (; i < l->n && l->shard[i] == s; i++, file->n_tensors++)
            file->tensor_bytes += tensor_bytes(l->tensors[i]);
    }
    return true;
}

/* Puts the files listed so far, which are the shards and the index, into c->weight_files. */
static void note_weights(Checkpoint *c, const HfFiles *f) {
    json_decref(c->weight_files);
    c->weight_files = json_array();
    for (size_t i = 0; i < f->n; i++)
        json_array_append_new(c->weight_files,
                              json_pack("{s:s, s:I}", "file", f->files[i].name, "bytes",
                                        (json_int_t)(f->files[i].n_bytes + f->files[i].tensor_bytes)));
}

/* Lists the side files. Their names may come from the keys of a GGUF, so they are untrusted: each has to be a
 * plain path within the folder and must not be that of a weights file. An old manifest is left out if a new
 * one will be written. */
static bool list_side_files(HfFiles *f, const Checkpoint *c, bool manifest, Error *e) {
    /* Names are checked against the rules and against the shards and index listed so far. */
    for (size_t i = 0; i < c->n_files; i++) {
        const SideFile *from = &c->files[i];
        if (manifest && strcmp(from->name, MANIFEST_FILE) == 0) continue;
        if (!hf_side_file_name(from->name))
            return error_set(e, ERR_INPUT, "side file '%.100s': not a plain file name", from->name);
        for (size_t j = 0; j < f->n; j++)
            if (strcmp(f->files[j].name, from->name) == 0)
                return error_set(e, ERR_INPUT, "side file '%.100s': the weights use this name", from->name);
        HfFile *file = append(f, from->name);
        file->bytes = from->bytes;
        file->n_bytes = from->size;
    }
    return true;
}

/* The writers call this after all tensors are written. The manifest ends with a newline, as text files do. */
bool hf_manifest_text(Checkpoint *c, const WriteOptions *o, Buffer *out, Error *e) {
    if (!o->manifest(o->manifest_context, c, out, e)) return false;
    buffer_byte(out, '\n');
    return true;
}

/* Lists all files in the order of writing. A single shard needs no index. The manifest's hashes are known
 * only when all tensors are written, so it is the last file and has no content yet. */
bool hf_files_list(HfFiles *f, Checkpoint *c, const WriteOptions *o, Error *e) {
    Layout l = lay_out(c, o->max_shard_size ? o->max_shard_size : DEFAULT_SHARD);
    bool ok = list_shards(f, c, &l, e);
    if (ok && l.n_shards > 1) {
        Buffer index = {0};
        build_index(&l, tensors_total_bytes(c), &index);
        set_text(f, append(f, SAFETENSORS_FILE INDEX_ENDING), &index);
    }
    free(l.shard);
    note_weights(c, f);
    ok = ok && list_side_files(f, c, o->manifest != NULL, e);
    if (ok && o->manifest) append(f, MANIFEST_FILE)->is_manifest = true;
    return ok;
}

/* The tensors belong to the checkpoint; only the table of pointers is freed. */
void hf_files_free(HfFiles *f) {
    free(f->files);
    free(f->tensors);
    arena_free(&f->arena);
}

/* The checkpoint: what every reader fills and every writer drains. It knows bytes, not models.
 *
 * A tensor's content is described, not held: rows that lie in a mapped file (or in memory we own), in an
 * order, with an element type to serve them in. Nothing is decoded until a writer or the forward pass asks,
 * and then row by row, so memory does not grow with the model. A tensor that no pass touched is served as
 * the very bytes of its file. */
#ifndef DEROPE_FORMATS_CHECKPOINT_H
#define DEROPE_FORMATS_CHECKPOINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/buffer.h"
#include "formats/dtype.h"
#include "formats/error.h"

enum { TENSOR_MAX_RANK = 8 };

/* Where bytes come from: a mapped file, memory, or a container that has to be asked (a zip entry). */
typedef struct ByteSource {
    const char *path;   /* for messages */
    const uint8_t *map; /* whole content, or NULL: then `read` serves it */
    uint64_t size;
    bool (*read)(const struct ByteSource *s, uint64_t offset, size_t n, void *out, Error *e);
    void *context; /* for `read` */
} ByteSource;

/* Consecutive stored rows. Most tensors are one part; fused or stacked ones are several. */
typedef struct TensorPart {
    const ByteSource *source;
    uint64_t offset; /* of the first row */
    uint64_t n_rows;
} TensorPart;

/* What happened to a tensor between source and output; the manifest prints these words. */
typedef enum TensorStatus {
    TENSOR_UNTOUCHED, /* the same bytes */
    TENSOR_PERMUTED,  /* the same rows in another order */
    TENSOR_WIDENED,   /* an exact change of type (bf16 -> f32), maybe permuted too */
    TENSOR_CHANGED,   /* other values */
    TENSOR_NEW,       /* not in the source */
} TensorStatus;

typedef struct Tensor {
    const char *name;
    uint32_t rank;
    uint64_t shape[TENSOR_MAX_RANK]; /* slowest first, as in safetensors; GGUF writes it reversed */
    DType dtype;                     /* as served */
    DType storage_dtype;             /* as the parts hold it */
    uint64_t n_rows, row_elems;      /* rows are what row_index moves; n_rows * row_elems = elements */
    const TensorPart *parts;
    uint32_t n_parts;
    const uint32_t *row_index; /* served row i is stored row row_index[i]; NULL: in order */
    float scale, add;          /* served value = stored * scale + add; 1 and 0 leave it */
    const float *row_scale;    /* and times a factor of its own for each served row; NULL: none */
    bool is_new;
    bool changed;       /* other values than the source's, whatever the description says */
    bool moved;         /* elements in another order than the source's, whatever row_index says */
    bool widened;       /* of a narrower type in the source, whatever `stored` says */
    bool replaced;      /* `dtype` stands in for `stored`, which cannot be encoded */
    const char *packed; /* how the source keeps it: "f8_e4m3", "mxfp4" (formats/packed.h); NULL: as it is */
    bool restored;      /* `dtype` undoes a widening: narrower than stored, and exact */
    char hash[33];      /* XXH3-128 of the served bytes, lower-case hex; writers fill it */
} Tensor;

/* GGUF's typed values (spec: "gguf_metadata_value_type"), kept in their file encoding. */
typedef enum MetaType {
    META_U8 = 0,
    META_I8,
    META_U16,
    META_I16,
    META_U32,
    META_I32,
    META_F32,
    META_BOOL,
    META_STRING,
    META_ARRAY,
    META_U64,
    META_I64,
    META_F64,
    META_TYPE_COUNT
} MetaType;

typedef struct MetaEntry {
    const char *key;
    MetaType type;
    MetaType elem_type;   /* arrays only */
    uint64_t count;       /* elements of an array, 1 otherwise */
    const uint8_t *bytes; /* scalar or elements, little-endian; strings as u64 length + bytes */
    uint64_t size;
} MetaEntry;

/* A file beside the weights: config.json, tokenizer.json, chat_template.jinja, ... */
typedef struct SideFile {
    const char *name;
    const uint8_t *bytes;
    uint64_t size;
} SideFile;

typedef enum Format { FORMAT_HF, FORMAT_GGUF, FORMAT_TORCH } Format;

typedef struct Checkpoint {
    Format format;
    const char *path;
    Tensor *tensors; /* in file order (shard after shard) */
    size_t n_tensors;
    MetaEntry *meta; /* GGUF key-values, in file order */
    size_t n_meta;
    SideFile *files; /* HF: sorted by name */
    size_t n_files;
    json_t *st_metadata;  /* safetensors __metadata__ (object of strings) or NULL */
    const char *left_out; /* PyTorch: names of what was saved beside the tensors and is not read, or NULL */
    uint32_t alignment;   /* GGUF; 32 unless it says otherwise */
    uint32_t gguf_version;
    size_t *tensor_index; /* checkpoint_find's table */
    size_t tensor_capacity, index_capacity, meta_capacity;
    Arena arena;              /* owns names, parts, tables */
    struct Mapping *mappings; /* owns the mapped files and zip handles */
} Checkpoint;

/* Opens a GGUF file, an HF folder (safetensors or PyTorch weights), a zip of one, a .safetensors or a torch
 * zip file. */
Checkpoint *checkpoint_open(const char *path, Error *e);
/* The same for a folder that may lack weights: `without_weights` reads configuration and tokenizer alone. */
Checkpoint *checkpoint_open_config(const char *path, bool without_weights, Error *e);
Checkpoint *checkpoint_new(Format format);
void checkpoint_close(Checkpoint *c);

/* Appends; the returned pointer is valid until the next append. Strings are copied into the arena. */
Tensor *checkpoint_add_tensor(Checkpoint *c, const Tensor *t);
const Tensor *checkpoint_find(const Checkpoint *c, const char *name);
const SideFile *checkpoint_file(const Checkpoint *c, const char *name);
void checkpoint_set_file(Checkpoint *c, const char *name, const void *bytes, size_t n); /* copies */
/* Same without the copy: `bytes` lives as long as the checkpoint (its mapping or arena). */
void checkpoint_add_file(Checkpoint *c, const char *name, const uint8_t *bytes, uint64_t size);
void checkpoint_remove_file(Checkpoint *c, const char *name);
/* Parses a side file; new reference. NULL without error if the file is absent (`e->code` ERR_NONE). */
json_t *checkpoint_json(const Checkpoint *c, const char *name, Error *e);

/* A tensor over memory: `bytes` is row-major data of `dtype` that outlives the checkpoint (or lies in its
 * arena). Rank 1 gives one row; use tensor_split_rows to move its elements. */
Tensor tensor_over(Arena *a, const char *name, DType dtype, uint32_t rank, const uint64_t *shape,
                   const void *bytes);
/* Bytes as served; false if they wrap (cannot happen for a tensor a reader accepted). */
uint64_t tensor_bytes(const Tensor *t);
uint64_t tensor_elems(const Tensor *t);
/* Serves rows [first, first + n) in t->dtype into `out` (n * row bytes). */
bool tensor_read_rows(const Tensor *t, uint64_t first, uint64_t n, void *out, Error *e);
/* Whole tensor as fp32, row-major. */
bool tensor_read_f32(const Tensor *t, float *out, Error *e);
/* The served bytes where they lie contiguous in a map and are served as stored; else NULL. */
const void *tensor_map(const Tensor *t);
TensorStatus tensor_status(const Tensor *t);
const char *tensor_status_name(TensorStatus s);
/* Makes each element a row, so that they can be moved like a matrix's rows. An error for types whose elements
 * lie in blocks, and where rows are moved already. */
bool tensor_split_elements(Arena *a, Tensor *t, Error *e);
/* The same of a vector; anything else is left alone. */
bool tensor_split_rows(Arena *a, Tensor *t, Error *e);
/* Composes a further permutation: new served row i is old served row index[i]. Drops to NULL if identity. */
void tensor_permute(Arena *a, Tensor *t, const uint32_t *index);
/* Rows [first, first + n) of `t`, whose shape the caller sets. */
Tensor tensor_slice(Arena *a, const Tensor *t, uint64_t first, uint64_t n);
/* The rows of all `n` tensors, one tensor after the other, which must agree in their types and shapes: rank
 * and shape are those of one, with `n` before them. An error names the two that differ. */
bool tensor_stack(Arena *a, const Tensor *const *tensors, uint32_t n, Tensor *out, Error *e);
/* The same tensor as if it were stored the way it is served. Its rows are read whole. */
Tensor tensor_as_served(Arena *a, const Tensor *t);
/* Holds one transposed matrix at a time. Zero-initialise; free it after the last reading of such a tensor. */
typedef struct Transposer {
    uint64_t made;   /* tensors, numbered from 1 */
    uint64_t of;     /* the tensor whose matrix is held; 0: none */
    uint64_t matrix; /* its index in that tensor */
    uint8_t *bytes;
    size_t capacity;
} Transposer;
void transposer_free(Transposer *t);
/* A matrix, or each of a stack of them, with rows and columns exchanged; served in the type that `t` is
 * served in, which must not have blocks. Twice is `t` itself again. All tensors made with one `held` are read
 * by one thread. */
bool tensor_transposed(Arena *a, Transposer *held, const Tensor *t, Tensor *out, Error *e);
/* True if both parts begin at the same stored row, transposed alike. */
bool part_same(const TensorPart *a, const TensorPart *b);
/* XXH3-128 of the served bytes without writing them. */
bool tensor_hash(const Tensor *t, char out[33], Error *e);

/* Bytes of a plain type; 0 for strings and arrays. */
uint32_t meta_type_size(MetaType t);

/* GGUF metadata access. The getters return false when absent or of another kind (any integer type serves
 * meta_u64; float or double serve meta_f64). */
const MetaEntry *meta_find(const Checkpoint *c, const char *key);
bool meta_u64(const Checkpoint *c, const char *key, uint64_t *out);
bool meta_f64(const Checkpoint *c, const char *key, double *out);
bool meta_bool(const Checkpoint *c, const char *key, bool *out);
const char *meta_string(const Checkpoint *c, const char *key, size_t *len); /* NUL-terminated copy in arena */
/* i-th element of an array. Strings: pointer into the entry, not terminated. Iterating: keep `*cursor`
 * (0 to start) between calls. */
bool meta_array_string(const MetaEntry *m, uint64_t *cursor, const char **s, size_t *len);
bool meta_array_f64(const MetaEntry *m, uint64_t i, double *out); /* any numeric or bool element */
/* Appends without looking for the key and without a copy (readers; the bytes live as long as `c`). */
void meta_append(Checkpoint *c, const MetaEntry *m);
/* Sets or replaces (in place if the key is there, else appended). */
void meta_set_raw(Checkpoint *c, const MetaEntry *m); /* copies */
void meta_set_u32(Checkpoint *c, const char *key, uint32_t v);
void meta_set_f32(Checkpoint *c, const char *key, float v);
void meta_set_bool(Checkpoint *c, const char *key, bool v);
void meta_set_string(Checkpoint *c, const char *key, const char *s, size_t len);
/* `values`: count elements of the plain type, little-endian. */
void meta_set_array(Checkpoint *c, const char *key, MetaType elem, const void *values, uint64_t count);
void meta_set_string_array(Checkpoint *c, const char *key, const char *const *s, const size_t *len,
                           uint64_t count);
void meta_remove(Checkpoint *c, const char *key);

/* What a writer is told. `manifest` is called after the tensors' hashes are known (and once before, with
 * hashes of zeros, by the GGUF writer: its text must then have the same length) and returns the text of
 * derope.json / the GGUF key derope.manifest. */
typedef struct WriteOptions {
    bool force;              /* replace an existing output */
    uint64_t max_shard_size; /* HF only; 0: one file up to 5 GB, the hub's custom */
    bool (*manifest)(void *context, const Checkpoint *out, Buffer *text, Error *e);
    void *manifest_context;
    void (*progress)(void *context, uint64_t done, uint64_t total); /* bytes; may be NULL */
    void *progress_context;
    const volatile int *stop; /* non-zero: give up, leave nothing (ERR_INTERRUPTED); may be NULL */
} WriteOptions;

/* Both write under a temporary name beside `path`, fsync and rename; on failure nothing remains. The
 * checkpoint's tensors get their hashes. */
bool hf_write(Checkpoint *c, const char *path, const WriteOptions *o, Error *e);
/* hf_write makes one zip of the folder: `path` ends in .zip. */
bool hf_is_zip(const char *path);
bool gguf_write(Checkpoint *c, const char *path, const WriteOptions *o, Error *e);

#endif

/* The checkpoint: what each reader fills and each writer writes (checkpoint.c).
 *
 * A checkpoint is a list of tensors (formats/tensor.h) and what comes with them: the key-values of a GGUF, or
 * the files beside the weights of a Hugging Face folder. It knows bytes and names but nothing about models;
 * surgery/ gives the tensors their meaning. It owns the mapped files and, in its arena, all names and
 * descriptions: pointers into a checkpoint are valid until checkpoint_close. */
#ifndef DEROPE_FORMATS_CHECKPOINT_H
#define DEROPE_FORMATS_CHECKPOINT_H

#include <jansson.h>

#include "formats/name_table.h"
#include "formats/tensor_views.h"

/* Types of GGUF values. The numbers are those of the file (ggml docs/gguf.md, gguf_metadata_value_type). */
typedef enum MetaType {
    META_U8 = 0,
    META_I8,
    META_U16,
    META_I16,
    META_U32,
    META_I32,
    META_F32,
    META_BOOL, /* one byte, 0 or 1 */
    META_STRING,
    META_ARRAY,
    META_U64,
    META_I64,
    META_F64,
    META_TYPE_COUNT
} MetaType;

/* A key and its value in the encoding of the file. formats/meta.h reads and writes them. */
typedef struct MetaEntry {
    const char *key;
    MetaType type;
    MetaType elem_type;   /* of an array; arrays of arrays are refused by the reader */
    uint64_t count;       /* elements of an array, 1 otherwise */
    const uint8_t *bytes; /* little-endian; each string is its length as u64 and its bytes, not terminated */
    uint64_t size;        /* of `bytes` */
} MetaEntry;

/* A mapped file, or other memory that tensors point into. A checkpoint keeps its mappings in a list. */
typedef struct Mapping {
    struct Mapping *next;
    ByteSource source;
    void (*close)(struct Mapping *m); /* frees what `source` refers to; NULL: nothing to free */
} Mapping;

/* A file beside the weights: config.json, tokenizer.json, chat_template.jinja, ... */
typedef struct SideFile {
    const char *name; /* within the folder, such as "config.json" or "additional_chat_templates/rag.jinja" */
    const uint8_t *bytes; /* (size) */
    uint64_t size;
} SideFile;

/* What a checkpoint was read from or is to be written as. */
typedef enum Format {
    FORMAT_HF,   /* Hugging Face: safetensors or PyTorch weights with config.json and other files */
    FORMAT_GGUF, /* one file with key-values */
    FORMAT_TORCH /* a bare state dict saved by torch.save */
} Format;

typedef struct Checkpoint {
    Format format;
    const char *path; /* as it was opened, for messages; "" if it was made in memory */

    Tensor *tensors; /* (n_tensors) in the order of the file, shard after shard */
    size_t n_tensors, tensor_capacity;
    NameTable tensor_names; /* positions in `tensors`, for checkpoint_find */

    MetaEntry *meta; /* (n_meta) key-values of a GGUF, in the order of the file */
    size_t n_meta, meta_capacity;
    NameTable meta_keys; /* positions in `meta`, for meta_find; empty after a removal until the next search */
    uint32_t alignment;  /* of tensor data in a GGUF, in bytes; 32 unless general.alignment states another */
    uint32_t gguf_version; /* 2 or 3 */

    SideFile *files; /* (n_files) of a Hugging Face folder, sorted by name */
    size_t n_files;
    json_t *st_metadata; /* the __metadata__ of safetensors files, an object of strings; NULL: none */
    /* The files that the writer of a Hugging Face folder puts the tensors into, an array of {"file", "bytes"}
     * for the manifest; NULL before that. */
    json_t *weight_files;
    const char *not_carried; /* names of what lies in folders beside the weights and is not a side file: other
                                weights, other models; NULL: nothing */
    size_t n_not_carried;    /* how many */

    const char
        *left_out; /* PyTorch: names of what was saved beside the tensors and is not read; NULL: nothing */

    Arena arena;                    /* owns names, parts and values */
    Mapping *mappings;              /* owns mapped files and unpacked zip entries */
    TransposeCache transpose_cache; /* for those of its tensors that were transposed when it was made */
} Checkpoint;

/* An empty checkpoint. It is closed with checkpoint_close. Running out of memory ends the program. */
Checkpoint *checkpoint_new(Format format);
/* Unmaps all files and frees everything. NULL is allowed. */
void checkpoint_close(Checkpoint *c);

/* Appends a copy of `t`, with name and parts copied into the arena. The returned pointer is valid until the
 * next append. Of two tensors of one name checkpoint_find knows the first; readers refuse the second. */
Tensor *checkpoint_add_tensor(Checkpoint *c, const Tensor *t);
/* The tensor of this name, or NULL. Takes constant time. */
const Tensor *checkpoint_find(const Checkpoint *c, const char *name);

/* The side file of this name, or NULL. */
const SideFile *checkpoint_file(const Checkpoint *c, const char *name);
/* Adds or replaces a side file; set_file copies `bytes`, add_file keeps the pointer, which has to stay valid
 * as long as the checkpoint (it lies in a mapping or in the arena). */
void checkpoint_set_file(Checkpoint *c, const char *name, const void *bytes, size_t n);
void checkpoint_add_file(Checkpoint *c, const char *name, const uint8_t *bytes, uint64_t size);
/* Does nothing if there is no such file. */
void checkpoint_remove_file(Checkpoint *c, const char *name);
/* Parses a side file as JSON and returns a new reference. Returns NULL with e->code ERR_NONE if there is no
 * such file, and with ERR_INPUT if it is not valid JSON. */
json_t *checkpoint_json(const Checkpoint *c, const char *name, Error *e);

/* Maps a regular file read-only for as long as `c` lives. The pages are read by the kernel as they are
 * touched. An empty file gives a source of size 0. NULL with an error if the file is absent, not regular or
 * cannot be mapped. */
const ByteSource *checkpoint_map(Checkpoint *c, const char *path, Error *e);
/* Gives `c` other memory to own. checkpoint_close calls close_mapping, if it is not NULL. */
Mapping *checkpoint_add_mapping(Checkpoint *c, const ByteSource *s, void (*close_mapping)(Mapping *));

#endif

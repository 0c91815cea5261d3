/* The checkpoint: what every reader fills and every writer drains (checkpoint.c). It knows bytes, not models.
 */
#ifndef DEROPE_FORMATS_CHECKPOINT_H
#define DEROPE_FORMATS_CHECKPOINT_H

#include <jansson.h>

#include "formats/tensor.h"

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

/* A mapping kept by a checkpoint until it is closed. */
typedef struct Mapping {
    struct Mapping *next;
    ByteSource source;
    void (*close)(struct Mapping *m);
} Mapping;

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
    Arena arena;       /* owns names, parts, tables */
    Mapping *mappings; /* owns the mapped files and zip handles */
} Checkpoint;

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

/* Maps a regular file read-only and hangs it on `c`. An empty file maps to size 0. */
const ByteSource *checkpoint_map(Checkpoint *c, const char *path, Error *e);
/* Hangs a source of another kind (a zip entry) on `c`; close(m) is called by checkpoint_close. */
Mapping *checkpoint_add_mapping(Checkpoint *c, const ByteSource *s, void (*close)(Mapping *));

#endif

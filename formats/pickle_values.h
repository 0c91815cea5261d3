/* The values of a state dict's pickle, and what the names that it may import make of them (pickle_values.c).
 * formats/unpickle.h runs the pickle and calls the functions below for imports, persistent ids and calls. */
#ifndef DEROPE_FORMATS_PICKLE_VALUES_H
#define DEROPE_FORMATS_PICKLE_VALUES_H

#include "formats/tensor.h"

typedef enum PickleKind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_FLOAT,
    PICKLE_STRING,
    PICKLE_BYTES,
    PICKLE_TUPLE,
    PICKLE_LIST,
    PICKLE_DICT,
    PICKLE_GLOBAL,  /* an imported name: a function, a class or a torch.dtype */
    PICKLE_STORAGE, /* the bytes of one or several tensors */
    PICKLE_TENSOR,
    PICKLE_OPAQUE, /* a torch.device or layout, which has no part in the content of a state dict */
} PickleKind;

/* A torch storage: the bytes of the zip entry NAME/data/KEY. */
typedef struct PickleStorage {
    const char *key; /* terminated */
    bool typed;      /* false: an UntypedStorage, whose tensors state their types themselves */
    DType dtype;     /* if typed */
    uint64_t size;   /* bytes */
} PickleStorage;

/* A tensor as torch describes it: a strided view of a storage. The constructor has checked that all its
 * elements lie in the storage. */
typedef struct PickleTensor {
    const PickleStorage *storage;
    DType dtype;
    uint64_t offset; /* of the first element, in elements */
    uint32_t rank;
    uint64_t shape[TENSOR_MAX_RANK];
    uint64_t stride[TENSOR_MAX_RANK]; /* in elements */
} PickleTensor;

typedef struct PickleValue {
    PickleKind kind;
    uint32_t offset;    /* in the pickle, of the opcode that made the value; for messages */
    uint32_t n;         /* items of a tuple or list, bytes of a string, keys and values of a dict together */
    uint32_t capacity;  /* items allocated */
    bool holds_tensors; /* a tuple, list or dict that has a tensor among its direct values */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const char *text;           /* (n) of a string or bytes, in the pickle, not terminated */
        struct PickleValue **items; /* (n); of a dict: key, value, key, value, ... */
        const struct PickleGlobal *global;
        const PickleStorage *storage;
        const PickleTensor *tensor;
    };
} PickleValue;

/* "a dict", "a tensor", ... for messages. */
const char *pickle_kind_name(PickleKind k);

/* The functions below return NULL on failure and write the reason, for the end of a message, into `why`. */

/* The imported name module.name, if it is one that state dicts use. The strings are not terminated. */
const struct PickleGlobal *pickle_global(const char *module, uint32_t n_module, const char *name,
                                         uint32_t n_name, char *why, size_t why_size);

/* The storage of a persistent id, the tuple ('storage', type, key, location, number of elements) that
 * torch.serialization writes in place of the storage itself. */
const PickleStorage *pickle_storage(Arena *a, const PickleValue *id, char *why, size_t why_size);

/* The result of calling `function` with the tuple `arguments`: `blank`, an opaque value that is filled, or
 * one of the arguments. */
PickleValue *pickle_build(Arena *a, const struct PickleGlobal *function, const PickleValue *arguments,
                          PickleValue *blank, char *why, size_t why_size);

#endif

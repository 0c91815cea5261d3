/* The values of a state dict's pickle: the names that it may import, and what is made of them
 * (pickle_values.c). Each function returns NULL with a reason in `why`. */
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
    PICKLE_GLOBAL, /* a name of the table */
    PICKLE_STORAGE,
    PICKLE_TENSOR,
    PICKLE_OPAQUE, /* a device, a layout: no part of a state dict's content */
} PickleKind;

/* Bytes of the zip entry data/KEY. */
typedef struct PickleStorage {
    const char *key; /* NUL-terminated */
    bool typed;
    DType dtype; /* if typed */
    uint64_t size;
} PickleStorage;

typedef struct PickleTensor {
    const PickleStorage *storage;
    DType dtype;
    uint64_t offset; /* into the storage, in elements, as the strides are */
    uint32_t rank;
    uint64_t shape[TENSOR_MAX_RANK], stride[TENSOR_MAX_RANK];
} PickleTensor;

typedef struct PickleValue {
    PickleKind kind;
    uint32_t offset;      /* of the opcode that made it */
    uint32_t n, capacity; /* items; bytes of a string */
    bool holds_tensors;   /* a tuple, list or dict with a tensor among its values */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const char *text;           /* not terminated; lies in the pickle */
        struct PickleValue **items; /* of a dict: key, value, key, value, ... (n counts both) */
        const struct PickleGlobal *global;
        const PickleStorage *storage;
        const PickleTensor *tensor;
    };
} PickleValue;

/* "a dict", "a tensor", ... for messages. */
const char *pickle_kind_name(PickleKind k);

const struct PickleGlobal *pickle_global(const char *module, uint32_t n_module, const char *name,
                                         uint32_t n_name, char *why, size_t why_size);
/* From the persistent id ('storage', type, key, location, elements). */
const PickleStorage *pickle_storage(Arena *a, const PickleValue *id, char *why, size_t why_size);
/* What `function` makes of the tuple `arguments`: `blank` filled, or one of the arguments. */
PickleValue *pickle_build(Arena *a, const struct PickleGlobal *function, const PickleValue *arguments,
                          PickleValue *blank, char *why, size_t why_size);

#endif

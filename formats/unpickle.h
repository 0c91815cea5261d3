/* The pickles that torch.save writes for a state dict, as plain values. This is no pickle machine: it knows
 * the opcodes such files hold and a table of names (storages, element types, OrderedDict, the functions that
 * rebuild a tensor); a pickle that asks for anything else is refused by name. Nothing is ever called.
 *
 * Opcodes: Python's pickletools; ids and rebuild functions: torch/serialization.py, torch/_utils.py. */
#ifndef DEROPE_FORMATS_UNPICKLE_H
#define DEROPE_FORMATS_UNPICKLE_H

#include "formats/checkpoint.h"

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

enum { PICKLE_LIMIT = 32 << 20 }; /* bytes; a state dict of 60,000 tensors takes 12 MB */

/* The value of the pickle `bytes` (which the value's strings point into), made in `a`. Dicts and lists may
 * contain themselves: who walks them bounds the depth. Messages begin with `where` and the offset. */
const PickleValue *unpickle(Arena *a, const char *where, const uint8_t *bytes, uint64_t n, Error *e);

/* "a dict", "a tensor", ... for messages. */
const char *pickle_kind_name(PickleKind k);

#endif

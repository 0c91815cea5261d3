/* The names that a state dict's pickle may import, and what is made of them: see formats/pickle_values.h.
 * unpickle.c asks here whenever a pickle imports, calls or names a storage; nothing of Python is ever run.
 * The rebuild functions are those of torch/_utils.py, the persistent ids those of torch/serialization.py
 * (persistent_id in _save). */
#include "formats/pickle_values.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What an imported name is, and the arguments of those that are called. */
typedef enum Role {
    ROLE_STORAGE,         /* a storage class of torch, which states an element type; not called */
    ROLE_UNTYPED_STORAGE, /* a storage class for bytes; not called */
    ROLE_DTYPE,           /* a torch.dtype; not called */
    ROLE_ORDERED_DICT,    /* () */
    ROLE_TENSOR,          /* (storage, offset, shape, strides, requires_grad, hooks, metadata) */
    ROLE_TENSOR_TYPED,    /* (storage, offset, shape, strides, requires_grad, hooks, dtype, metadata) */
    ROLE_PARAMETER,       /* (tensor, requires_grad, hooks, state) */
    ROLE_SIZE,            /* (tuple) */
    ROLE_OPAQUE,          /* any arguments; the result has no part in the content of a state dict */
} Role;

/* An importable name. Functions have the range of their number of arguments; names that are not called have 0
 * and 0. */
typedef struct PickleGlobal {
    const char *module, *name;
    Role role;
    DType dtype; /* of ROLE_STORAGE and ROLE_DTYPE */
    uint32_t min_arguments, max_arguments;
} PickleGlobal;

/* All names that torch.save uses for state dicts. Names that occur twice were moved between modules from one
 * version of PyTorch to another. */
static const PickleGlobal globals[] = {
    {"collections", "OrderedDict", ROLE_ORDERED_DICT, 0, 0, 0},
    {"torch._utils", "_rebuild_tensor", ROLE_TENSOR, 0, 4, 4},
    {"torch._utils", "_rebuild_tensor_v2", ROLE_TENSOR, 0, 6, 7},
    {"torch._utils", "_rebuild_tensor_v3", ROLE_TENSOR_TYPED, 0, 7, 8},
    {"torch._utils", "_rebuild_parameter", ROLE_PARAMETER, 0, 3, 3},
    {"torch._utils", "_rebuild_parameter_with_state", ROLE_PARAMETER, 0, 4, 4},
    {"torch", "Size", ROLE_SIZE, 0, 1, 1},
    {"torch", "device", ROLE_OPAQUE, 0, 1, 2},
    {"torch.serialization", "_get_layout", ROLE_OPAQUE, 0, 1, 1},
    {"torch", "UntypedStorage", ROLE_UNTYPED_STORAGE, 0, 0, 0},
    {"torch.storage", "UntypedStorage", ROLE_UNTYPED_STORAGE, 0, 0, 0},
    {"torch", "DoubleStorage", ROLE_STORAGE, DTYPE_F64, 0, 0},
    {"torch", "FloatStorage", ROLE_STORAGE, DTYPE_F32, 0, 0},
    {"torch", "HalfStorage", ROLE_STORAGE, DTYPE_F16, 0, 0},
    {"torch", "BFloat16Storage", ROLE_STORAGE, DTYPE_BF16, 0, 0},
    {"torch", "LongStorage", ROLE_STORAGE, DTYPE_I64, 0, 0},
    {"torch", "IntStorage", ROLE_STORAGE, DTYPE_I32, 0, 0},
    {"torch", "ShortStorage", ROLE_STORAGE, DTYPE_I16, 0, 0},
    {"torch", "CharStorage", ROLE_STORAGE, DTYPE_I8, 0, 0},
    {"torch", "ByteStorage", ROLE_STORAGE, DTYPE_U8, 0, 0},
    {"torch", "BoolStorage", ROLE_STORAGE, DTYPE_BOOL, 0, 0},
    {"torch", "ComplexFloatStorage", ROLE_STORAGE, DTYPE_C64, 0, 0},
    {"torch", "float64", ROLE_DTYPE, DTYPE_F64, 0, 0},
    {"torch", "float32", ROLE_DTYPE, DTYPE_F32, 0, 0},
    {"torch", "float16", ROLE_DTYPE, DTYPE_F16, 0, 0},
    {"torch", "bfloat16", ROLE_DTYPE, DTYPE_BF16, 0, 0},
    {"torch", "int64", ROLE_DTYPE, DTYPE_I64, 0, 0},
    {"torch", "int32", ROLE_DTYPE, DTYPE_I32, 0, 0},
    {"torch", "int16", ROLE_DTYPE, DTYPE_I16, 0, 0},
    {"torch", "int8", ROLE_DTYPE, DTYPE_I8, 0, 0},
    {"torch", "uint64", ROLE_DTYPE, DTYPE_U64, 0, 0},
    {"torch", "uint32", ROLE_DTYPE, DTYPE_U32, 0, 0},
    {"torch", "uint16", ROLE_DTYPE, DTYPE_U16, 0, 0},
    {"torch", "uint8", ROLE_DTYPE, DTYPE_U8, 0, 0},
    {"torch", "bool", ROLE_DTYPE, DTYPE_BOOL, 0, 0},
    {"torch", "complex64", ROLE_DTYPE, DTYPE_C64, 0, 0},
    {"torch", "float8_e4m3fn", ROLE_DTYPE, DTYPE_F8_E4M3, 0, 0},
    {"torch", "float8_e5m2", ROLE_DTYPE, DTYPE_F8_E5M2, 0, 0},
    {"torch", "float8_e8m0fnu", ROLE_DTYPE, DTYPE_F8_E8M0, 0, 0},
    {"torch", "float8_e4m3fnuz", ROLE_DTYPE, DTYPE_F8_E4M3FNUZ, 0, 0},
    {"torch", "float8_e5m2fnuz", ROLE_DTYPE, DTYPE_F8_E5M2FNUZ, 0, 0},
};

/* Names that people run into when they saved something else than a state dict, with advice. A NULL `name`
 * stands for everything in the module. */
static const struct {
    const char *module, *name, *why;
} known_refusals[] = {
    {"torch._utils", "_rebuild_qtensor", "a quantized torch tensor, which is not supported"},
    {"torch._utils", "_rebuild_sparse_tensor", "a sparse tensor, which is not supported"},
    {"torch._utils", "_rebuild_meta_tensor_no_storage", "a tensor on the meta device, which has no values"},
    {"torch.nn", NULL, "a whole module, not its state dict; save model.state_dict() instead"},
    {"transformers", NULL, "a whole model or its training arguments; save model.state_dict() instead"},
};

/* For messages, in the order of PickleKind. */
const char *pickle_kind_name(PickleKind k) {
    static const char *const names[] = {"None",
                                        "a truth value",
                                        "an integer",
                                        "a float",
                                        "a string",
                                        "bytes",
                                        "a tuple",
                                        "a list",
                                        "a dict",
                                        "a name",
                                        "storage",
                                        "a tensor",
                                        "a device or layout"};
    return names[k];
}

static void *because(char *why, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Writes the reason of a failure and returns NULL, so that callers can write `return because(...)`. */
static void *because(char *why, size_t size, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, size, fmt, ap);
    va_end(ap);
    return NULL;
}

/* True if the `n` characters of `text` are the string `s`. */
static bool equals(const char *text, uint32_t n, const char *s) {
    return strlen(s) == n && memcmp(text, s, n) == 0;
}

/* True if `text` names the module or something inside it: "torch.nn" covers "torch.nn.modules.linear". */
static bool within(const char *text, uint32_t n, const char *module) {
    size_t m = strlen(module);
    return n >= m && memcmp(text, module, m) == 0 && (n == m || text[m] == '.');
}

/* A name from a hostile file for messages: characters that a terminal could interpret become question
 * marks. */
static void printable(char *out, size_t size, const char *text, uint32_t n) {
    size_t k = 0;
    for (uint32_t i = 0; i < n && k + 1 < size; i++)
        out[k++] = text[i] >= ' ' && text[i] < 0x7f ? text[i] : '?';
    out[k] = 0;
}

/* Looks up a name; NULL with the reason in `why` if it is not in the table. A refused name that people run
 * into gets advice, any other one is just named. */
const PickleGlobal *pickle_global(const char *module, uint32_t n_module, const char *name, uint32_t n_name,
                                  char *why, size_t why_size) {
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (equals(module, n_module, globals[i].module) && equals(name, n_name, globals[i].name))
            return &globals[i];
    /* Not in the table: say why. */
    char shown_module[100], shown_name[100];
    printable(shown_module, sizeof shown_module, module, n_module);
    printable(shown_name, sizeof shown_name, name, n_name);
    for (size_t i = 0; i < sizeof known_refusals / sizeof *known_refusals; i++)
        if (within(module, n_module, known_refusals[i].module) &&
            (!known_refusals[i].name || equals(name, n_name, known_refusals[i].name)))
            return because(why, why_size, "imports '%s.%s': %s", shown_module, shown_name,
                           known_refusals[i].why);
    return because(why, why_size, "imports '%s.%s', which no state dict needs; refused", shown_module,
                   shown_name);
}

/* ---- storages ---- */

/* True for an integer from 0 on, as sizes and offsets have to be. */
static bool is_count(const PickleValue *v) {
    return v->kind == PICKLE_INT && v->integer >= 0;
}

/* Reads a persistent id, ('storage', type, key, location, elements); NULL with the reason in `why` if it is
 * anything else. The location ("cpu", "cuda:0") is ignored, because the bytes are the same. */
const PickleStorage *pickle_storage(Arena *a, const PickleValue *id, char *why, size_t why_size) {
    if (id->kind != PICKLE_TUPLE || id->n != 5 || id->items[0]->kind != PICKLE_STRING ||
        !equals(id->items[0]->text, id->items[0]->n, "storage") || id->items[1]->kind != PICKLE_GLOBAL ||
        id->items[2]->kind != PICKLE_STRING || !is_count(id->items[4]))
        return because(why, why_size,
                       "a persistent id that is not ('storage', type, key, location, elements)");
    const PickleGlobal *type = id->items[1]->global;
    if (type->role != ROLE_STORAGE && type->role != ROLE_UNTYPED_STORAGE)
        return because(why, why_size, "'%s.%s' is not a type of storage", type->module, type->name);
    /* The key becomes part of the name of a zip entry. */
    const PickleValue *key = id->items[2];
    if (key->n > 255 || memchr(key->text, 0, key->n))
        return because(why, why_size, "a storage key of %u bytes (at most 255) or with a zero byte in it",
                       key->n);
    PickleStorage *s = arena_alloc(a, sizeof *s);
    s->key = arena_strndup(a, key->text, key->n);
    s->typed = type->role == ROLE_STORAGE;
    s->dtype = type->dtype;
    /* The pickle has the number of elements; an untyped storage counts in bytes. */
    s->size = (uint64_t)id->items[4]->integer;
    if (s->typed && !dtype_bytes(s->dtype, s->size, &s->size))
        return because(why, why_size, "the size of storage '%s' does not fit in 64 bits", s->key);
    return s;
}

/* ---- tensors ---- */

/* Reads shape or strides; False if one is negative or not an integer. The caller has checked that there are
 * at most TENSOR_MAX_RANK of them. */
static bool read_dims(const PickleValue *v, uint64_t out[TENSOR_MAX_RANK]) {
    for (uint32_t i = 0; i < v->n; i++) {
        if (!is_count(v->items[i])) return false;
        out[i] = (uint64_t)v->items[i]->integer;
    }
    return true;
}

/* Checks that the tensor lies in its storage and is not larger than it. The highest element is at offset +
 * sum((shape - 1) * stride). The second test refuses tensors that are expanded with stride 0, which a small
 * file could use to claim a huge tensor. */
static bool check_extent(const PickleTensor *t, char *why, size_t why_size) {
    /* The number of elements; 0 needs no storage. */
    uint64_t elems = 1, last = t->offset, bytes = 0, step;
    for (uint32_t i = 0; i < t->rank; i++)
        if (!mul_u64(elems, t->shape[i], &elems))
            return because(why, why_size, "the product of a tensor's dimensions does not fit in 64 bits");
    if (elems == 0) return true;
    for (uint32_t i = 0; i < t->rank; i++)
        if (!mul_u64(t->shape[i] - 1, t->stride[i], &step) || !add_u64(last, step, &last))
            return because(why, why_size, "a tensor's strides do not fit in 64 bits");
    if (!add_u64(last, 1, &last) || !dtype_bytes(t->dtype, last, &bytes) || bytes > t->storage->size)
        return because(why, why_size, "a tensor reaches element %llu of storage '%s', which has %llu bytes",
                       (unsigned long long)(last - 1), t->storage->key, (unsigned long long)t->storage->size);
    if (!dtype_bytes(t->dtype, elems, &bytes) || bytes > t->storage->size)
        return because(why, why_size,
                       "a tensor expanded to %llu elements from the %llu bytes of storage '%s'",
                       (unsigned long long)elems, (unsigned long long)t->storage->size, t->storage->key);
    return true;
}

/* True if the values of a tensor are not the ones in the storage: the metadata of _rebuild_tensor_v2 and v3
 * holds {"conj": True} or {"neg": True} for such views. */
static bool has_lazy_bits(const PickleValue *metadata) {
    if (metadata->kind != PICKLE_DICT) return false;
    for (uint32_t i = 1; i < metadata->n; i += 2)
        if (metadata->items[i]->kind == PICKLE_BOOL && metadata->items[i]->boolean) return true;
    return false;
}

/* Makes the result of a rebuild function from its arguments x: x[0] storage, x[1] offset, x[2] shape, x[3]
 * strides, x[6] the dtype in v3, and the metadata last if there is any. requires_grad and hooks are ignored.
 * `blank` becomes the result; NULL with the reason in `why`. */
static PickleValue *build_tensor(Arena *a, const PickleGlobal *f, const PickleValue *arguments,
                                 PickleValue *blank, char *why, size_t why_size) {
    PickleValue *const *x = arguments->items;
    bool typed = f->role == ROLE_TENSOR_TYPED;
    /* The arguments have the expected kinds. */
    if (x[0]->kind != PICKLE_STORAGE || !is_count(x[1]) || x[2]->kind != PICKLE_TUPLE ||
        x[3]->kind != PICKLE_TUPLE || x[2]->n != x[3]->n ||
        (typed && (x[6]->kind != PICKLE_GLOBAL || x[6]->global->role != ROLE_DTYPE)))
        return because(why, why_size, "%s is not given (storage, offset, shape, strides%s)", f->name,
                       typed ? ", ..., dtype" : "");
    if (x[2]->n > TENSOR_MAX_RANK)
        return because(why, why_size, "a tensor of rank %u, at most %d", x[2]->n, TENSOR_MAX_RANK);
    if (!typed && !x[0]->storage->typed)
        return because(why, why_size, "a tensor over storage '%s' without an element type",
                       x[0]->storage->key);
    if (arguments->n == f->max_arguments && f->max_arguments >= 7 && has_lazy_bits(x[arguments->n - 1]))
        return because(why, why_size,
                       "a tensor that is a conjugated or negated view; save it resolved "
                       "(resolve_conj(), resolve_neg())");
    /* An untyped storage leaves the element type to the tensor. */
    PickleTensor *t = arena_alloc(a, sizeof *t);
    t->storage = x[0]->storage;
    t->dtype = typed ? x[6]->global->dtype : t->storage->dtype;
    t->offset = (uint64_t)x[1]->integer;
    t->rank = x[2]->n;
    if (!read_dims(x[2], t->shape) || !read_dims(x[3], t->stride))
        return because(why, why_size,
                       "a tensor's shape or strides contain something other than integers from 0 on");
    if (!check_extent(t, why, why_size)) return NULL;
    blank->kind = PICKLE_TENSOR;
    blank->tensor = t;
    return blank;
}

/* Makes the result of calling `f`. A Parameter is its tensor and a Size is its tuple; an OrderedDict starts
 * empty, and SETITEMS fills it later. `blank` is a value that may be used for the result. */
PickleValue *pickle_build(Arena *a, const PickleGlobal *f, const PickleValue *arguments, PickleValue *blank,
                          char *why, size_t why_size) {
    if (f->role == ROLE_STORAGE || f->role == ROLE_UNTYPED_STORAGE || f->role == ROLE_DTYPE)
        return because(why, why_size, "calls '%s.%s', which is not a function", f->module, f->name);
    if (arguments->n < f->min_arguments || arguments->n > f->max_arguments)
        return because(why, why_size, "calls '%s.%s' with %u arguments, which no state dict needs; refused",
                       f->module, f->name, arguments->n);
    switch (f->role) {
    case ROLE_TENSOR:
    case ROLE_TENSOR_TYPED:
        return build_tensor(a, f, arguments, blank, why, why_size);
    case ROLE_PARAMETER:
    case ROLE_SIZE: {
        PickleKind expected = f->role == ROLE_SIZE ? PICKLE_TUPLE : PICKLE_TENSOR;
        if (arguments->items[0]->kind == expected) return arguments->items[0];
        return because(why, why_size, "calls '%s.%s' with %s, not %s", f->module, f->name,
                       pickle_kind_name(arguments->items[0]->kind), pickle_kind_name(expected));
    }
    case ROLE_ORDERED_DICT:
        blank->kind = PICKLE_DICT;
        return blank;
    default:
        return blank; /* which the caller has made as an opaque value */
    }
}

#include "formats/unpickle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Unpickler {
    Arena *arena;
    const char *where;
    const uint8_t *bytes;
    uint32_t size, at, op; /* op: offset of the current opcode */
    PickleValue **stack;
    uint32_t depth, capacity;
    uint32_t *marks; /* stack depths */
    uint32_t n_marks, marks_capacity;
    PickleValue **memo;
    uint32_t memo_capacity, n_memoized;
    Error *e;
} Unpickler;

static bool bad(const Unpickler *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool bad(const Unpickler *u, const char *fmt, ...) {
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(u->e, ERR_INPUT, "%s: offset %u: %s", u->where, u->op, text);
}

/* ---- the stack: as deep as the pickle is long, at most ---- */

static PickleValue *new_value(Unpickler *u, PickleKind kind) {
    PickleValue *v = arena_alloc(u->arena, sizeof *v);
    v->kind = kind;
    v->offset = u->op;
    return v;
}

static bool push(Unpickler *u, PickleValue *v) {
    if (u->depth == u->capacity) {
        u->capacity *= 2;
        u->stack = xrealloc(u->stack, u->capacity * sizeof *u->stack);
    }
    u->stack[u->depth++] = v;
    return true;
}

/* Depth below which the current opcode must not reach. */
static uint32_t stack_floor(const Unpickler *u) {
    return u->n_marks ? u->marks[u->n_marks - 1] : 0;
}

static bool need(const Unpickler *u, uint32_t n) {
    return u->depth - stack_floor(u) >= n ||
           bad(u, "takes %u values from a stack of %u", n, u->depth - stack_floor(u));
}

/* The values since the last mark, which is taken away; they stay where they are, above the new depth. */
static bool to_mark(Unpickler *u, PickleValue ***items, uint32_t *n) {
    if (!u->n_marks) return bad(u, "wants a mark, and there is none");
    uint32_t floor = u->marks[--u->n_marks];
    *items = u->stack + floor;
    *n = u->depth - floor;
    u->depth = floor;
    return true;
}

/* ---- operands ---- */

static bool take(Unpickler *u, uint64_t n, const uint8_t **p) {
    if (n > u->size - u->at)
        return bad(u, "needs %llu bytes more, the pickle has %u", (unsigned long long)n, u->size - u->at);
    *p = u->bytes + u->at;
    u->at += (uint32_t)n;
    return true;
}

/* A little-endian number of `width` bytes. */
static bool take_number(Unpickler *u, int width, uint64_t *out) {
    const uint8_t *p = NULL;
    if (!take(u, (uint64_t)width, &p)) return false;
    *out = 0;
    memcpy(out, p, (size_t)width);
    return true;
}

/* ---- opcodes: constants ---- */

static bool op_proto(Unpickler *u, int width) {
    uint64_t version = 0;
    if (!take_number(u, width, &version)) return false;
    return (version >= 2 && version <= 5) || bad(u, "pickle protocol %d, expected 2 to 5", (int)version);
}

static bool op_frame(Unpickler *u, int width) {
    uint64_t n = 0;
    if (!take_number(u, width, &n)) return false;
    return n <= u->size - u->at ||
           bad(u, "a frame of %llu bytes, the pickle has %u more", (unsigned long long)n, u->size - u->at);
}

static bool op_constant(Unpickler *u, int kind) {
    return push(u, new_value(u, (PickleKind)kind));
}

static bool op_bool(Unpickler *u, int value) {
    PickleValue *v = new_value(u, PICKLE_BOOL);
    v->boolean = value;
    return push(u, v);
}

/* `width` bytes: four are signed, fewer are not. */
static bool op_int(Unpickler *u, int width) {
    uint64_t n = 0;
    if (!take_number(u, width, &n)) return false;
    PickleValue *v = new_value(u, PICKLE_INT);
    v->integer = width == 4 ? (int32_t)n : (int64_t)n;
    return push(u, v);
}

/* A length byte and as many bytes of two's complement. */
static bool op_long(Unpickler *u, int width) {
    uint64_t n = 0;
    const uint8_t *p = NULL;
    if (!take_number(u, width, &n)) return false;
    if (n > 8) return bad(u, "an integer of %d bytes, at most 8 are read", (int)n);
    if (!take(u, n, &p)) return false;
    PickleValue *v = new_value(u, PICKLE_INT);
    v->integer = n && p[n - 1] & 0x80 ? -1 : 0;
    memcpy(&v->integer, p, n);
    return push(u, v);
}

static bool op_float(Unpickler *u, int width) {
    const uint8_t *p = NULL;
    if (!take(u, (uint64_t)width, &p)) return false;
    uint64_t bits = 0;
    for (int i = 0; i < width; i++)
        bits = bits << 8 | p[i];
    PickleValue *v = new_value(u, PICKLE_FLOAT);
    memcpy(&v->real, &bits, sizeof bits);
    return push(u, v);
}

static bool push_text(Unpickler *u, PickleKind kind, int width) {
    uint64_t n = 0;
    const uint8_t *p = NULL;
    if (!take_number(u, width, &n) || !take(u, n, &p)) return false;
    PickleValue *v = new_value(u, kind);
    v->text = (const char *)p;
    v->n = (uint32_t)n;
    return push(u, v);
}

static bool op_string(Unpickler *u, int width) {
    return push_text(u, PICKLE_STRING, width);
}

static bool op_bytes(Unpickler *u, int width) {
    return push_text(u, PICKLE_BYTES, width);
}

/* ---- opcodes: stack and memo ---- */

static bool op_mark(Unpickler *u, int unused) {
    (void)unused;
    if (u->n_marks == u->marks_capacity) {
        u->marks_capacity = u->marks_capacity ? 2 * u->marks_capacity : 64;
        u->marks = xrealloc(u->marks, u->marks_capacity * sizeof *u->marks);
    }
    u->marks[u->n_marks++] = u->depth;
    return true;
}

static bool op_pop(Unpickler *u, int unused) {
    (void)unused;
    if (u->n_marks && u->depth == stack_floor(u)) {
        u->n_marks--; /* a mark counts as a value here */
        return true;
    }
    return need(u, 1) && u->depth--;
}

static bool op_pop_mark(Unpickler *u, int unused) {
    (void)unused;
    PickleValue **items = NULL;
    uint32_t n = 0;
    return to_mark(u, &items, &n);
}

static bool memoize(Unpickler *u, uint64_t index) {
    if (!need(u, 1)) return false;
    if (index >= u->size) /* every entry has its opcode, so the numbers cannot pass the pickle's length */
        return bad(u, "memo number %llu in a pickle of %u bytes", (unsigned long long)index, u->size);
    if (index >= u->memo_capacity) {
        uint32_t old = u->memo_capacity;
        u->memo_capacity = (uint32_t)index < 1024 ? 2048 : 2 * (uint32_t)index;
        u->memo = xrealloc(u->memo, u->memo_capacity * sizeof *u->memo);
        memset(u->memo + old, 0, (u->memo_capacity - old) * sizeof *u->memo);
    }
    if (!u->memo[index]) u->n_memoized++;
    u->memo[index] = u->stack[u->depth - 1];
    return true;
}

static bool op_memoize(Unpickler *u, int unused) {
    (void)unused;
    return memoize(u, u->n_memoized);
}

static bool op_put(Unpickler *u, int width) {
    uint64_t index = 0;
    return take_number(u, width, &index) && memoize(u, index);
}

static bool op_get(Unpickler *u, int width) {
    uint64_t index = 0;
    if (!take_number(u, width, &index)) return false;
    if (index >= u->memo_capacity || !u->memo[index])
        return bad(u, "memo number %llu was never set", (unsigned long long)index);
    return push(u, u->memo[index]);
}

/* ---- opcodes: containers ---- */

/* Noted while building: whoever walks a pickle that names one dict a million times need not look into it. */
static bool any_tensor(PickleValue **items, uint32_t n, uint32_t step) {
    for (uint32_t i = step - 1; i < n; i += step)
        if (items[i]->kind == PICKLE_TENSOR) return true;
    return false;
}

static bool push_tuple(Unpickler *u, PickleValue **items, uint32_t n) {
    PickleValue *v = new_value(u, PICKLE_TUPLE);
    v->n = n;
    v->holds_tensors = any_tensor(items, n, 1);
    if (n) v->items = memcpy(arena_alloc(u->arena, n * sizeof *items), items, n * sizeof *items);
    return push(u, v);
}

static bool op_tuple_of(Unpickler *u, int n) {
    if (!need(u, (uint32_t)n)) return false;
    u->depth -= (uint32_t)n;
    return push_tuple(u, u->stack + u->depth, (uint32_t)n);
}

static bool op_tuple(Unpickler *u, int unused) {
    (void)unused;
    PickleValue **items = NULL;
    uint32_t n = 0;
    return to_mark(u, &items, &n) && push_tuple(u, items, n);
}

/* Appends to the list or dict on top of the stack. */
static bool extend(Unpickler *u, int kind, PickleValue **items, uint32_t n) {
    if (!need(u, 1)) return false;
    PickleValue *v = u->stack[u->depth - 1];
    if ((int)v->kind != kind)
        return bad(u, "adds to %s as if it were %s", pickle_kind_name(v->kind),
                   pickle_kind_name((PickleKind)kind));
    if (kind == PICKLE_DICT && n % 2) return bad(u, "a key without a value");
    if (n > v->capacity - v->n) {
        uint32_t capacity = v->n + n > 2 * v->capacity ? v->n + n : 2 * v->capacity;
        PickleValue **grown = arena_alloc(u->arena, (size_t)capacity * sizeof *grown);
        if (v->n) memcpy(grown, v->items, v->n * sizeof *grown);
        v->items = grown;
        v->capacity = capacity;
    }
    if (n) memcpy(v->items + v->n, items, n * sizeof *items);
    v->n += n;
    v->holds_tensors |= any_tensor(items, n, kind == PICKLE_DICT ? 2 : 1);
    return true;
}

static bool op_append(Unpickler *u, int unused) {
    (void)unused;
    return need(u, 2) && extend(u, PICKLE_LIST, u->stack + --u->depth, 1);
}

static bool op_set_item(Unpickler *u, int unused) {
    (void)unused;
    if (!need(u, 3)) return false;
    u->depth -= 2;
    return extend(u, PICKLE_DICT, u->stack + u->depth, 2);
}

static bool op_extend(Unpickler *u, int kind) {
    PickleValue **items = NULL;
    uint32_t n = 0;
    return to_mark(u, &items, &n) && extend(u, kind, items, n);
}

/* ---- opcodes: names and what is built from them ---- */

static bool push_global(Unpickler *u, const char *module, uint32_t n_module, const char *name,
                        uint32_t n_name) {
    PickleValue *v = new_value(u, PICKLE_GLOBAL);
    char why[500];
    v->global = pickle_global(module, n_module, name, n_name, why, sizeof why);
    return v->global ? push(u, v) : bad(u, "%s", why);
}

static bool take_line(Unpickler *u, const char **line, uint32_t *n) {
    *line = (const char *)u->bytes + u->at;
    const char *end = memchr(*line, '\n', u->size - u->at);
    if (!end) return bad(u, "the name it imports does not end");
    *n = (uint32_t)(end - *line);
    u->at += *n + 1;
    return true;
}

static bool op_global(Unpickler *u, int unused) {
    (void)unused;
    const char *module = NULL, *name = NULL;
    uint32_t n_module = 0, n_name = 0;
    return take_line(u, &module, &n_module) && take_line(u, &name, &n_name) &&
           push_global(u, module, n_module, name, n_name);
}

static bool op_stack_global(Unpickler *u, int unused) {
    (void)unused;
    if (!need(u, 2)) return false;
    u->depth -= 2;
    const PickleValue *module = u->stack[u->depth], *name = u->stack[u->depth + 1];
    if (module->kind != PICKLE_STRING || name->kind != PICKLE_STRING)
        return bad(u, "imports by what are not two strings");
    return push_global(u, module->text, module->n, name->text, name->n);
}

static bool op_persistent_id(Unpickler *u, int unused) {
    (void)unused;
    if (!need(u, 1)) return false;
    PickleValue *v = new_value(u, PICKLE_STORAGE);
    char why[300];
    v->storage = pickle_storage(u->arena, u->stack[u->depth - 1], why, sizeof why);
    if (!v->storage) return bad(u, "%s", why);
    u->stack[u->depth - 1] = v;
    return true;
}

static bool op_reduce(Unpickler *u, int unused) {
    (void)unused;
    if (!need(u, 2)) return false;
    const PickleValue *function = u->stack[u->depth - 2], *arguments = u->stack[u->depth - 1];
    if (function->kind != PICKLE_GLOBAL || arguments->kind != PICKLE_TUPLE)
        return bad(u, "calls %s with %s, expected a function and a tuple", pickle_kind_name(function->kind),
                   pickle_kind_name(arguments->kind));
    PickleValue *v = new_value(u, PICKLE_OPAQUE);
    char why[400];
    v = pickle_build(u->arena, function->global, arguments, v, why, sizeof why);
    if (!v) return bad(u, "%s", why);
    u->depth -= 2;
    return push(u, v);
}

/* A dict may be given attributes (OrderedDict's _metadata: versions of modules), which we do not need. */
static bool op_build(Unpickler *u, int unused) {
    (void)unused;
    if (!need(u, 2)) return false;
    PickleKind kind = u->stack[u->depth - 2]->kind;
    if (kind != PICKLE_DICT)
        return bad(u, "sets the state of %s, which no state dict needs; refused", pickle_kind_name(kind));
    u->depth--;
    return true;
}

static const struct {
    bool (*run)(Unpickler *u, int operand);
    int operand;
} opcodes[256] = {
    [0x80] = {op_proto, 1},
    [0x95] = {op_frame, 8},
    ['N'] = {op_constant, PICKLE_NONE},
    [')'] = {op_constant, PICKLE_TUPLE},
    [']'] = {op_constant, PICKLE_LIST},
    ['}'] = {op_constant, PICKLE_DICT},
    [0x88] = {op_bool, 1},
    [0x89] = {op_bool, 0},
    ['K'] = {op_int, 1},
    ['M'] = {op_int, 2},
    ['J'] = {op_int, 4},
    [0x8a] = {op_long, 1},
    ['G'] = {op_float, 8},
    [0x8c] = {op_string, 1},
    ['X'] = {op_string, 4},
    [0x8d] = {op_string, 8},
    ['C'] = {op_bytes, 1},
    ['B'] = {op_bytes, 4},
    ['('] = {op_mark, 0},
    ['0'] = {op_pop, 0},
    ['1'] = {op_pop_mark, 0},
    [0x94] = {op_memoize, 0},
    ['q'] = {op_put, 1},
    ['r'] = {op_put, 4},
    ['h'] = {op_get, 1},
    ['j'] = {op_get, 4},
    ['t'] = {op_tuple, 0},
    [0x85] = {op_tuple_of, 1},
    [0x86] = {op_tuple_of, 2},
    [0x87] = {op_tuple_of, 3},
    ['a'] = {op_append, 0},
    ['s'] = {op_set_item, 0},
    ['e'] = {op_extend, PICKLE_LIST},
    ['u'] = {op_extend, PICKLE_DICT},
    ['c'] = {op_global, 0},
    [0x93] = {op_stack_global, 0},
    ['Q'] = {op_persistent_id, 0},
    ['R'] = {op_reduce, 0},
    ['b'] = {op_build, 0},
};

static bool run(Unpickler *u) {
    if (u->size < 2 || u->bytes[0] != 0x80) return bad(u, "a pickle begins with its protocol (80 02)");
    while (u->at < u->size) {
        u->op = u->at;
        uint8_t code = u->bytes[u->at++];
        if (code == '.') {
            if (u->at != u->size) return bad(u, "%u bytes follow the end", u->size - u->at);
            return (u->depth == 1 && !u->n_marks) ||
                   bad(u, "ends with %u values and %u marks, not with one value", u->depth, u->n_marks);
        }
        if (!opcodes[code].run)
            return bad(u, "opcode %02x, which no state dict needs; refused", (unsigned)code);
        if (!opcodes[code].run(u, opcodes[code].operand)) return false;
    }
    u->op = u->at;
    return bad(u, "the pickle ends without a stop");
}

const PickleValue *unpickle(Arena *a, const char *where, const uint8_t *bytes, uint64_t n, Error *e) {
    Unpickler u = {.arena = a, .where = where, .bytes = bytes, .e = e};
    if (n > PICKLE_LIMIT) {
        error_set(e, ERR_INPUT, "%s: a pickle of %llu bytes, at most %d are read", where,
                  (unsigned long long)n, PICKLE_LIMIT);
        return NULL;
    }
    u.size = (uint32_t)n;
    u.capacity = 64;
    u.stack = xmalloc(u.capacity * sizeof *u.stack);
    const PickleValue *v = run(&u) ? u.stack[0] : NULL;
    free(u.stack);
    free(u.marks);
    free(u.memo);
    return v;
}

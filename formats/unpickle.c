/* The stack machine for pickles: see formats/unpickle.h.
 *
 * A pickle is a sequence of opcodes that push values onto a stack, combine values on the stack, and store
 * values in a memo to refer to them again (Python's pickletools.py documents each opcode). A mark is a
 * remembered stack position: "(" sets one, and an opcode such as "t" makes a tuple of all values above the
 * last mark. The table `opcodes` at the end maps each opcode byte to the function that runs it and to an
 * operand of that function, which for many opcodes is the width in bytes of the number that follows.
 *
 * Damaged and hostile pickles are expected. Every opcode pushes at most one value or one mark and takes at
 * least one byte, so stack, marks and memo cannot be larger than the pickle, whose size is limited to
 * PICKLE_LIMIT. No opcode may take values from below the last mark. */
#include "formats/unpickle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The state of the stack machine. */
typedef struct Unpickler {
    Arena *arena;         /* owns all values */
    const char *where;    /* file and entry, for error texts */
    const uint8_t *bytes; /* (size) the pickle */
    uint32_t size;
    uint32_t at; /* offset of the next byte */
    uint32_t op; /* offset of the current opcode, for messages */
    PickleValue **stack;
    uint32_t depth, capacity; /* values on the stack, and room for them */
    uint32_t *marks;          /* (n_marks) the depth of the stack at each mark */
    uint32_t n_marks, marks_capacity;
    PickleValue **memo; /* (memo_capacity) the value under each memo number; NULL: none */
    uint32_t memo_capacity;
    uint32_t n_memoized; /* how many memo numbers have a value; MEMOIZE stores under this number */
    Error *e;
} Unpickler;

static bool fail_at_opcode(const Unpickler *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Fails with the place, the offset of the current opcode and the formatted reason. */
static bool fail_at_opcode(const Unpickler *u, const char *fmt, ...) {
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(u->e, ERR_INPUT, "%s: offset %u: %s", u->where, u->op, text);
}

/* ---- the stack ---- */

/* Makes an empty value of a kind. It records the offset of the current opcode for later error texts. */
static PickleValue *new_value(Unpickler *u, PickleKind kind) {
    PickleValue *v = arena_alloc(u->arena, sizeof *v);
    v->kind = kind;
    v->offset = u->op;
    return v;
}

/* Pushes a value. Always true, so that opcodes can end with it. */
static bool push(Unpickler *u, PickleValue *v) {
    if (u->depth == u->capacity) {
        u->capacity *= 2;
        u->stack = xrealloc(u->stack, u->capacity * sizeof *u->stack);
    }
    u->stack[u->depth++] = v;
    return true;
}

/* The depth of the stack at the last mark, or 0. The current opcode must not take values below this depth. */
static uint32_t stack_floor(const Unpickler *u) {
    return u->n_marks ? u->marks[u->n_marks - 1] : 0;
}

/* Checks that there are `n` values above the last mark. */
static bool need(const Unpickler *u, uint32_t n) {
    return u->depth - stack_floor(u) >= n ||
           fail_at_opcode(u, "takes %u values, but the stack has %u", n, u->depth - stack_floor(u));
}

/* Removes the last mark and the `*n` values above it. `*items` points to these values, which stay in the
 * memory of the stack until the next push overwrites them. */
static bool pop_to_mark(Unpickler *u, PickleValue ***items, uint32_t *n) {
    if (!u->n_marks) return fail_at_opcode(u, "needs a mark, but none is set");
    uint32_t floor = u->marks[--u->n_marks];
    *items = u->stack + floor;
    *n = u->depth - floor;
    u->depth = floor;
    return true;
}

/* ---- operands ---- */

/* Takes `n` bytes of the pickle; NULL if it has fewer. */
static const uint8_t *take_bytes(Unpickler *u, uint64_t n) {
    if (n > u->size - u->at) {
        fail_at_opcode(u, "needs %llu more bytes, but the pickle has only %u", (unsigned long long)n,
                       u->size - u->at);
        return NULL;
    }
    const uint8_t *p = u->bytes + u->at;
    u->at += (uint32_t)n;
    return p;
}

/* Reads an unsigned little-endian number of `width` bytes. */
static bool take_number(Unpickler *u, int width, uint64_t *out) {
    const uint8_t *p = take_bytes(u, (uint64_t)width);
    if (!p) return false;
    *out = 0;
    memcpy(out, p, (size_t)width);
    return true;
}

/* ---- opcodes: constants ---- */

/* PROTO: gives the version of the pickle protocol. torch.save writes version 2 by default, and version 2 is
 * the first that has this opcode. */
static bool op_proto(Unpickler *u, int width) {
    uint64_t version = 0;
    if (!take_number(u, width, &version)) return false;
    return (version >= 2 && version <= 5) ||
           fail_at_opcode(u, "pickle protocol %d, expected 2 to 5", (int)version);
}

/* FRAME (protocol 4): says how many bytes the following opcodes take, so that readers of streams can fetch
 * them at once. Here it is only checked. */
static bool op_frame(Unpickler *u, int width) {
    uint64_t n = 0;
    if (!take_number(u, width, &n)) return false;
    return n <= u->size - u->at || fail_at_opcode(u, "a frame of %llu bytes, but the pickle has only %u more",
                                                  (unsigned long long)n, u->size - u->at);
}

/* NONE, EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT: a new value without content. */
static bool op_constant(Unpickler *u, int kind) {
    return push(u, new_value(u, (PickleKind)kind));
}

/* NEWTRUE, NEWFALSE: push a bool. */
static bool op_bool(Unpickler *u, int value) {
    PickleValue *v = new_value(u, PICKLE_BOOL);
    v->boolean = value;
    return push(u, v);
}

/* BININT1, BININT2 and BININT: push an integer of 1, 2 or 4 bytes. Only the 4-byte form is signed. */
static bool op_int(Unpickler *u, int width) {
    uint64_t n = 0;
    if (!take_number(u, width, &n)) return false;
    PickleValue *v = new_value(u, PICKLE_INT);
    v->integer = width == 4 ? (int32_t)n : (int64_t)n;
    return push(u, v);
}

/* LONG1: pushes an integer that is given as one byte with its length and then its bytes, in little-endian
 * two's complement. The bits above the last byte are copies of the sign bit. */
static bool op_long(Unpickler *u, int width) {
    uint64_t n = 0;
    if (!take_number(u, width, &n)) return false;
    if (n > 8) return fail_at_opcode(u, "an integer of %d bytes, at most 8 are supported", (int)n);
    const uint8_t *p = take_bytes(u, n);
    if (!p) return false;
    PickleValue *v = new_value(u, PICKLE_INT);
    v->integer = n && p[n - 1] & 0x80 ? -1 : 0;
    memcpy(&v->integer, p, n);
    return push(u, v);
}

/* BINFLOAT: pushes a double. It is big-endian, unlike all other operands of pickles. */
static bool op_float(Unpickler *u, int width) {
    const uint8_t *p = take_bytes(u, (uint64_t)width);
    if (!p) return false;
    uint64_t bits = 0;
    for (int i = 0; i < width; i++)
        bits = bits << 8 | p[i];
    PickleValue *v = new_value(u, PICKLE_FLOAT);
    memcpy(&v->real, &bits, sizeof bits);
    return push(u, v);
}

/* Pushes a string or bytes object: its length in `width` bytes, followed by its bytes. The value points into
 * the pickle. */
static bool push_text(Unpickler *u, PickleKind kind, int width) {
    uint64_t n = 0;
    if (!take_number(u, width, &n)) return false;
    const uint8_t *p = take_bytes(u, n);
    if (!p) return false;
    PickleValue *v = new_value(u, kind);
    v->text = (const char *)p;
    v->n = (uint32_t)n;
    return push(u, v);
}

/* SHORT_BINUNICODE, BINUNICODE, BINUNICODE8: push a string with a length of 1, 4 or 8 bytes. */
static bool op_string(Unpickler *u, int width) {
    return push_text(u, PICKLE_STRING, width);
}

/* SHORT_BINBYTES, BINBYTES: push a bytes object with a length of 1 or 4 bytes. */
static bool op_bytes(Unpickler *u, int width) {
    return push_text(u, PICKLE_BYTES, width);
}

/* ---- opcodes: stack and memo ---- */

/* MARK: remembers the depth of the stack. */
static bool op_mark(Unpickler *u, int unused) {
    (void)unused;
    if (u->n_marks == u->marks_capacity) {
        u->marks_capacity = u->marks_capacity ? 2 * u->marks_capacity : 64;
        u->marks = xrealloc(u->marks, u->marks_capacity * sizeof *u->marks);
    }
    u->marks[u->n_marks++] = u->depth;
    return true;
}

/* POP: removes the topmost value, or the mark if there is no value above it. */
static bool op_pop(Unpickler *u, int unused) {
    (void)unused;
    if (u->n_marks && u->depth == stack_floor(u)) {
        u->n_marks--; /* pickletools: in POP, a mark counts as a value */
        return true;
    }
    return need(u, 1) && u->depth--;
}

/* POP_MARK: removes the last mark and all values above it. */
static bool op_pop_mark(Unpickler *u, int unused) {
    (void)unused;
    PickleValue **items = NULL;
    uint32_t n = 0;
    return pop_to_mark(u, &items, &n);
}

/* Stores the topmost value under a memo number. Real pickles number their values from 0 and use at least one
 * opcode for each, so a number that is not less than the size of the pickle is refused. This also limits the
 * array. */
static bool memoize(Unpickler *u, uint64_t index) {
    if (!need(u, 1)) return false;
    if (index >= u->size)
        return fail_at_opcode(u, "memo number %llu in a pickle of %u bytes", (unsigned long long)index,
                              u->size);
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

/* MEMOIZE (protocol 4): stores the topmost value under the next free number. */
static bool op_memoize(Unpickler *u, int unused) {
    (void)unused;
    return memoize(u, u->n_memoized);
}

/* BINPUT, LONG_BINPUT: store the topmost value under the number that follows. */
static bool op_put(Unpickler *u, int width) {
    uint64_t index = 0;
    return take_number(u, width, &index) && memoize(u, index);
}

/* BINGET, LONG_BINGET: push the value with the memo number that follows. The value is shared, not copied, so
 * a list can contain itself. */
static bool op_get(Unpickler *u, int width) {
    uint64_t index = 0;
    if (!take_number(u, width, &index)) return false;
    if (index >= u->memo_capacity || !u->memo[index])
        return fail_at_opcode(u, "memo number %llu was never set", (unsigned long long)index);
    return push(u, u->memo[index]);
}

/* ---- opcodes: containers ---- */

/* True if one of the items is a tensor. `step` is 1 for lists and tuples. It is 2 for dicts, whose items are
 * keys and values in turn, so that only the values are examined. The result is recorded while containers are
 * built. Walking finished containers could take exponential time, because a short pickle can build a chain of
 * dicts in which each refers to the next one several times. */
static bool any_tensor(PickleValue **items, uint32_t n, uint32_t step) {
    for (uint32_t i = step - 1; i < n; i += step)
        if (items[i]->kind == PICKLE_TENSOR) return true;
    return false;
}

/* Pushes a tuple of `n` items, which are copied from the stack. */
static bool push_tuple(Unpickler *u, PickleValue **items, uint32_t n) {
    PickleValue *v = new_value(u, PICKLE_TUPLE);
    v->n = n;
    v->holds_tensors = any_tensor(items, n, 1);
    if (n) v->items = memcpy(arena_alloc(u->arena, n * sizeof *items), items, n * sizeof *items);
    return push(u, v);
}

/* TUPLE1, TUPLE2, TUPLE3: make a tuple of the one, two or three topmost values. */
static bool op_tuple_of(Unpickler *u, int n) {
    if (!need(u, (uint32_t)n)) return false;
    u->depth -= (uint32_t)n;
    return push_tuple(u, u->stack + u->depth, (uint32_t)n);
}

/* TUPLE: makes a tuple of all values above the last mark. */
static bool op_tuple(Unpickler *u, int unused) {
    (void)unused;
    PickleValue **items = NULL;
    uint32_t n = 0;
    return pop_to_mark(u, &items, &n) && push_tuple(u, items, n);
}

/* Appends `n` items to the list or dict on top of the stack; for a dict they are keys and values in turn. An
 * array that is full is replaced by one of at least twice its capacity, and the old array stays unused in the
 * arena. */
static bool extend(Unpickler *u, int kind, PickleValue **items, uint32_t n) {
    if (!need(u, 1)) return false;
    PickleValue *v = u->stack[u->depth - 1];
    if ((int)v->kind != kind)
        return fail_at_opcode(u, "adds items to %s as if it were %s", pickle_kind_name(v->kind),
                              pickle_kind_name((PickleKind)kind));
    if (kind == PICKLE_DICT && n % 2) return fail_at_opcode(u, "a key without a value");
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

/* APPEND: moves the topmost value to the end of the list below it. */
static bool op_append(Unpickler *u, int unused) {
    (void)unused;
    return need(u, 2) && extend(u, PICKLE_LIST, u->stack + --u->depth, 1);
}

/* SETITEM: moves the two topmost values, a key and its value, into the dict below them. */
static bool op_set_item(Unpickler *u, int unused) {
    (void)unused;
    if (!need(u, 3)) return false;
    u->depth -= 2;
    return extend(u, PICKLE_DICT, u->stack + u->depth, 2);
}

/* APPENDS, SETITEMS: move all values above the last mark into the list or dict below it. */
static bool op_extend(Unpickler *u, int kind) {
    PickleValue **items = NULL;
    uint32_t n = 0;
    return pop_to_mark(u, &items, &n) && extend(u, kind, items, n);
}

/* ---- opcodes: imported names and the objects that are built with them ---- */

/* Pushes a reference to a Python class or function, if it is one of those that state dicts use
 * (pickle_values.c). Only the name is recorded; no Python code is loaded or run. */
static bool push_global(Unpickler *u, const char *module, uint32_t n_module, const char *name,
                        uint32_t n_name) {
    PickleValue *v = new_value(u, PICKLE_GLOBAL);
    char why[500];
    v->global = pickle_global(module, n_module, name, n_name, why, sizeof why);
    return v->global ? push(u, v) : fail_at_opcode(u, "%s", why);
}

/* Reads the text up to the next newline and steps over both. */
static bool take_line(Unpickler *u, const char **line, uint32_t *n) {
    *line = (const char *)u->bytes + u->at;
    const char *end = memchr(*line, '\n', u->size - u->at);
    if (!end) return fail_at_opcode(u, "an imported name has no end");
    *n = (uint32_t)(end - *line);
    u->at += *n + 1;
    return true;
}

/* GLOBAL: imports a name. Module and name follow as two lines of text. */
static bool op_global(Unpickler *u, int unused) {
    (void)unused;
    const char *module = NULL, *name = NULL;
    uint32_t n_module = 0, n_name = 0;
    return take_line(u, &module, &n_module) && take_line(u, &name, &n_name) &&
           push_global(u, module, n_module, name, n_name);
}

/* STACK_GLOBAL (protocol 4): imports a name. Module and name are the two topmost values of the stack. */
static bool op_stack_global(Unpickler *u, int unused) {
    (void)unused;
    if (!need(u, 2)) return false;
    u->depth -= 2;
    const PickleValue *module = u->stack[u->depth], *name = u->stack[u->depth + 1];
    if (module->kind != PICKLE_STRING || name->kind != PICKLE_STRING)
        return fail_at_opcode(u, "module and name of an import are not two strings");
    return push_global(u, module->text, module->n, name->text, name->n);
}

/* BINPERSID: replaces the persistent id on top of the stack by the object that it identifies. In files of
 * torch.save the id is a tuple that describes a storage. */
static bool op_persistent_id(Unpickler *u, int unused) {
    (void)unused;
    if (!need(u, 1)) return false;
    PickleValue *v = new_value(u, PICKLE_STORAGE);
    char why[300];
    v->storage = pickle_storage(u->arena, u->stack[u->depth - 1], why, sizeof why);
    if (!v->storage) return fail_at_opcode(u, "%s", why);
    u->stack[u->depth - 1] = v;
    return true;
}

/* REDUCE: calls a function. The function and the tuple of its arguments on top of the stack are replaced by
 * the result, which pickle_build makes without running any Python code. */
static bool op_reduce(Unpickler *u, int unused) {
    (void)unused;
    if (!need(u, 2)) return false;
    const PickleValue *function = u->stack[u->depth - 2], *arguments = u->stack[u->depth - 1];
    if (function->kind != PICKLE_GLOBAL || arguments->kind != PICKLE_TUPLE)
        return fail_at_opcode(u, "calls %s with %s, expected a function and a tuple",
                              pickle_kind_name(function->kind), pickle_kind_name(arguments->kind));
    PickleValue *v = new_value(u, PICKLE_OPAQUE);
    char why[400];
    v = pickle_build(u->arena, function->global, arguments, v, why, sizeof why);
    if (!v) return fail_at_opcode(u, "%s", why);
    u->depth -= 2;
    return push(u, v);
}

/* BUILD: sets the attributes of an object from the topmost value. In a state dict this happens only to the
 * OrderedDict itself, whose attribute _metadata has version numbers of modules. They are not needed and are
 * dropped. */
static bool op_build(Unpickler *u, int unused) {
    (void)unused;
    if (!need(u, 2)) return false;
    PickleKind kind = u->stack[u->depth - 2]->kind;
    if (kind != PICKLE_DICT)
        return fail_at_opcode(u, "sets the state of %s, which no state dict needs; refused",
                              pickle_kind_name(kind));
    u->depth--;
    return true;
}

/* The opcodes that torch.save emits for state dicts, indexed by their byte. All other opcodes are refused.
 * Among them are those that create objects of arbitrary classes (INST, OBJ, NEWOBJ) and those of protocol 0,
 * which torch.save does not write. */
static const struct {
    bool (*run)(Unpickler *u, int operand);
    int operand;
} opcodes[256] = {
    /* protocol and constants */
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
    /* stack and memo */
    ['('] = {op_mark, 0},
    ['0'] = {op_pop, 0},
    ['1'] = {op_pop_mark, 0},
    [0x94] = {op_memoize, 0},
    ['q'] = {op_put, 1},
    ['r'] = {op_put, 4},
    ['h'] = {op_get, 1},
    ['j'] = {op_get, 4},
    /* containers */
    ['t'] = {op_tuple, 0},
    [0x85] = {op_tuple_of, 1},
    [0x86] = {op_tuple_of, 2},
    [0x87] = {op_tuple_of, 3},
    ['a'] = {op_append, 0},
    ['s'] = {op_set_item, 0},
    ['e'] = {op_extend, PICKLE_LIST},
    ['u'] = {op_extend, PICKLE_DICT},
    /* names, and what is built from them */
    ['c'] = {op_global, 0},
    [0x93] = {op_stack_global, 0},
    ['Q'] = {op_persistent_id, 0},
    ['R'] = {op_reduce, 0},
    ['b'] = {op_build, 0},
};

/* Runs all opcodes. STOP (".") has to be the last byte of the pickle, and exactly one value has to be on the
 * stack when it is reached. */
static bool run(Unpickler *u) {
    if (u->size < 2 || u->bytes[0] != 0x80)
        return fail_at_opcode(u, "a pickle has to begin with its protocol version (80 02)");
    while (u->at < u->size) {
        u->op = u->at;
        uint8_t code = u->bytes[u->at++];
        if (code == '.') {
            if (u->at != u->size) return fail_at_opcode(u, "%u bytes follow the end", u->size - u->at);
            return (u->depth == 1 && !u->n_marks) ||
                   fail_at_opcode(u, "ends with %u values and %u marks, not with one value", u->depth,
                                  u->n_marks);
        }
        if (!opcodes[code].run)
            return fail_at_opcode(u, "opcode %02x, which no state dict needs; refused", (unsigned)code);
        if (!opcodes[code].run(u, opcodes[code].operand)) return false;
    }
    u->op = u->at;
    return fail_at_opcode(u, "the pickle ends without a STOP opcode");
}

/* Runs the pickle and returns its value, allocated from `a`; NULL with an error on failure. `where` begins
 * messages. Stack, marks and memo are needed only while the opcodes run. */
const PickleValue *unpickle(Arena *a, const char *where, const uint8_t *bytes, uint64_t n, Error *e) {
    Unpickler u = {.arena = a, .where = where, .bytes = bytes, .e = e};
    if (n > PICKLE_LIMIT) {
        error_set(e, ERR_INPUT, "%s: a pickle of %llu bytes, at most %d are supported", where,
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

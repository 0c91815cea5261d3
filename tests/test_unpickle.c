/* Tests of formats/unpickle.h and formats/pickle_values.h: pickles of state dicts, and pickles that are
 * refused. */
#include "formats/unpickle.h"
#include "tests/scratch.h"

typedef struct Pickle {
    const char *bytes;
    size_t n;
} Pickle;

/* Pieces of pickles. Each is a string literal of its own, so that no escape sequence runs into the next
 * character. */
#define RAW(bytes)                                                                                           \
    { bytes, sizeof(bytes) - 1 }
#define PICKLE(ops) ((Pickle)RAW("\x80\002" ops))
#define TEXT(length, text) "X" length "\0\0\0" text
#define STORAGE(type, elements)                                                                              \
    "(" TEXT("\7", "storage") "ctorch\n" type "\n" TEXT("\1", "0") TEXT("\3", "cpu") elements "tQ"
#define REBUILT(storage, offset, shape, strides)                                                             \
    "ctorch._utils\n_rebuild_tensor_v2\n(" storage offset shape strides "\x89"                               \
    "ccollections\nOrderedDict\n)RtR"
#define TENSOR(offset, shape, strides) REBUILT(STORAGE("FloatStorage", "K\6"), offset, shape, strides)

static const PickleValue *read_pickle(Arena *a, Pickle p, Error *e) {
    uint8_t *exact = xmalloc(p.n); /* so that a sanitizer sees the first byte past the end */
    memcpy(exact, p.bytes, p.n);
    uint8_t *kept = memcpy(arena_alloc(a, p.n), exact, p.n);
    const PickleValue *v = unpickle(a, "x.bin: data.pkl", exact, p.n, e);
    free(exact);
    return v ? unpickle(a, "x.bin: data.pkl", kept, p.n, e) : NULL;
}

static void assert_pickle_refused(Pickle p, const char *says) {
    Arena a = {0};
    Error e = {0};
    if (read_pickle(&a, p, &e)) fail_msg("accepted, though: %s", says);
    if (!strstr(e.message, says)) fail_msg("'%s' does not say '%s'", e.message, says);
    assert_int_equal(e.code, ERR_INPUT);
    assert_memory_equal(e.message, "x.bin: data.pkl: offset ", 24);
    arena_free(&a);
}

static const PickleValue *accepted(Arena *a, Pickle p) {
    Error e = {0};
    const PickleValue *v = read_pickle(a, p, &e);
    if (!v) fail_msg("%s", e.message);
    return v;
}

static void reads_plain_values(void **state) {
    (void)state;
    Arena a = {0};
    const PickleValue *v = accepted(
        &a, PICKLE("(NK\377M\1\2J\376\377\377\377\x8a\2\0\x80\x8a\0\x8a\10\0\0\0\0\0\0\0\x80"
                   "G\300\4\0\0\0\0\0\0\x88\x89" TEXT("\2", "\xc3\xa9") "\x8c\1zC\1\0)](K\1K\2e}t."));
    assert_int_equal(v->kind, PICKLE_TUPLE);
    assert_int_equal(v->n, 16);
    static const int64_t integers[] = {255, 513, -2, -32768, 0, INT64_MIN};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(v->items[1 + i]->kind, PICKLE_INT);
        assert_true(v->items[1 + i]->integer == integers[i]);
    }
    assert_int_equal(v->items[0]->kind, PICKLE_NONE);
    assert_true(v->items[7]->kind == PICKLE_FLOAT && v->items[7]->real == -2.5);
    assert_true(v->items[8]->boolean && !v->items[9]->boolean);
    assert_int_equal(v->items[10]->n, 2);
    assert_memory_equal(v->items[10]->text, "\xc3\xa9", 2);
    assert_int_equal(v->items[11]->n, 1);
    assert_int_equal(v->items[12]->kind, PICKLE_BYTES);
    assert_int_equal(v->items[13]->n, 0);
    assert_int_equal(v->items[14]->kind, PICKLE_LIST);
    assert_int_equal(v->items[14]->items[1]->integer, 2);
    assert_int_equal(v->items[15]->kind, PICKLE_DICT);
    assert_false(v->holds_tensors);
    arena_free(&a);
}

static void reads_tensors(void **state) {
    (void)state;
    Arena a = {0};
    const PickleValue *v = accepted(
        &a, PICKLE("}(" TEXT("\1", "w") TENSOR("K\1", "K\2K\2\x86", "K\3K\1\x86") TEXT("\1", "s")
                       TENSOR("K\5", ")", ")") TEXT("\1", "p") "ctorch._utils\n_rebuild_parameter\n" TENSOR(
                           "K\0", "K\6\x85", "K\1\x85") "\x88}\x87Ru."));
    assert_int_equal(v->n, 6);
    assert_true(v->holds_tensors);
    const PickleTensor *t = v->items[1]->tensor;
    assert_int_equal(v->items[1]->kind, PICKLE_TENSOR);
    assert_int_equal(t->dtype, DTYPE_F32);
    assert_int_equal(t->offset, 1);
    assert_int_equal(t->rank, 2);
    assert_int_equal(t->stride[0], 3);
    assert_string_equal(t->storage->key, "0");
    assert_int_equal(t->storage->size, 24);
    assert_int_equal(v->items[3]->tensor->rank, 0);
    assert_int_equal(v->items[5]->kind, PICKLE_TENSOR);
    arena_free(&a);
}

static void reads_newer_protocols(void **state) {
    (void)state;
    Arena a = {0};
    const Pickle framed = RAW("\x80\4\x95\x1c\0\0\0\0\0\0\0\x8c\13collections\x8c\13OrderedDict\x93)R.");
    assert_int_equal(accepted(&a, framed)->kind, PICKLE_DICT);
    const PickleValue *v = accepted(&a, PICKLE("]\x94\x8c\1a\x94h\0\x87K\7\x94h\2\x87."));
    assert_int_equal(v->items[1]->integer, 7);
    assert_ptr_equal(v->items[0]->items[0], v->items[0]->items[2]);
    v = accepted(&a, PICKLE("]q\5h\5a.")); /* a list that holds itself */
    assert_ptr_equal(v->items[0], v);
    v = accepted(&a, PICKLE("(K\1K\0010K\2t."));
    assert_int_equal(v->n, 2);
    v = accepted(&a, PICKLE("K\1(K\2K\0031."));
    assert_int_equal(v->integer, 1);
    arena_free(&a);
}

static void refuses_to_import(void **state) {
    (void)state;
    static const struct {
        Pickle pickle;
        const char *says;
    } cases[] = {
        {RAW("\x80\2cos\nsystem\n" TEXT("\2", "ls") "\x85R."),
         "offset 2: imports 'os.system', which no state dict needs; refused"},
        {RAW("\x80\2cposix\nsystem\n."), "imports 'posix.system'"},
        {RAW("\x80\2cbuiltins\neval\n."), "imports 'builtins.eval'"},
        {RAW("\x80\2c__builtin__\nexec\n."), "imports '__builtin__.exec'"},
        {RAW("\x80\4\x8c\2os\x8c\6system\x93."), "offset 14: imports 'os.system'"},
        {RAW("\x80\2cbuiltins\ngetattr\n."), "imports 'builtins.getattr'"},
        {RAW("\x80\2ctorch\nload\n."), "imports 'torch.load'"},
        {RAW("\x80\2ctorch.storage\n_load_from_bytes\n."), "imports 'torch.storage._load_from_bytes'"},
        {RAW("\x80\2ctorch\nFloatStorage.x\n."), "imports 'torch.FloatStorage.x'"},
        {RAW("\x80\2ctorch\nFloatStorag\n."), "imports 'torch.FloatStorag'"},
        {RAW("\x80\2c\n\n."), "imports '.'"},
        {RAW("\x80\2c\x1b[2J\nx\n."), "imports '?[2J.x'"},
        {RAW("\x80\2ctorch.nn.modules.linear\nLinear\n."),
         "imports 'torch.nn.modules.linear.Linear': a whole module, not its state dict; save "
         "model.state_dict() instead"},
        {RAW("\x80\2ctorch.nnx\nf\n."), "imports 'torch.nnx.f', which no state dict needs"},
        {RAW("\x80\2ctorch._utils\n_rebuild_qtensor\n."), "a quantized torch tensor"},
        {RAW("\x80\2cos"), "offset 2: an imported name has no end"},
        {RAW("\x80\2cos\nsystem"), "an imported name has no end"},
        {RAW("\x80\4K\1K\2\x93."), "module and name of an import are not two strings"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_pickle_refused(cases[i].pickle, cases[i].says);
}

static void refuses_other_machinery(void **state) {
    (void)state;
    static const struct {
        Pickle pickle;
        const char *says;
    } cases[] = {
        {RAW(""), "offset 0: a pickle has to begin with its protocol"},
        {RAW("N."), "has to begin with its protocol"},
        {RAW("\x80\1N."), "protocol 1, expected 2 to 5"},
        {RAW("\x80\6N."), "protocol 6"},
        {RAW("\x80\2N"), "offset 3: the pickle ends without a STOP opcode"},
        {RAW("\x80\2."), "ends with 0 values and 0 marks"},
        {RAW("\x80\2NN."), "ends with 2 values"},
        {RAW("\x80\2(N."), "and 1 marks"},
        {RAW("\x80\2N.N"), "1 bytes follow the end"},
        {RAW("\x80\2I1\n."), "offset 2: opcode 49, which no state dict needs; refused"},
        {RAW("\x80\2i"), "opcode 69"},
        {RAW("\x80\2)\x81."), "opcode 81"},
        {RAW("\x80\2)\x82\1."), "opcode 82"},
        {RAW("\x80\2o."), "opcode 6f"},
        {RAW("\x80\2ccollections\nOrderedDict\n)RR."), "takes 2 values, but the stack has 1"},
        {RAW("\x80\2NNR."), "calls None with None, expected a function and a tuple"},
        {RAW("\x80\2ccollections\nOrderedDict\n)R)R."), "calls a dict with a tuple"},
        {RAW("\x80\2ccollections\nOrderedDict\n]R."), "calls a name with a list"},
        {RAW("\x80\2ccollections\nOrderedDict\n]\x85R."), "calls 'collections.OrderedDict' with 1 arguments"},
        {RAW("\x80\2ctorch\nFloatStorage\n)R."), "calls 'torch.FloatStorage', which is not a function"},
        {RAW("\x80\2ctorch\nSize\nK\1\x85R."), "calls 'torch.Size' with an integer, not a tuple"},
        {RAW("\x80\2)}b."), "sets the state of a tuple"},
        {RAW("\x80\2t."), "needs a mark"},
        {RAW("\x80\2u."), "needs a mark"},
        {RAW("\x80\2"
             "1."),
         "needs a mark"},
        {RAW("\x80\2\x87."), "takes 3 values, but the stack has 0"},
        {RAW("\x80\2N(\x85."), "takes 1 values, but the stack has 0"},
        {RAW("\x80\2"
             "0."),
         "takes 1 values"},
        {RAW("\x80\2Q."), "takes 1 values"},
        {RAW("\x80\2q\0."), "takes 1 values"},
        {RAW("\x80\2\x94."), "takes 1 values"},
        {RAW("\x80\2}NNa."), "adds items to None as if it were a list"},
        {RAW("\x80\2}Na."), "adds items to a dict as if it were a list"},
        {RAW("\x80\2](NNu."), "adds items to a list as if it were a dict"},
        {RAW("\x80\2}(Nu."), "a key without a value"},
        {RAW("\x80\2h\0."), "memo number 0 was never set"},
        {RAW("\x80\2Nq\1h\0."), "memo number 0 was never set"},
        {RAW("\x80\2j\377\377\377\377."), "memo number 4294967295 was never set"},
        {RAW("\x80\2Nr\377\377\377\377."), "memo number 4294967295 in a pickle of 9 bytes"},
        {RAW("\x80\2X\377\377\377\377a."), "needs 4294967295 more bytes, but the pickle has only 2"},
        {RAW("\x80\2\x8d\377\377\377\377\377\377\377\377a."), "needs 18446744073709551615 more bytes"},
        {RAW("\x80\2"
             "B\377\377\377\177."),
         "needs 2147483647 more bytes"},
        {RAW("\x80\4\x95\377\377\377\377\377\377\377\377N."), "a frame of 18446744073709551615 bytes"},
        {RAW("\x80\2\x8a\11\1\1\1\1\1\1\1\1\1."), "an integer of 9 bytes"},
        {RAW("\x80\2\x8a\4\1."), "needs 4 more bytes, but the pickle has only 2"},
        {RAW("\x80\2K"), "needs 1 more bytes, but the pickle has only 0"},
        {RAW("\x80\2G\1\2."), "needs 8 more bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_pickle_refused(cases[i].pickle, cases[i].says);
}

static void refuses_impossible_tensors(void **state) {
    (void)state;
#define BIG "\x8a\10\377\377\377\377\377\377\377\177" /* 2^63 - 1 */
    const struct {
        Pickle pickle;
        const char *says;
    } cases[] = {
        {PICKLE(TENSOR("K\1", "K\6\x85", "K\1\x85") "."),
         "reaches element 6 of storage '0', which has 24 bytes"},
        {PICKLE(TENSOR("K\6", ")", ")") "."), "reaches element 6"},
        {PICKLE(TENSOR("K\0", "K\2K\3\x86", "K\4K\1\x86") "."), "reaches element 6"},
        {PICKLE(TENSOR("K\0", "K\7\x85", "K\0\x85") "."), "expanded to 7 elements from the 24 bytes"},
        {PICKLE(TENSOR("K\0", "K\2\x85", BIG "\x85") "."), "reaches element 9223372036854775807"},
        {PICKLE(TENSOR("K\0", "K\3\x85", BIG "\x85") "."), "reaches element 18446744073709551614"},
        {PICKLE(TENSOR("K\0", "K\4\x85", BIG "\x85") "."), "strides do not fit in 64 bits"},
        {PICKLE(TENSOR(BIG, "K\3\x85", BIG "\x85") "."), "strides do not fit"},
        {PICKLE(TENSOR("K\0", BIG BIG "\x86", "K\0K\0\x86") "."), "the product of a tensor's dimensions"},
        {PICKLE(TENSOR("K\0", "J\377\377\377\377\x85", "K\1\x85") "."),
         "something other than integers from 0 on"},
        {PICKLE(TENSOR("K\0", "K\2\x85", "J\377\377\377\377\x85") "."),
         "something other than integers from 0 on"},
        {PICKLE(TENSOR("K\0", "N\x85", "K\1\x85") "."), "something other than integers from 0 on"},
        {PICKLE(TENSOR("J\377\377\377\377", "K\2\x85", "K\1\x85") "."), "is not given (storage, offset"},
        {PICKLE(TENSOR("K\0", "K\2\x85", "K\1K\1\x86") "."), "is not given (storage, offset"},
        {PICKLE(TENSOR("K\0", "(NNNNNNNNNt", "(NNNNNNNNNt") "."), "a tensor of rank 9, at most 8"},
        {PICKLE(REBUILT("N", "K\0", ")", ")") "."), "is not given (storage, offset"},
        {PICKLE(REBUILT(STORAGE("UntypedStorage", "K\6"), "K\0", ")", ")") "."),
         "over storage '0' without an element type"},
        {PICKLE(STORAGE("FloatStorage", "J\377\377\377\377") "."), "that is not ('storage', type, key"},
        {PICKLE(STORAGE("DoubleStorage", BIG) "."), "the size of storage '0' does not fit in 64 bits"},
        {PICKLE(STORAGE("float32", "K\6") "."), "'torch.float32' is not a type of storage"},
        {PICKLE("K\1Q."), "that is not ('storage', type, key"},
        {PICKLE("(" TEXT("\7", "storage") "tQ."), "that is not ('storage', type, key"},
        {PICKLE("ctorch._utils\n_rebuild_tensor_v2\n)R."), "with 0 arguments"},
        {PICKLE("ctorch._utils\n_rebuild_parameter\n}\x88}\x87R."), "with a dict, not a tensor"},
        {PICKLE("ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("FloatStorage", "K\6") "K\0))\x89}}" TEXT(
             "\3", "neg") "\x88stR."),
         "a conjugated or negated view"},
        {PICKLE("ctorch._utils\n_rebuild_tensor_v3\n(" STORAGE("UntypedStorage", "K\6") "K\0))\x89}NtR."),
         "_rebuild_tensor_v3 is not given (storage, offset, shape, strides, ..., dtype)"},
        {PICKLE("ctorch._utils\n_rebuild_tensor_v3\n(" STORAGE("UntypedStorage",
                                                               "K\3") "K\0))\x89}ctorch\nfloat32\ntR."),
         "reaches element 0 of storage '0', which has 3 bytes"},
    };
#undef BIG
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_pickle_refused(cases[i].pickle, cases[i].says);
}

/* Nested values need no recursion: neither many tuples within each other nor many marks exhaust the stack of
 * the process. */
static void survives_towers(void **state) {
    (void)state;
    enum { HIGH = 1 << 20 };
    Arena a = {0};
    Error e = {0};
    Buffer b = {0};
    buffer_append(&b, "\x80\002N", 3);
    for (int i = 0; i < HIGH; i++)
        buffer_byte(&b, 0x85);
    buffer_byte(&b, '.');
    assert_non_null(unpickle(&a, "x", b.data, b.size, &e));
    memset(b.data + 3, '(', HIGH);
    assert_null(unpickle(&a, "x", b.data, b.size, &e));
    assert_non_null(strstr(e.message, "ends with 1 values and 1048576 marks"));
    assert_null(unpickle(&a, "x", b.data, (uint64_t)PICKLE_LIMIT + 1, &e));
    assert_non_null(strstr(e.message, "a pickle of 33554433 bytes, at most 33554432"));
    buffer_free(&b);
    arena_free(&a);
}

static void survives_every_damage(void **state) {
    (void)state;
    const Pickle p = PICKLE("}q\0(" TEXT("\1", "w") TENSOR("K\1", "K\2K\2\x86q\1", "K\3K\1\x86") TEXT(
        "\1", "n") "\x8a\1\7r\2\0\0\0h\1j\2\0\0\0](NK\1eG\300\4\0\0\0\0\0\0u}b.");
    Arena a = {0};
    accepted(&a, p);
    arena_free(&a);
    char *bytes = xmalloc(p.n);
    for (size_t cut = 0; cut < p.n; cut++) {
        Error e = {0};
        assert_null(read_pickle(&a, (Pickle){p.bytes, cut}, &e));
        assert_int_equal(e.code, ERR_INPUT);
    }
    for (size_t i = 0; i < p.n; i++)
        for (int value = 0; value < 256; value++) {
            Error e = {0};
            memcpy(bytes, p.bytes, p.n);
            bytes[i] = (char)value;
            if (!read_pickle(&a, (Pickle){bytes, p.n}, &e)) assert_int_equal(e.code, ERR_INPUT);
            arena_free(&a);
        }
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_plain_values),      cmocka_unit_test(reads_tensors),
        cmocka_unit_test(reads_newer_protocols),   cmocka_unit_test(refuses_to_import),
        cmocka_unit_test(refuses_other_machinery), cmocka_unit_test(refuses_impossible_tensors),
        cmocka_unit_test(survives_towers),         cmocka_unit_test(survives_every_damage),
    };
    return cmocka_run_group_tests_name("unpickle", tests, NULL, NULL);
}

/* Text from files, folders, JSONL, gzip and zstd, and what can be wrong with them. */
#include <sys/resource.h>
#include <zlib.h>
#include <zstd.h>

#include "formats/file.h"
#include "recal/text_data.h"
#include "tests/scratch.h"

/* Documents as "PLACE=TEXT|", the scratch folder left off. */
static bool note(void *context, const char *path, const char *text, size_t n, bool end, Error *e) {
    (void)e;
    Buffer *b = context;
    if (!b->size || b->data[b->size - 1] == '|') buffer_printf(b, "%s=", path + strlen(scratch()) + 1);
    buffer_append(b, text, n);
    if (end) buffer_byte(b, '|');
    return true;
}

static void assert_documents(const char *name, const char *field, const char *expected) {
    Buffer b = {0};
    Error e = {0};
    if (!text_data_read(scratch_path(name), field, note, &b, &e)) fail_msg("%s", e.message);
    assert_string_equal(buffer_string(&b), expected);
    buffer_free(&b);
}

static void assert_not_read(const char *name, const char *says) {
    Buffer b = {0};
    Error e = {0};
    if (text_data_read(scratch_path(name), NULL, note, &b, &e)) fail_msg("read, though: %s", says);
    if (!strstr(e.message, says)) fail_msg("'%s' does not say '%s'", e.message, says);
    assert_int_equal(e.code, ERR_INPUT);
    assert_memory_equal(e.message, scratch(), strlen(scratch()));
    buffer_free(&b);
}

static Buffer gzipped(const char *text, size_t n) {
    Buffer b = {0};
    z_stream z = {.next_in = (void *)text, .avail_in = (uInt)n};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    buffer_reserve(&b, deflateBound(&z, n));
    z.next_out = b.data;
    z.avail_out = (uInt)b.capacity;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    b.size = z.total_out;
    deflateEnd(&z);
    return b;
}

static Buffer zstandard(const char *text, size_t n) {
    Buffer b = {0};
    buffer_reserve(&b, ZSTD_compressBound(n));
    b.size = ZSTD_compress(b.data, b.capacity, text, n, 3);
    assert_false(ZSTD_isError(b.size));
    return b;
}

/* Lines of digits; longer than several pieces of the reader. */
static Buffer long_text(void) {
    Buffer b = {0};
    for (int i = 0; i < 150000; i++)
        buffer_printf(&b, "%d\n", i);
    return b;
}

static void reads_files_and_folders_in_order(void **state) {
    (void)state;
    scratch_folder("corpus");
    scratch_folder("corpus/c");
    scratch_folder("corpus/.hidden");
    scratch_text("corpus/b.txt", "bee\n");
    scratch_text("corpus/a.md", "ay");
    scratch_text("corpus/B", "big");
    scratch_text("corpus/c/z", "");
    scratch_text("corpus/.note", "no");
    scratch_text("corpus/.hidden/x", "no");
    assert_int_equal(symlink("..", scratch_path("corpus/c/round")), 0);
    assert_int_equal(symlink("../b.txt", scratch_path("corpus/c/link")), 0);
    assert_int_equal(mkfifo(scratch_path("corpus/fifo"), 0600), 0);
    assert_documents("corpus", NULL,
                     "corpus/B=big|corpus/a.md=ay|corpus/b.txt=bee\n|corpus/c/link=bee\n|corpus/c/z=|");
    assert_documents("corpus/b.txt", NULL, "corpus/b.txt=bee\n|");
    assert_not_read("corpus/none", "No such file or directory");
    scratch_folder("empty");
    assert_not_read("empty", "empty: there is no file in this folder");
    assert_int_equal(symlink("nowhere", scratch_path("empty/dangling")), 0);
    Error e = {0};
    assert_false(text_data_read(scratch_path("empty"), NULL, note, NULL, &e));
    assert_non_null(strstr(e.message, "empty/dangling: No such file"));
}

static void reads_a_field_of_each_line(void **state) {
    (void)state;
    scratch_text("x.jsonl",
                 "{\"text\": \"one\\ntwo\", \"id\": 1}\n\n \t\r\n{\"text\": \"\\u00e9\"}\r\n{\"text\":\"\"}");
    assert_documents("x.jsonl", NULL, "x.jsonl:1=one\ntwo|x.jsonl:4=\xc3\xa9|x.jsonl:5=|");
    scratch_text("y.jsonl", "{\"body\": \"b\", \"text\": \"t\"}\n");
    assert_documents("y.jsonl", "body", "y.jsonl:1=b|");
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"{\"text\":\"a\"}\n{\"Text\":\"b\"}\n", "x.jsonl:2: the object has no field 'text'"},
        {"{\"text\":\"a\"}\n\n{\"text\":3}\n", "x.jsonl:3: its field 'text' is not text"},
        {"{\"text\":null}", "x.jsonl:1: its field 'text' is not text"},
        {"[\"text\"]\n", "x.jsonl:1: not an object"},
        {"{\"text\":\"a\"}\n{\"text\":\"b\"", "x.jsonl:2:11: not valid JSON"},
        {"{\"text\":\"\xff\"}\n", "x.jsonl:1:9: not valid JSON"},
        {"plain words\n", "x.jsonl:1:5: not valid JSON"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scratch_text("x.jsonl", bad[i].text);
        assert_not_read("x.jsonl", bad[i].says);
    }
}

/* Lines that begin in one piece of the file and end in another. */
static void joins_lines_across_pieces(void **state) {
    (void)state;
    Buffer file = {0}, expected = {0};
    for (int i = 1; i <= 7; i++) {
        char *word = xcalloc(1, 100001);
        memset(word, 'a' + i, 100000);
        buffer_printf(&file, "{\"text\": \"%s\"}\n", word);
        buffer_printf(&expected, "w.jsonl:%d=%s|", i, word);
        free(word);
    }
    scratch_file("w.jsonl", file.data, file.size);
    assert_documents("w.jsonl", NULL, buffer_string(&expected));
    Buffer packed = zstandard((char *)file.data, file.size);
    scratch_file("w.jsonl.zst", packed.data, packed.size);
    Buffer got = {0};
    Error e = {0};
    assert_true(text_data_read(scratch_path("w.jsonl.zst"), NULL, note, &got, &e));
    assert_int_equal(got.size, expected.size + 7 * strlen(".zst"));
    buffer_free(&got);
    buffer_free(&packed);
    buffer_free(&file);
    buffer_free(&expected);
}

static void unpacks(void **state) {
    (void)state;
    Buffer text = long_text(), expected = {0};
    Buffer packed[] = {gzipped((char *)text.data, text.size), zstandard((char *)text.data, text.size)};
    static const char *const names[] = {"t.txt.gz", "t.txt.zst"};
    for (int i = 0; i < 2; i++) {
        expected.size = 0;
        buffer_printf(&expected, "%s=%s|", names[i], buffer_string(&text));
        scratch_file(names[i], packed[i].data, packed[i].size);
        assert_documents(names[i], NULL, buffer_string(&expected));
        expected.size = 0; /* two members, two frames */
        buffer_printf(&expected, "%s=%s%s|", names[i], buffer_string(&text), buffer_string(&text));
        Buffer twice = {0};
        buffer_append(&twice, packed[i].data, packed[i].size);
        buffer_append(&twice, packed[i].data, packed[i].size);
        scratch_file(names[i], twice.data, twice.size);
        assert_documents(names[i], NULL, buffer_string(&expected));
        buffer_free(&twice);
        buffer_free(&packed[i]);
    }
    buffer_free(&text);
    buffer_free(&expected);
}

static void refuses_damaged_archives(void **state) {
    (void)state;
    static const char text[] = "a text of some length, of some length, of some length";
    Buffer packed[] = {gzipped(text, sizeof text), zstandard(text, sizeof text)};
    static const char *const names[] = {"d.gz", "d.zst"};
    for (int i = 0; i < 2; i++) {
        for (size_t cut = 0; cut < packed[i].size; cut++) {
            scratch_file(names[i], packed[i].data, cut);
            assert_not_read(names[i], cut ? ": offset " : i ? "cut short" : "not a gzip file");
        }
        scratch_text(names[i], "a text under a wrong name");
        assert_not_read(names[i], i ? "offset 0: Unknown frame descriptor" : "offset 0: not a gzip file");
    }
    packed[0].data[packed[0].size - 6] ^= 1; /* the checksum */
    scratch_file("d.gz", packed[0].data, packed[0].size);
    assert_not_read("d.gz", "incorrect data check");
    Buffer half = long_text();
    Buffer z = zstandard((char *)half.data, half.size), g = gzipped((char *)half.data, half.size);
    scratch_file("d.zst", z.data, z.size - 3);
    assert_not_read("d.zst", "the zstd file is cut short");
    scratch_file("d.gz", g.data, g.size / 2);
    assert_not_read("d.gz", "the gzip file is cut short");
    buffer_free(&half), buffer_free(&z), buffer_free(&g);
    buffer_free(&packed[0]), buffer_free(&packed[1]);
}

/* Whatever an archive holds, a document comes in parts, and a line has its limit. */
typedef struct Counter {
    uint64_t documents, bytes, parts;
    size_t largest;
} Counter;

static bool count(void *context, const char *path, const char *text, size_t n, bool end, Error *e) {
    (void)path, (void)text, (void)e;
    Counter *c = context;
    c->documents += end;
    c->bytes += n;
    c->parts++;
    if (n > c->largest) c->largest = n;
    return true;
}

/* `copies` of the megabyte `text`, each packed alone. */
static const char *bomb(const char *name, const char *text, int copies) {
    Buffer one = zstandard(text, 1 << 20), all = {0};
    for (int i = 0; i < copies; i++)
        buffer_append(&all, one.data, one.size);
    const char *path = scratch_file(name, all.data, all.size);
    buffer_free(&one);
    buffer_free(&all);
    return path;
}

static long peak_kb(void) {
    struct rusage u;
    assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
    return u.ru_maxrss;
}

static void holds_no_more_than_a_part(void **state) {
    (void)state;
    char *text = xcalloc(1, 1 << 20);
    Counter c = {0};
    Error e = {0};
    long before = peak_kb();
    assert_true(text_data_read(bomb("bomb.txt.zst", text, 200), NULL, count, &c, &e));
    assert_true(c.documents == 1 && c.bytes == 200 << 20 && c.largest <= 1 << 18);
    assert_true(peak_kb() - before < 32 << 10);
    assert_not_read("bomb.txt.zst/x", "Not a directory");

    memset(text, 'a', 1 << 20);
    assert_false(text_data_read(bomb("bomb.jsonl.zst", text, 200), NULL, count, &c, &e));
    assert_non_null(strstr(e.message, "bomb.jsonl.zst:1: more than 67108864 bytes in one line"));
    assert_int_equal(e.code, ERR_INPUT);
    assert_true(peak_kb() - before < 400 << 10);
    free(text);
}

static void names_the_line_in_an_archive(void **state) {
    (void)state;
    Buffer lines = {0};
    for (int i = 1; i <= 30000; i++)
        buffer_printf(&lines,
                      i == 29999 ? "{\"text\": \"line\", }\n"
                      : i % 5    ? "{\"text\": \"line %d\"}\n"
                                 : "\n",
                      i);
    Buffer packed[] = {gzipped((char *)lines.data, lines.size), zstandard((char *)lines.data, lines.size)};
    static const char *const names[] = {"l.jsonl.gz", "l.jsonl.zst"};
    for (int i = 0; i < 2; i++) {
        scratch_file(names[i], packed[i].data, packed[i].size);
        char place[40];
        snprintf(place, sizeof place, "%s:29999:", names[i]);
        assert_not_read(names[i], place);
        scratch_file(names[i], packed[i].data, packed[i].size / 2); /* the archive's damage has its offset */
        assert_not_read(names[i], "cut short");
        packed[i].data[packed[i].size / 2] ^= 64;
        packed[i].data[packed[i].size / 2 + 1] ^= 64;
        scratch_file(names[i], packed[i].data, packed[i].size);
        assert_not_read(names[i], names[i]);
        buffer_free(&packed[i]);
    }
    buffer_free(&lines);
}

/* ---- packing ---- */

/* "a" 0, "b" 1, newline 2, "ab" 3, end of text 4 */
static Tokenizer *two_letters(Checkpoint **c) {
    static const char json[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"\xc4\x8a\":2,"
                               "\"ab\":3,\"?\":5},\"unk_token\":\"?\",\"merges\":[\"a b\"]},"
                               "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                               "\"added_tokens\":[{\"id\":4,\"content\":\"<end>\",\"special\":true}]}";
    static const char config[] = "{\"eos_token\":\"<end>\"}";
    *c = checkpoint_new(FORMAT_HF);
    checkpoint_set_file(*c, "tokenizer.json", json, sizeof json - 1);
    checkpoint_set_file(*c, "tokenizer_config.json", config, sizeof config - 1);
    Error e = {0};
    Tokenizer *t = tokenizer_open(*c, &e);
    if (!t) fail_msg("%s", e.message);
    assert_int_equal(tokenizer_eos(t), 4);
    return t;
}

static void packs_documents_with_ends_between(void **state) {
    (void)state;
    Checkpoint *c;
    Tokenizer *t = two_letters(&c);
    scratch_folder("pack");
    scratch_text("pack/1.jsonl", "{\"text\":\"abb\"}\n{\"text\":\"\"}\n{\"text\":\"ba\"}\n");
    scratch_text("pack/2.txt", "a\n");
    const char *paths[] = {scratch_path("pack"), scratch_path("pack/2.txt")};
    TokenList out = {0};
    Error e = {0};
    if (!text_data_pack(t, paths, 2, NULL, 0, &out, &e)) fail_msg("%s", e.message);
    const int32_t expected[] = {3, 1, 4, 1, 0, 4, 0, 2, 4, 0, 2};
    assert_int_equal(out.n, sizeof expected / sizeof *expected);
    assert_memory_equal(out.ids, expected, sizeof expected);
    out.n = 0;
    scratch_text("pack/2.txt", "a\xff"); /* not reached */
    assert_true(text_data_pack(t, paths, 2, NULL, 4, &out, &e));
    assert_int_equal(out.n, 4);
    assert_memory_equal(out.ids, expected, 4 * sizeof *expected);
    out.n = 0;
    assert_false(text_data_pack(t, paths, 2, NULL, 0, &out, &e));
    assert_int_equal(e.code, ERR_INPUT);
    assert_non_null(strstr(e.message, "pack/2.txt: "));
    token_list_free(&out);
    tokenizer_close(t);
    checkpoint_close(c);
}

/* Long documents are encoded a piece at a time, with the same tokens. */
static void packs_long_documents_whole(void **state) {
    (void)state;
    Checkpoint *c;
    Tokenizer *t = two_letters(&c);
    Buffer text = {0};
    for (int i = 0; text.size < 2500000; i++)
        buffer_append(&text, i % 3 ? "ab\n" : "\n\nb", 3);
    const char *path = scratch_file("long.txt", text.data, text.size);
    TokenList whole = {0}, packed = {0};
    Error e = {0};
    assert_true(tokenizer_encode(t, (char *)text.data, text.size, false, &whole, &e));
    assert_true(text_data_pack(t, &path, 1, NULL, 0, &packed, &e));
    assert_int_equal(packed.n, whole.n);
    assert_memory_equal(packed.ids, whole.ids, whole.n * sizeof *whole.ids);
    token_list_free(&whole);
    token_list_free(&packed);
    buffer_free(&text);
    tokenizer_close(t);
    checkpoint_close(c);
}

/* A text without an end is read no further than the tokens that are wanted, and a damaged one not accepted.
 */
static void packs_no_more_than_is_wanted(void **state) {
    (void)state;
    Checkpoint *c;
    Tokenizer *t = two_letters(&c);
    char *text = xmalloc(1 << 20);
    for (size_t i = 0; i < 1 << 20; i += 4)
        memcpy(text + i, "abb ", 4);
    const char *path = bomb("endless.txt.zst", text, 1000);
    TokenList out = {0};
    Error e = {0};
    long before = peak_kb();
    assert_true(text_data_pack(t, &path, 1, NULL, 3000000, &out, &e));
    assert_int_equal(out.n, 3000000);
    assert_true(peak_kb() - before < 48 << 10);
    Buffer half = {0};
    assert_true(file_read(path, 1 << 20, &half, &e));
    path = scratch_file("half.txt.zst", half.data, half.size / 500 * 3 + 5);
    out.n = 0;
    assert_true(text_data_pack(t, &path, 1, NULL, 1000000, &out, &e)); /* the damage lies behind them */
    assert_false(text_data_pack(t, &path, 1, NULL, 0, &out, &e));
    assert_non_null(strstr(e.message, "half.txt.zst: offset "));
    assert_int_equal(e.code, ERR_INPUT);
    buffer_free(&half);
    token_list_free(&out);
    free(text);
    tokenizer_close(t);
    checkpoint_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_files_and_folders_in_order),
        cmocka_unit_test(reads_a_field_of_each_line),
        cmocka_unit_test(joins_lines_across_pieces),
        cmocka_unit_test(unpacks),
        cmocka_unit_test(refuses_damaged_archives),
        cmocka_unit_test(holds_no_more_than_a_part),
        cmocka_unit_test(names_the_line_in_an_archive),
        cmocka_unit_test(packs_documents_with_ends_between),
        cmocka_unit_test(packs_no_more_than_is_wanted),
        cmocka_unit_test(packs_long_documents_whole),
    };
    return cmocka_run_group_tests_name("data", tests, NULL, scratch_remove);
}

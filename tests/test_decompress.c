/* Reading files in pieces: plain, gzip and zstd by their names, damaged and cut ones, and files that would
 * decompress to far more than they hold. */
#include <sys/resource.h>
#include <zlib.h>
#include <zstd.h>

#include "recal/decompress.h"
#include "recal/random.h"
#include "tests/scratch.h"

enum { PIECE = 1 << 18, LONG = 1000003 };

/* All of it in `out`; false with the error. No piece is larger than it may be. */
static bool unpacked(const char *path, Buffer *out, Error *e) {
    Decompressor *u = decompressor_open(path, e);
    bool ok = u != NULL;
    for (size_t before = SIZE_MAX; ok && out->size != before;) {
        before = out->size;
        ok = decompressor_read(u, out, e);
        assert_in_range(out->size - before, 0, PIECE);
    }
    if (u) decompressor_close(u);
    return ok;
}

static void assert_unpacks(const char *path, const void *bytes, size_t n) {
    Buffer b = {0};
    Error e = {0};
    if (!unpacked(path, &b, &e)) fail_msg("%s", e.message);
    assert_int_equal(b.size, n);
    if (n) assert_memory_equal(b.data, bytes, n);
    buffer_free(&b);
}

/* Refused with the path first, and an offset that lies in the file. */
static void assert_damaged(const char *path, size_t size, const char *says) {
    Buffer b = {0};
    Error e = {0};
    if (unpacked(path, &b, &e)) fail_msg("unpacked, though: %s", says);
    size_t n = strlen(path);
    unsigned long long offset;
    assert_memory_equal(e.message, path, n);
    if (sscanf(e.message + n, ": offset %llu: ", &offset) != 1 || offset > size || !strstr(e.message, says))
        fail_msg("'%s' does not say '%s' at an offset up to %zu", e.message, says, size);
    assert_int_equal(e.code, ERR_INPUT);
    buffer_free(&b);
}

static Buffer noise(size_t n) {
    Random r = random_seeded(1);
    Buffer b = {0};
    for (size_t i = 0; i < n; i++)
        buffer_byte(&b, (uint8_t)(random_u64(&r) % 100));
    return b;
}

static Buffer gzipped(const Buffer *text) {
    Buffer b = {0};
    z_stream z = {.next_in = text->data, .avail_in = (uInt)text->size};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    buffer_reserve(&b, deflateBound(&z, text->size));
    z.next_out = b.data;
    z.avail_out = (uInt)b.capacity;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    b.size = z.total_out;
    deflateEnd(&z);
    return b;
}

/* With a checksum, as the zstd program writes it. */
static Buffer zstandard(const Buffer *text) {
    Buffer b = {0};
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    buffer_reserve(&b, ZSTD_compressBound(text->size));
    b.size = ZSTD_compress2(c, b.data, b.capacity, text->data, text->size);
    assert_false(ZSTD_isError(b.size));
    ZSTD_freeCCtx(c);
    return b;
}

static void by_their_names(void **state) {
    (void)state;
    Buffer text = noise(LONG), none = {0};
    Buffer g = gzipped(&text), z = zstandard(&text), g0 = gzipped(&none), z0 = zstandard(&none);
    assert_unpacks(scratch_file("t", text.data, text.size), text.data, text.size);
    assert_unpacks(scratch_file("t.gz", g.data, g.size), text.data, text.size);
    assert_unpacks(scratch_file("t.zst", z.data, z.size), text.data, text.size);
    assert_unpacks(scratch_file("t.gz.txt", g.data, g.size), g.data, g.size); /* the end of the name counts */
    assert_unpacks(scratch_file("empty", "", 0), "", 0);
    assert_unpacks(scratch_file("empty.gz", g0.data, g0.size), "", 0);
    assert_unpacks(scratch_file("empty.zst", z0.data, z0.size), "", 0);
    buffer_append(&g, g0.data, g0.size); /* what is empty in the middle is not the end */
    buffer_append(&z, z0.data, z0.size);
    buffer_append(&z, "\x50\x2a\x4d\x18\3\0\0\0abc", 11); /* a frame to be skipped */
    Buffer tail = {0};
    buffer_append(&tail, "tail", 4);
    Buffer gt = gzipped(&tail), zt = zstandard(&tail);
    buffer_append(&g, gt.data, gt.size);
    buffer_append(&z, zt.data, zt.size);
    buffer_append(&text, "tail", 4);
    assert_unpacks(scratch_file("t.gz", g.data, g.size), text.data, text.size);
    assert_unpacks(scratch_file("t.zst", z.data, z.size), text.data, text.size);
    buffer_free(&text), buffer_free(&g), buffer_free(&z), buffer_free(&g0), buffer_free(&z0);
    buffer_free(&tail), buffer_free(&gt), buffer_free(&zt);
}

static void what_cannot_be_opened(void **state) {
    (void)state;
    scratch_folder("folder");
    scratch_folder("folder.gz");
    static const char *const names[] = {"absent", "folder/x.zst", "absent.gz", "folder", "folder.gz"};
    for (int i = 0; i < 5; i++) {
        Buffer b = {0};
        Error e = {0};
        assert_false(unpacked(scratch_path(names[i]), &b, &e));
        assert_non_null(strstr(e.message, i > 2 ? "Is a directory" : "No such file or directory"));
        assert_int_equal(e.code, ERR_INPUT);
        buffer_free(&b);
    }
}

/* Cut anywhere: what lies before the cut may come, and then an error, never an end. */
static void cut_short(void **state) {
    (void)state;
    Buffer text = noise(LONG), packed[] = {gzipped(&text), zstandard(&text)};
    static const char *const names[] = {"cut.gz", "cut.zst"};
    for (int k = 0; k < 2; k++) {
        size_t n = packed[k].size;
        for (size_t cut = 1; cut < n; cut += cut < 40 || cut + 40 > n ? 1 : n / 23)
            assert_damaged(scratch_file(names[k], packed[k].data, cut), cut,
                           k == 0 && cut < 2 ? "not a gzip file" : "file is cut short");
        buffer_free(&packed[k]);
    }
    assert_damaged(scratch_file("cut.gz", "", 0), 0, "not a gzip file");
    assert_damaged(scratch_file("cut.zst", "", 0), 0, "the zstd file is cut short");
    buffer_free(&text);
}

/* A flipped bit: an error, or (in what a header says of the file's origin) the same text. */
static void flipped(void **state) {
    (void)state;
    Buffer text = noise(5000), packed[] = {gzipped(&text), zstandard(&text)};
    static const char *const names[] = {"flipped.gz", "flipped.zst"};
    for (int k = 0; k < 2; k++) {
        size_t accepted = 0, tried = 0;
        for (size_t i = 0; i < packed[k].size; i += i < 30 || i + 20 > packed[k].size ? 1 : 61)
            for (int bit = 0; bit < 8; bit++) {
                Buffer b = {0};
                Error e = {0};
                packed[k].data[i] ^= (uint8_t)(1 << bit);
                const char *path = scratch_file(names[k], packed[k].data, packed[k].size);
                if (unpacked(path, &b, &e)) {
                    accepted++;
                    assert_int_equal(b.size, text.size);
                    assert_memory_equal(b.data, text.data, b.size);
                } else {
                    assert_int_equal(e.code, ERR_INPUT);
                    assert_memory_equal(e.message, path, strlen(path));
                }
                packed[k].data[i] ^= (uint8_t)(1 << bit);
                buffer_free(&b);
                tried++;
            }
        assert_true(accepted < tried / 4);
        buffer_free(&packed[k]);
    }
    buffer_free(&text);
}

static void what_it_is_not(void **state) {
    (void)state;
    static const char plain[] = "plain text under the name of an archive";
    assert_damaged(scratch_text("x.gz", plain), sizeof plain, "offset 0: not a gzip file");
    assert_damaged(scratch_text("x.zst", plain), sizeof plain, "offset 0: Unknown frame descriptor");
    Buffer text = noise(100), z = zstandard(&text);
    buffer_append(&z, plain, sizeof plain);
    assert_damaged(scratch_file("x.zst", z.data, z.size), z.size, "Unknown frame descriptor");
    buffer_free(&text);
    buffer_free(&z);
}

static long peak_kb(void) {
    struct rusage u;
    assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
    return u.ru_maxrss;
}

/* A quarter of a gigabyte from a file of a few kB, in pieces, in memory that does not grow with it. */
static void bombs(void **state) {
    (void)state;
    Buffer zeros = {0}, bomb = {0};
    buffer_reserve(&zeros, 1 << 20);
    memset(zeros.data, 0, zeros.size = 1 << 20);
    for (int k = 0; k < 2; k++) {
        Buffer one = k ? zstandard(&zeros) : gzipped(&zeros);
        bomb.size = 0;
        for (int i = 0; i < 256; i++)
            buffer_append(&bomb, one.data, one.size);
        assert_true(bomb.size < 300000);
        const char *path = scratch_file(k ? "bomb.zst" : "bomb.gz", bomb.data, bomb.size);
        Error e = {0};
        long before = peak_kb();
        Decompressor *u = decompressor_open(path, &e);
        Buffer piece = {0};
        uint64_t total = 0;
        do {
            piece.size = 0;
            assert_true(decompressor_read(u, &piece, &e));
            assert_in_range(piece.size, 0, PIECE);
            total += piece.size;
        } while (piece.size);
        assert_int_equal(total, 256 << 20);
        assert_true(peak_kb() - before < 32 << 10);
        decompressor_close(u);
        buffer_free(&piece);
        buffer_free(&one);
    }
    buffer_free(&zeros);
    buffer_free(&bomb);
}

/* Frames that ask for terabytes of window, in the two ways that the format has. */
static void windows_too_large(void **state) {
    (void)state;
    static const uint8_t window[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 31 << 3, 1, 0, 0};
    static const uint8_t content[] = {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 16, 1, 0, 0};
    assert_damaged(scratch_file("w.zst", window, sizeof window), sizeof window, "too much memory");
    assert_damaged(scratch_file("w.zst", content, sizeof content), sizeof content, "too much memory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_their_names),    cmocka_unit_test(what_cannot_be_opened),
        cmocka_unit_test(cut_short),         cmocka_unit_test(flipped),
        cmocka_unit_test(what_it_is_not),    cmocka_unit_test(bombs),
        cmocka_unit_test(windows_too_large),
    };
    return cmocka_run_group_tests_name("decompress", tests, NULL, scratch_remove);
}

/* Zip archives written by libzip, for the tests of our own zip reader. */
#ifndef DEROPE_TESTS_MADE_ZIP_H
#define DEROPE_TESTS_MADE_ZIP_H

#include <zip.h>

#include "tests/scratch.h"

/* One member of an archive. */
typedef struct Item {
    const char *name;  /* path inside the archive */
    const void *bytes; /* uncompressed content */
    size_t n;          /* its length */
    int method;        /* a compression method of libzip; 0: ZIP_CM_STORE */
} Item;

/* Writes `n` items to scratch()/name and returns the path. All members get the same modification time, so the
 * same items give the same bytes. Of two items with one name the later replaces the earlier. */
static inline const char *write_zip(const char *name, const Item *items, size_t n) {
    const char *path = scratch_path(name);
    zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(z);
    for (size_t i = 0; i < n; i++) {
        zip_source_t *s = zip_source_buffer(z, items[i].bytes, items[i].n, 0);
        zip_int64_t at = zip_file_add(z, items[i].name, s, ZIP_FL_OVERWRITE);
        assert_true(at >= 0);
        int method = items[i].method ? items[i].method : ZIP_CM_STORE;
        assert_int_equal(zip_set_file_compression(z, (zip_uint64_t)at, method, 0), 0);
        assert_int_equal(zip_file_set_mtime(z, (zip_uint64_t)at, 1000000000, 0), 0);
    }
    if (zip_close(z) != 0) fail_msg("%s", zip_strerror(z));
    return path;
}

#endif

/* Zips written by libzip, for tests that read them. */
#ifndef DEROPE_TESTS_MADE_ZIP_H
#define DEROPE_TESTS_MADE_ZIP_H

#include <zip.h>

#include "tests/scratch.h"

typedef struct Item {
    const char *name;
    const void *bytes;
    size_t n;
    int method; /* ZIP_CM_STORE if 0 */
} Item;

/* Into the scratch folder, always with the same time; of two items of one name the later stays. */
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

/* Fuzz target: a zip archive of an HF folder. */
#include "formats/checkpoint_open.h"
#include "tests/fuzz/container.h"

static bool read_zip(Checkpoint *c, const char *path, Error *e) {
    return checkpoint_read_zip(c, path, false, e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fuzz_container(read_zip, data, n);
    return 0;
}

#include "tests/fuzz/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fuzz_container(gguf_read, data, n);
    return 0;
}

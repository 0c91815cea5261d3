/* Fuzz target: a safetensors file. */
#include "formats/safetensors.h"
#include "tests/fuzz/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fuzz_container(safetensors_read, data, n);
    return 0;
}

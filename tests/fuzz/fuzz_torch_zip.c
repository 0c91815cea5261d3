/* Fuzz target: a file of torch.save, which is a zip archive with a pickle in it. */
#include "formats/torch_zip.h"
#include "tests/fuzz/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fuzz_container(torch_zip_read, data, n);
    return 0;
}

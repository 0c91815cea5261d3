/* Fuzz target: a pickle by itself, without the archive around it. */
#include "formats/unpickle.h"
#include "tests/fuzz/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    Arena a = {0};
    Error e = {0};
    if (!unpickle(&a, "x", data, n, &e)) expect(e.code == ERR_INPUT, "no refusal", &e);
    arena_free(&a);
    return 0;
}

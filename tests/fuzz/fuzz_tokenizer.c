/* Fuzz target: tokenizer.json. The input is the file, a zero byte, and a text to encode with it. */
#include "tests/fuzz/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const uint8_t *zero = n ? memchr(data, 0, n) : NULL;
    size_t json = zero ? (size_t)(zero - data) : n;
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    checkpoint_set_file(c, "tokenizer.json", data, json);
    encode_and_decode(c, data + json, n - json);
    return 0;
}

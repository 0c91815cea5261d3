/* Fuzz target: sentencepiece models. The input is the length of a tokenizer.model as 16 bits, the model, and
 * a text to encode with it. */
#include "tests/fuzz/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    uint16_t size = 0;
    if (n < sizeof size) return 0;
    memcpy(&size, data, sizeof size);
    data += sizeof size;
    n -= sizeof size;
    size_t model = size < n ? size : n;
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    checkpoint_set_file(c, "tokenizer.model", data, model);
    encode_and_decode(c, data + model, n - model);
    return 0;
}

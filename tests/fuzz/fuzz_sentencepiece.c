/* A tokenizer.model whose length, as 16 bits, goes before it, and a text: what tokens decode to is encodable
 * again. */
#include "recal/tokenizer.h"
#include "tests/fuzz/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    uint16_t size = 0;
    if (n < sizeof size) return 0;
    memcpy(&size, data, sizeof size);
    data += sizeof size;
    n -= sizeof size;
    size_t model = size < n ? size : n;
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    checkpoint_set_file(c, "tokenizer.model", data, model);
    Error e = {0};
    Tokenizer *t = tokenizer_open(c, &e);
    if (t) {
        TokenList ids = {0};
        Buffer text = {0};
        bool ok = tokenizer_encode(t, (const char *)data + model, n - model, true, &ids, &e);
        if (ok) expect(tokenizer_decode(t, ids.ids, ids.n, true, &text, &e), "own tokens do not decode", &e);
        expect(ok || e.code == ERR_INPUT, "no refusal", &e);
        token_list_free(&ids);
        buffer_free(&text);
    } else {
        expect(e.code == ERR_INPUT, "no refusal", &e);
    }
    tokenizer_close(t);
    checkpoint_close(c);
    return 0;
}

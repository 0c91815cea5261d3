/* What the fuzzers of tokenizers have in common. */
#ifndef DEROPE_TESTS_FUZZ_TOKENS_H
#define DEROPE_TESTS_FUZZ_TOKENS_H

#include "surgery/tokenizer/tokenizer.h"
#include "tests/fuzz/container.h"

/* The tokenizer of `c`, which is closed, is opened or refused; so is the text, whose tokens have to decode.
 */
static void encode_and_decode(Checkpoint *c, const uint8_t *text, size_t n) {
    Error e = {0};
    Tokenizer *t = tokenizer_open(c, &e);
    if (t) {
        TokenList ids = {0};
        Buffer back = {0};
        bool ok = tokenizer_encode(t, (const char *)text, n, true, &ids, &e);
        if (ok) expect(tokenizer_decode(t, ids.ids, ids.n, true, &back, &e), "own tokens do not decode", &e);
        expect(ok || e.code == ERR_INPUT, "no refusal", &e);
        token_list_free(&ids);
        buffer_free(&back);
    } else {
        expect(e.code == ERR_INPUT, "no refusal", &e);
    }
    tokenizer_close(t);
    checkpoint_close(c);
}

#endif

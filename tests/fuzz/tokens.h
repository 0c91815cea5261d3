/* What the fuzz targets of tokenizers share. */
#ifndef DEROPE_TESTS_FUZZ_TOKENS_H
#define DEROPE_TESTS_FUZZ_TOKENS_H

#include "surgery/tokenizer/tokenizer.h"
#include "tests/fuzz/container.h"

/* Opens the tokenizer of `c`, which must succeed or be refused with ERR_INPUT, and encodes the text with it.
 * If the text has tokens, these must decode. Closes `c`. */
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

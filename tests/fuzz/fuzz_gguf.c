/* Fuzz target: a GGUF file, read as a container, then as a tokenizer, then as a model. */
#include "formats/gguf.h"
#include "surgery/model.h"
#include "surgery/model_open.h"
#include "surgery/spec_json.h"
#include "surgery/tokenizer/tokenizer.h"
#include "tests/fuzz/container.h"

static bool read_whole(Checkpoint *c, const char *path, Error *e) {
    c->format = FORMAT_GGUF;
    c->path = arena_strdup(&c->arena, path);
    if (!gguf_read(c, path, e)) return false;
    Tokenizer *t = tokenizer_open(c, e);
    if (t) {
        TokenList ids = {0};
        Buffer text = {0};
        if (tokenizer_encode(t, "a ab\n", 5, true, &ids, e))
            tokenizer_decode(t, ids.ids, ids.n, true, &text, e);
        token_list_free(&ids);
        buffer_free(&text);
        tokenizer_close(t);
    } else {
        expect(e->code == ERR_INPUT, "no refusal of a tokenizer", e);
    }
    Model *m = model_open(c, e);
    if (m)
        json_decref(spec_to_json(&m->spec));
    else
        expect(e->code == ERR_INPUT, "no refusal of a model", e);
    model_close(m);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fuzz_container(read_whole, data, n);
    return 0;
}

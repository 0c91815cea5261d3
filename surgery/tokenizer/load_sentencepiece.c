/* Loading tokenizer.model. The file is first converted to the keys that a GGUF made from it has, which is
 * needed for conversion anyway (sentencepiece_to_gguf.c), and then loaded from these. The flag
 * like_sentencepiece makes the loader and the encoder follow the library in the points where llama.cpp
 * differs from it. */
#include "surgery/tokenizer/load_sentencepiece.h"

#include "formats/file_names.h"
#include "surgery/tokenizer/load_gguf.h"
#include "surgery/tokenizer/sentencepiece_to_gguf.h"

/* The keys live in a checkpoint of their own, which is closed after loading: the loader copies all texts. */
bool tokenizer_load_sentencepiece(Tokenizer *t, const Checkpoint *c, Error *e) {
    Error damaged = {0};
    json_t *config = checkpoint_json(c, CONFIG_FILE, &damaged);
    if (damaged.code) return error_set(e, damaged.code, "%s", damaged.message);
    Checkpoint *keys = checkpoint_new(FORMAT_GGUF);
    keys->path = arena_printf(&keys->arena, "%s/tokenizer.model", c->path ? c->path : "checkpoint");
    t->like_sentencepiece = true;
    bool ok = sentencepiece_to_keys(c, config, keys, e) && tokenizer_load_gguf(t, keys, e);
    checkpoint_close(keys);
    json_decref(config);
    return ok;
}

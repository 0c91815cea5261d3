/* A helper of tests/peers: runs the tokenizer of a model on many texts, for comparison with other tokenizers.
 * A text is a 32-bit length and that many bytes; ids are a line of numbers. tool_tokenizer encode MODEL
 * [--no-special] < TEXTS    a line of ids a text, or "! message" tool_tokenizer decode MODEL < LINES a text a
 * line tool_tokenizer bench MODEL FILE                       seconds of the best of three encodings */
#include <stdlib.h>
#include <string.h>

#include "cmd/token_input.h"
#include "formats/checkpoint.h"
#include "formats/clock.h"
#include "formats/file.h"

static bool next_text(Buffer *text) {
    uint32_t n;
    if (fread(&n, sizeof n, 1, stdin) != 1) return false;
    text->size = 0;
    buffer_reserve(text, n + 1);
    text->size = fread(text->data, 1, n, stdin);
    return text->size == n;
}

static void encode(const Tokenizer *t, bool special) {
    Buffer text = {0};
    TokenList tokens = {0};
    while (next_text(&text)) {
        Error e = {0};
        tokens.n = 0;
        if (tokenizer_encode(t, (char *)text.data, text.size, special, &tokens, &e))
            for (size_t i = 0; i < tokens.n; i++)
                printf(i ? " %d" : "%d", tokens.ids[i]);
        else
            printf("! %s", e.message);
        printf("\n");
    }
    token_list_free(&tokens);
    buffer_free(&text);
}

static void decode(const Tokenizer *t) {
    char *line = NULL;
    size_t capacity = 0;
    TokenList tokens = {0};
    Buffer text = {0};
    while (getline(&line, &capacity, stdin) >= 0) {
        Error e = {0};
        tokens.n = text.size = 0;
        char *end;
        for (char *p = line; (void)strtol(p, &end, 10), end > p; p = end)
            token_append(&tokens, (int32_t)strtol(p, NULL, 10));
        if (!tokenizer_decode(t, tokens.ids, tokens.n, false, &text, &e))
            buffer_printf(&text, "! %s", e.message);
        uint32_t n = (uint32_t)text.size;
        fwrite(&n, sizeof n, 1, stdout);
        fwrite(text.data, 1, n, stdout);
    }
    free(line);
    token_list_free(&tokens);
    buffer_free(&text);
}

static bool bench(const Tokenizer *t, const char *path, Error *e) {
    Buffer text = {0};
    TokenList tokens = {0};
    double best = 1e9;
    bool ok = file_read(path, 1 << 30, &text, e);
    for (int i = 0; ok && i < 3; i++) {
        double start = clock_seconds();
        tokens.n = 0;
        ok = tokenizer_encode(t, (char *)text.data, text.size, true, &tokens, e);
        if (clock_seconds() - start < best) best = clock_seconds() - start;
    }
    printf("%f %zu\n", best, tokens.n);
    token_list_free(&tokens);
    buffer_free(&text);
    return ok;
}

int main(int argc, char **argv) {
    Error e = {0};
    if (argc < 3) return ERR_USAGE;
    Checkpoint *c;
    Tokenizer *t = model_tokenizer_open(argv[2], &c, &e);
    bool ok = t != NULL;
    if (ok && strcmp(argv[1], "encode") == 0) encode(t, argc < 4);
    if (ok && strcmp(argv[1], "decode") == 0) decode(t);
    if (ok && strcmp(argv[1], "bench") == 0) ok = argc > 3 && bench(t, argv[3], &e);
    if (!ok) fprintf(stderr, "%s\n", e.message);
    tokenizer_close(t);
    checkpoint_close(c);
    return ok ? 0 : (int)e.code;
}

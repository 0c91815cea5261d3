#include "cmd/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file.h"

bool text_read(const char *path, Buffer *out, Error *e) {
    return file_read(strcmp(path, "-") == 0 ? "/dev/stdin" : path, (uint64_t)1 << 34, out, e);
}

bool ids_read(const char *path, TokenList *out, Error *e) {
    Buffer text = {0};
    bool ok = text_read(path, &text, e);
    const char *start = buffer_string(&text), *p = start;
    while (ok && *p) {
        if (isspace((unsigned char)*p) || strchr(",[]", *p)) {
            p++;
            continue;
        }
        char *end;
        long id = strtol(p, &end, 10);
        if (end == p || id < 0 || id > INT32_MAX)
            ok = error_set(e, ERR_INPUT, "%s: offset %zu: expected a token id, found '%.10s'", path,
                           (size_t)(p - start), p);
        else
            token_append(out, (int32_t)id);
        p = end;
    }
    buffer_free(&text);
    return ok;
}

bool text_tokens(const Checkpoint *c, const char *path, TokenList *out, Error *e) {
    Buffer text = {0};
    Tokenizer *t = text_read(path, &text, e) ? tokenizer_open(c, e) : NULL;
    bool ok =
        t && (tokenizer_encode(t, (char *)text.data, text.size, true, out, e) || error_place(e, "%s", path));
    tokenizer_close(t);
    buffer_free(&text);
    return ok;
}

/* Reads texts and token ids for the verbs ppl, eval, logits, tokenize and detokenize (token_input.h). Files
 * of documents are read by recal/text_data.c and tokenized by surgery/tokenizer/; this file joins the two.
 * Texts for perplexity are tokenized while they are read, piece by piece, so that a part of a corpus larger
 * than memory can be measured. */
#include "cmd/token_input.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/cmd.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/file.h"
#include "recal/text_data.h"
#include "surgery/tokenizer/text_stream.h"

/* 16 GiB is far more than a prompt or a list of ids. The limit ends the reading of a device file such as
 * /dev/zero. */
bool text_file_read(const char *path, Buffer *out, Error *e) {
    return file_read(strcmp(path, "-") == 0 ? "/dev/stdin" : path, (uint64_t)1 << 34, out, e);
}

/* A folder is opened without its weights, which may be missing or large. A single file (a GGUF) has its
 * tokenizer inside, so all of it is opened. */
Tokenizer *model_tokenizer_open(const char *path, Checkpoint **model, Error *e) {
    struct stat st;
    bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    *model = checkpoint_open_config(path, folder, e);
    return *model ? tokenizer_open(*model, e) : NULL;
}

/* Separators are skipped one by one. Anything else has to be a decimal number that fits in a token id, an
 * int32_t. */
bool token_ids_read(const char *path, TokenList *out, Error *e) {
    Buffer text = {0};
    bool ok = text_file_read(path, &text, e);
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

/* The text is encoded as a whole, so that special tokens such as BOS are added once. */
bool text_file_tokens(const Checkpoint *c, const char *path, TokenList *out, Error *e) {
    Buffer text = {0};
    Tokenizer *t = text_file_read(path, &text, e) ? tokenizer_open(c, e) : NULL;
    bool ok =
        t && (tokenizer_encode(t, (char *)text.data, text.size, true, out, e) || error_place(e, "%s", path));
    tokenizer_close(t);
    buffer_free(&text);
    return ok;
}

/* ---- texts for perplexity ---- */

/* Joins texts to one for perplexity_tokens. A newline at the end of a text is held back until it is known
 * whether another text follows, because the one at the very end may have to be dropped (llama-perplexity
 * drops it). */
typedef struct Joiner {
    /* Tokenizes text that arrives in pieces as if it came at once. */
    TextStream text;
    TokenList *out;
    uint64_t max; /* tokens wanted; 0: all */
    bool any;     /* at least one non-empty piece was read */
    bool inside;  /* the current text goes on after the last piece */
    bool newline; /* a newline is held back */
    bool full;    /* `max` is reached */
} Joiner;

/* A TextSink (recal/text_data.h): adds one piece of a text. Before it come the newline that was held back,
 * and one more between two texts. `end` marks the last piece of a text. Returns false at `max` tokens, too,
 * which ends the reading without an error. */
static bool join_part(void *context, const char *path, const char *text, size_t n, bool end, Error *e) {
    Joiner *j = context;
    /* At most two newlines precede a piece: one held back, one between texts. */
    size_t newlines = (size_t)j->newline + (!j->inside && j->any);
    j->inside = !end && (j->inside || n);
    if (!n) return true;
    j->any = true;
    j->newline = text[n - 1] == '\n';
    bool ok = text_stream_add(&j->text, "\n\n", newlines, j->out, e) &&
              text_stream_add(&j->text, text, n - j->newline, j->out, e);
    j->full = j->max && j->out->n >= j->max;
    return ok ? !j->full : error_place(e, "%s", path);
}

/* Adds the newline that is held back, unless it is to be dropped, and ends the stream, which gives the tokens
 * of the last piece. */
static bool join_end(Joiner *j, bool drop_newline, Error *e) {
    return text_stream_add(&j->text, "\n", j->newline && !drop_newline, j->out, e) &&
           text_stream_end(&j->text, j->out, e);
}

/* The stream adds BOS once, at the very start, if the tokenizer puts one before a text. text_data_read
 * returns false when join_part had enough, which j.full tells from an error. */
bool perplexity_tokens(const Tokenizer *t, const char *const *paths, size_t n, const char *field,
                       bool drop_newline, uint64_t max, TokenList *out, int32_t *bos, Error *e) {
    Joiner j = {.text = {.t = t, .add_special = true}, .out = out, .max = max};
    bool ok = true;
    for (size_t i = 0; ok && i < n && !j.full; i++)
        ok = text_data_read(paths[i], field, join_part, &j, e) || j.full;
    ok = ok && (j.full || join_end(&j, drop_newline, e) || error_place(e, "%s", paths[n - 1]));
    /* The last piece may have given more tokens than were wanted. */
    if (ok && max && out->n > max) out->n = max;
    if (ok) *bos = tokenizer_adds_bos(t) ? tokenizer_bos(t) : -1;
    text_stream_free(&j.text);
    return ok;
}

/* The names of the ways to score a window (recal/perplexity.h). */
static const char *const scores[] = {[SCORE_ALL] = "all", [SCORE_HALF] = "half"};

bool perplexity_score_parse(const char *text, Score *out, Error *e) {
    *out = strcmp(text, scores[SCORE_HALF]) == 0 ? SCORE_HALF : SCORE_ALL;
    return strcmp(text, scores[*out]) == 0 || cmd_usage(e, "'%.40s' is not all or half", text);
}

size_t perplexity_score_names(const char **names, size_t max) {
    size_t n = 0;
    for (; n < max && n < sizeof scores / sizeof *scores; n++)
        names[n] = scores[n];
    return n;
}

/* derope logits: writes the raw logits of every position of a text to a file, so that they can be compared
 * with those of other programs (transformers, llama.cpp) value by value. The forward pass is
 * recal/inference.c; the tokens come from a text or, so that tokenizers play no part in a comparison, from a
 * list of ids. */
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/output.h"
#include "cmd/surgery_flags.h"
#include "cmd/token_input.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/file.h"
#include "formats/output.h"
#include "recal/inference.h"
#include "recal/memory.h"
#include "surgery/model_open.h"

/* The command line. The flags of passes come first, as command_line_parse expects them. */
typedef struct Arguments {
    SurgeryFlags surgery;
    /* Path of the model. */
    const char *model;
    const char *ids, *text; /* exactly one of these files is given */
    const char *out;        /* the file of logits */
    bool force;             /* replace it */
    int threads;            /* 0: as many as there are processors */
} Arguments;

/* The flags that only this verb has. */
static const Option own_options[] = {
    {.name = "ids",
     .type = OPTION_PATH,
     .value_name = "FILE",
     .offset = offsetof(Arguments, ids),
     .help = "token ids, separated by white space or commas; \"-\" is standard input"},
    {.name = "text",
     .type = OPTION_PATH,
     .value_name = "FILE",
     .offset = offsetof(Arguments, text),
     .help = "text, tokenized by the model's tokenizer; \"-\" is standard input"},
    {.name = "out",
     .type = OPTION_PATH,
     .value_name = "FILE",
     .offset = offsetof(Arguments, out),
     .help = "the file to write"},
    {.name = "force",
     .type = OPTION_BOOL,
     .offset = offsetof(Arguments, force),
     .help = "replace FILE.f32 if it exists"},
    {0},
};

/* All flags of the verb but those of passes, which come from the table of passes. */
static const OptionGroup groups[] = {
    {NULL, own_options, 0},
    {NULL, threads_option, offsetof(Arguments, threads)},
    {0},
};

/* Takes the operand: the model. */
static bool take_operand(void *arguments, const char *operand, Error *e) {
    Arguments *a = arguments;
    if (a->model) return cmd_usage(e, "one model, not '%s' as well", operand);
    a->model = operand;
    return true;
}

/* Where write_logits puts its rows; the context of that callback. */
typedef struct Sink {
    int fd;           /* the temporary file */
    const char *path; /* the output, for messages */
    size_t vocab;     /* floats in a row */
} Sink;

/* Called by the net with `count` rows of `vocab` logits each, in order of position; `first` is the position
 * of the first of them and not needed, as rows are appended. */
static bool write_logits(void *context, size_t first, size_t count, float *logits, Error *e) {
    (void)first;
    const Sink *s = context;
    return fd_write(s->fd, logits, count * s->vocab * sizeof *logits, s->path, e);
}

/* Runs the net over the tokens and writes its logits as they are computed: (tokens, vocab) fp32, which
 * together may not fit in memory. The file is written under a temporary name and renamed when it is
 * complete. */
static bool write_all(const Arguments *a, const Model *m, const TokenList *tokens, Error *e) {
    Output out;
    /* Check memory and the place of the output before the weights are decoded. */
    uint64_t bytes = net_weight_bytes(m) + kv_bytes(&m->spec, tokens->n);
    if (!memory_check(bytes, "this model at this length", e) ||
        !output_begin(&out, a->out, false, a->force, e))
        return false;
    Net *n = net_open(m, a->threads, e);
    /* Run from position 0 over all tokens. A signal makes net_run fail with ERR_INTERRUPTED. */
    Sink s = {.fd = file_open_output(out.temp, 0, NULL), .path = a->out, .vocab = m->spec.vocab};
    bool ok = n && (s.fd >= 0 || error_errno(e, "%s", a->out));
    KvCache *kv = ok ? kv_new(n, tokens->n, e) : NULL;
    if (kv) kv_watch(kv, &cmd_stop);
    ok = kv && net_run(n, kv, tokens->ids, tokens->n, 0, write_logits, &s, e);
    kv_free(kv);
    /* An interrupted run leaves no file, because logits of a part would be mistaken for all. */
    if (e->code == ERR_INTERRUPTED) error_set(e, e->code, "%s: interrupted; nothing was left behind", a->out);
    if (s.fd >= 0) ok = file_close_output(s.fd, a->out, ok ? e : NULL) && ok;
    /* Rename the file if all went well; otherwise output_discard removes it. */
    ok = ok && output_commit(&out, e);
    output_discard(&out);
    net_close(n);
    return ok;
}

/* Reads the tokens of --ids or --text. An id that is not in the model's vocabulary is an error. */
static bool read_tokens(const Arguments *a, const Model *m, TokenList *tokens, Error *e) {
    const char *path = a->ids ? a->ids : a->text;
    /* Ids are taken as they are; a text gets the special tokens of the tokenizer. */
    bool ok = a->ids ? token_ids_read(path, tokens, e) : text_file_tokens(m->source, path, tokens, e);
    if (ok && !tokens->n) return error_set(e, ERR_INPUT, "%s: no tokens", path);
    return ok && (tokens_known(&m->spec, tokens->ids, tokens->n, 0, e) || error_place(e, "%s", path));
}

/* Refuses to write over the file of tokens or over a file of the model, with or without --force. Files are
 * compared by device and inode, so that links are recognised. */
static bool check_not_an_input(const Arguments *a, const Checkpoint *source, Error *e) {
    struct stat out, in;
    const char *path = a->ids ? a->ids : a->text;
    if (stat(a->out, &out) == 0 && stat(path, &in) == 0 && out.st_dev == in.st_dev && out.st_ino == in.st_ino)
        return cmd_usage(e, "%s: is read from, and cannot be written to", path);
    return output_spares_source(source, a->out, e);
}

/* Opens the model, applies the surgery, reads the tokens and writes the logits. Surgery comes before the
 * checks of the output, so that a mistake in a flag is reported first. */
static bool compute(const Arguments *a, Error *e) {
    Checkpoint *source = checkpoint_open(a->model, e);
    Model *m = source ? model_open(source, e) : NULL;
    TokenList tokens = {0};
    bool ok = m && surgery_flags_apply(&a->surgery, m, e) && check_not_an_input(a, source, e) &&
              read_tokens(a, m, &tokens, e) && write_all(a, m, &tokens, e);
    token_list_free(&tokens);
    model_close(m);
    checkpoint_close(source);
    return ok;
}

/* The function of the verb (cmd/verb.h). */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    Arguments a = {.model = NULL};
    bool ok = command_line_parse(self, argc, argv, &a, take_operand, e);
    /* Exactly one of --ids and --text: both given or both missing is an error. */
    if (ok && (!a.model || !a.out || !a.ids == !a.text))
        ok = cmd_usage(e, "a model, --out and one of --ids and --text are needed (derope logits --help)");
    ok = ok && compute(&a, e);
    surgery_flags_free(&a.surgery);
    return ok;
}

const Verb verb_logits = {
    .name = "logits",
    .summary = "write the raw logits of every position of a text",
    .operands = "MODEL (--ids FILE | --text FILE) --out FILE.f32",
    .about =
        VERB_MODEL_IS "\n\nWrites an array of shape (tokens, vocabulary) in little-endian fp32, row by row.",
    .groups = groups,
    .takes_surgery = true,
    .examples = "  derope logits model.gguf --text page.txt --out page.f32 --drop-rope\n",
    .run = run,
};

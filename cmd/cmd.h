/* What the verbs share. A verb is a file in cmd/ and a line in the table of cmd/main.c. */
#ifndef DEROPE_CMD_CMD_H
#define DEROPE_CMD_CMD_H

#include <getopt.h>
#include <stdio.h>

#include "surgery/model.h"
#include "surgery/version.h"

typedef struct Verb {
    const char *name;
    const char *summary; /* one line in `derope --help` */
    const char *help;    /* the whole of `derope VERB --help` */
    /* Parses its own arguments with getopt_long (argv[0] is the verb). Returns false with `e` filled. */
    bool (*run)(int argc, char **argv, Error *e);
} Verb;

/* For help: what verbs that read a model take. */
#define MODEL_HELP "MODEL is an HF folder or a .zip of one, a .gguf, .safetensors or PyTorch file.\n\n"

extern const Verb verb_inspect, verb_convert, verb_ppl, verb_logits, verb_tokenize, verb_detokenize,
    verb_recal, verb_generate, verb_diff, verb_verify, verb_plan, verb_run, verb_eval;

/* Set by SIGINT/SIGTERM; long loops look at it. */
extern volatile int cmd_stop;
extern bool cmd_quiet;

/* A progress line on stderr: rewritten in place on a terminal, a plain line at most every 10 s otherwise,
 * nothing when quiet. */
void cmd_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cmd_progress_end(void);
/* "note: ..." on stderr unless quiet. */
void cmd_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A JSON value on stdout, indented, with a newline. */
void cmd_print_json(const json_t *v);
bool cmd_usage(Error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* ERR_USAGE, false */
/* More after the message in `e`. */
void cmd_advise(Error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Whole-number argument with optional k/M/G (powers of 1000; KiB.. with Ki/Mi/Gi). */
bool cmd_parse_u64(const char *option, const char *text, uint64_t *out, Error *e);
/* --threads; 0 means as many as there are processors. */
bool cmd_parse_threads(const char *text, int *out, Error *e);
bool cmd_parse_f64(const char *option, const char *text, double *out, Error *e);

/* Options and operands in any order; after "--" all are operands. */
typedef struct Scan {
    const char *operand; /* the last one met */
    bool begun, only_operands;
} Scan;
/* What getopt_long returns for the next option, 0 for an operand, -1 at the end. */
int cmd_next(Scan *s, int argc, char **argv, const struct option *options);
/* For verbs whose one option is --json; operands are argv[optind] to argv[argc - 1] afterwards. */
bool cmd_parse_json(int argc, char **argv, bool *json, Error *e);
/* "derope" and the verb's arguments as a shell would take them; the caller frees it. */
char *cmd_line(int argc, char *const *argv);
/* For what getopt_long returns as '?' or ':'. */
bool cmd_bad_option(Error *e, int option, char **argv);

#endif

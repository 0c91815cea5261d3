/* The table of verbs, and what happens around each: signals, errors, exit codes. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "formats/clock.h"
#include "formats/output.h"
#include "recal/gemm.h"

/* clang-format off */
static const Verb *const verbs[] = {
    &verb_inspect,
    &verb_convert,
    &verb_recal,
    &verb_run,
    &verb_plan,
    &verb_ppl,
    &verb_eval,
    &verb_generate,
    &verb_logits,
    &verb_tokenize,
    &verb_detokenize,
    &verb_diff,
    &verb_verify,
    NULL,
};
/* clang-format on */

/* Asked twice, there is no grace. What comes at once is one request: timeout(1) signals its child, and then
 * the group that the child is in. */
static void on_stop(int signal) {
    static const double one_request = 0.5; /* seconds */
    static volatile double first;
    (void)signal;
    if (cmd_stop && clock_seconds() - first > one_request) {
        output_discard_all();
        _exit(ERR_INTERRUPTED);
    }
    if (!cmd_stop) first = clock_seconds();
    cmd_stop = 1;
}

/* A mapped file that shrinks under us raises SIGBUS: say so, leave nothing half-written. */
static void on_bus(int signal) {
    (void)signal;
    static const char text[] = "derope: an input file shrank or became unreadable while it was being read\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {}
    output_discard_all();
    _exit(ERR_INPUT);
}

static void install_handlers(void) {
    struct sigaction stop = {.sa_handler = on_stop}, bus = {.sa_handler = on_bus}, hangup;
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGBUS, &bus, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* a terminal that closes interrupts, unless nohup says otherwise */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &stop, NULL);
}

/* What was printed arrived: a full disk may have refused an earlier part of it. */
static bool flush_output(Error *e) {
    if (fflush(stdout) != 0) return error_errno(e, "standard output");
    return !ferror(stdout) || error_set(e, ERR_FAILED, "standard output: could not be written");
}

static void print_help(FILE *f) {
    fprintf(f,
            "derope %s: model surgery on published language-model checkpoints, without PyTorch\n\n"
            "usage: derope VERB [ARGUMENTS]     derope VERB --help tells more\n\n",
            DEROPE_VERSION);
    for (const Verb *const *v = verbs; *v; v++)
        fprintf(f, "  %-11s %s\n", (*v)->name, (*v)->summary);
    fprintf(f, "\noptions: --quiet (no progress, no notes); before the verb also --version, --help\n"
               "exit status: 0 done, 1 failed, 2 usage, 3 bad input file, 4 bad recipe, 5 interrupted\n");
}

static const Verb *find_verb(const char *name) {
    for (const Verb *const *v = verbs; *v; v++)
        if (strcmp((*v)->name, name) == 0) return *v;
    return NULL;
}

static bool asks_for_help(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

/* --quiet serves after the verb as well: it leaves `argv`, whose new length is returned. */
static int take_quiet(int argc, char **argv) {
    int n = 0, i = 0;
    for (; i < argc && strcmp(argv[i], "--"); i++) {
        bool quiet = strcmp(argv[i], "--quiet") == 0;
        cmd_quiet |= quiet;
        if (!quiet) argv[n++] = argv[i];
    }
    while (i < argc)
        argv[n++] = argv[i++];
    return n;
}

int main(int argc, char **argv) {
    gemm_wake(argv);
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--quiet") == 0 || strcmp(argv[at], "-q") == 0) {
            cmd_quiet = true;
        } else if (strcmp(argv[at], "--version") == 0) {
            printf("derope %s\n", DEROPE_VERSION);
            return 0;
        } else if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            print_help(stdout);
            return 0;
        } else {
            fprintf(stderr, "derope: unknown option '%s' before the verb (derope --help)\n", argv[at]);
            return ERR_USAGE;
        }
    }
    if (at == argc) {
        print_help(stderr);
        return ERR_USAGE;
    }
    const Verb *verb = find_verb(argv[at]);
    if (!verb) {
        fprintf(stderr, "derope: unknown verb '%s' (derope --help lists them)\n", argv[at]);
        return ERR_USAGE;
    }
    if (asks_for_help(argc - at, argv + at)) {
        fputs(verb->help, stdout);
        return 0;
    }
    install_handlers();
    Error e = {0};
    bool ok = verb->run(take_quiet(argc - at, argv + at), argv + at, &e);
    cmd_progress_end();
    ok = ok && flush_output(&e);
    if (!ok) fprintf(stderr, "derope %s: %s\n", verb->name, e.message);
    output_discard_all();
    return ok ? 0 : e.code ? (int)e.code : ERR_FAILED;
}

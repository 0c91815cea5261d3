/* The program: finds the verb (cmd/verb_table.c), runs it, and handles everything around it: --quiet and
 * --help, the error message and the exit status, which is the error's code (formats/error.h). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/help_text.h"
#include "cmd/signals.h"
#include "cmd/verb_table.h"
#include "formats/json.h"
#include "formats/output.h"
#include "recal/gemm.h"
#include "surgery/version.h"

/* Opens /dev/null in the place of each standard stream that is closed. Otherwise the first files that are
 * opened would get the numbers 0 to 2, and lines of progress would be written into an output. Each stream is
 * opened in the direction that it is not used in: reading a closed input and printing to a closed output are
 * errors, as they would be without /dev/null. False if it cannot be opened. */
static bool open_standard_streams(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

/* Whether everything that was printed on standard output was written. The last write may succeed although a
 * full disk refused an earlier one, so the stream's error flag is checked as well. */
static bool flush_output(Error *e) {
    if (fflush(stdout) != 0) return error_errno(e, "standard output");
    return !ferror(stdout) || error_set(e, ERR_FAILED, "standard output: could not be written");
}

/* ---- options that do not belong to a verb ---- */

/* Whether a word asks for help. "-h" is no flag of any verb, and is what people try first. */
static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Whether one of the words after the verb asks for help. After "--" they are operands. */
static bool asks_for_help(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        if (is_help(argv[i])) return true;
    return false;
}

/* Handles --quiet after the verb. Removes it from `argv`, whose words from "--" on are left as they are, and
 * returns the new number of words. */
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

/* Prints the help of a verb, or with NULL the list of verbs. */
static void print_help(const Verb *v, FILE *f) {
    Buffer text = {0};
    if (v)
        help_verb(v, &text);
    else
        help_overview(&text);
    fwrite(text.data, 1, text.size, f);
    buffer_free(&text);
}

/* Handles the options before the verb: --quiet, --version and --help. Returns the index of the verb in
 * `argv`, or 0 with the exit status in `*status` if there is nothing more to do. */
static int options_before_verb(int argc, char **argv, int *status) {
    int at = 1;
    *status = 0;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--quiet") == 0 || strcmp(argv[at], "-q") == 0) {
            cmd_quiet = true;
        } else if (strcmp(argv[at], "--version") == 0) {
            printf("derope %s\n", DEROPE_VERSION);
            return 0;
        } else if (is_help(argv[at])) {
            print_help(NULL, stdout);
            return 0;
        } else {
            fprintf(stderr, "derope: unknown option '%s' before the verb (derope --help)\n", argv[at]);
            *status = ERR_USAGE;
            return 0;
        }
    }
    /* Without a verb, the list of verbs goes to standard error, as the command line is wrong. */
    if (at < argc) return at;
    print_help(NULL, stderr);
    *status = ERR_USAGE;
    return 0;
}

int main(int argc, char **argv) {
    if (!open_standard_streams()) return ERR_FAILED;
    gemm_select_kernels(argv);
    /* What ends the program in the middle, such as the end of memory, removes temporary outputs by exit(). */
    json_use_own_memory();
    atexit(output_discard_all);
    Error e = {0};
    int status, at = options_before_verb(argc, argv, &status);
    if (!at) return status;
    const Verb *verb = verb_by_name(argv[at], &e);
    if (!verb) {
        fprintf(stderr, "derope: %s\n", e.message);
        return ERR_USAGE;
    }
    if (asks_for_help(argc - at, argv + at)) {
        print_help(verb, stdout);
        return 0;
    }
    /* Run the verb with its own name as argv[0], then report what happened. */
    signals_install();
    bool ok = verb->run(verb, take_quiet(argc - at, argv + at), argv + at, &e);
    cmd_progress_end();
    ok = ok && flush_output(&e);
    if (!ok) fprintf(stderr, "derope %s: %s\n", verb->name, e.message);
    return ok ? 0 : e.code ? (int)e.code : ERR_FAILED;
}

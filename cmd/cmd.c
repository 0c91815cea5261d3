/* What all verbs use while they run (cmd.h): the flag that a signal sets, progress and notes on standard
 * error, JSON on standard output, and shorthands for errors. The three variables are global because a signal
 * handler can reach nothing else, and because whether a line of progress is open is a property of the
 * terminal. Code below cmd/ (recal, surgery, formats) does not see them; it gets a pointer to cmd_stop where
 * it has long loops. */
#include "cmd/cmd.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/clock.h"
#include "formats/json.h"

volatile int cmd_stop;
bool cmd_quiet;
/* Whether a line of progress without its newline is on the terminal. Also read by the handler of a signal. */
static volatile sig_atomic_t progress_open;

/* write() is used because stdio is not safe in the handler of a signal. */
void cmd_say_stopping(void) {
    static const char text[] = "\nderope: finishing this step; another Ctrl-C ends the program at once\n";
    int skip = progress_open ? 0 : 1; /* the newline that ends an open line of progress */
    int saved = errno;
    if (!cmd_quiet && write(STDERR_FILENO, text + skip, sizeof text - 1 - (size_t)skip) < 0) {}
    progress_open = 0;
    errno = saved;
}

void cmd_progress(const char *fmt, ...) {
    /* When the last line was printed, in seconds; 0 before the first. */
    static double last;
    if (cmd_quiet) return;
    /* Leave the line out if the last one was printed too recently. */
    bool terminal = isatty(STDERR_FILENO);
    double now = clock_seconds();
    if (last == 0 && !terminal) last = now; /* A run of less than 10 s leaves no line in a log. */
    if (now - last < (terminal ? 0.1 : 10.0)) return;
    last = now;
    va_list ap;
    va_start(ap, fmt);
    /* On a terminal the line is overwritten from its start, and what is left of a longer one before it is
     * erased by the escape sequence "erase to the end of the line". */
    if (terminal) fputs("\r", stderr);
    vfprintf(stderr, fmt, ap);
    fputs(terminal ? "\033[K" : "\n", stderr);
    va_end(ap);
    fflush(stderr);
    progress_open = terminal;
}

void cmd_progress_end(void) {
    /* Progress that was not on a terminal ended with a newline already. */
    if (progress_open) fputc('\n', stderr);
    progress_open = false;
}

/* An open line of progress is ended first, so that the note has a line of its own. */
void cmd_note(const char *fmt, ...) {
    if (cmd_quiet) return;
    cmd_progress_end();
    va_list ap;
    va_start(ap, fmt);
    fputs("note: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

void cmd_print_json(const json_t *v) {
    Buffer b = {0};
    /* Two spaces for each level. */
    json_print(v, 2, &b);
    buffer_byte(&b, '\n');
    fwrite(b.data, 1, b.size, stdout);
    buffer_free(&b);
}

bool cmd_usage(Error *e, const char *fmt, ...) {
    /* The message replaces whatever `e` had. */
    va_list ap;
    va_start(ap, fmt);
    e->code = ERR_USAGE;
    vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    return false;
}

/* A message that fills its memory is left as it is or cut at the end. */
void cmd_advise(Error *e, const char *fmt, ...) {
    /* The addition begins where the message ends, and is cut where its memory ends. */
    size_t n = strlen(e->message);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->message + n, sizeof e->message - n, fmt, ap);
    va_end(ap);
}

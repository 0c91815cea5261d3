/* The handlers of signals: see cmd/signals.h. They call only functions that are safe in a handler: write(),
 * _exit(), clock_gettime(), and those of derope whose headers say so. */
#include "cmd/signals.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "formats/clock.h"
#include "formats/file.h"
#include "formats/output.h"

/* Handler of SIGINT, SIGTERM and SIGHUP. The first signal asks the verb to stop and save what it has; a
 * second one ends the program at once. Signals within half a second of the first count as the same request,
 * because timeout(1) signals its child and then the process group that the child is in. */
static void on_stop(int signal) {
    static const uint64_t one_request = 500;    /* milliseconds */
    static atomic_uint_least64_t first_request; /* milliseconds; 0 before the first signal */
    (void)signal;
    uint64_t now = (uint64_t)(1000 * clock_seconds()) + 1, none = 0;
    if (atomic_compare_exchange_strong(&first_request, &none, now)) {
        cmd_stop = 1;
        cmd_say_stopping();
    } else if (now - none > one_request) { /* the exchange failed and left the time of the first in `none` */
        output_discard_all();
        _exit(ERR_INTERRUPTED);
    }
}

/* Writes text to standard error without stdio. */
static void say(const char *text) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {}
}

/* Handler of SIGBUS, which a mapped input file raises if it is truncated, or if its disk fails, while it is
 * read. It names the file, removes outputs that are half written, and ends the program. */
static void on_bus(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    char path[PATH_MAX];
    say("derope: ");
    say(file_mapped_at(info->si_addr, path) ? path : "an input file");
    say(": shrank or became unreadable while it was being read\n");
    output_discard_all();
    _exit(ERR_INPUT);
}

void signals_install(void) {
    /* System calls that a request to stop interrupts are repeated by the kernel where it can. */
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART}, hangup;
    struct sigaction bus = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGBUS, &bus, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* A terminal that closes interrupts like Ctrl-C, unless nohup has SIGHUP ignored. */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &stop, NULL);
}

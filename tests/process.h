/* The derope binary as a script meets it: started and left running, sent signals, given a disk that is full
 * or cannot be written. tiny_model.h has the plain case, which runs it and waits. */
#ifndef DEROPE_TESTS_PROCESS_H
#define DEROPE_TESTS_PROCESS_H

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "formats/file.h"
#include "formats/json.h"
#include "tests/tiny_model.h"

/* Runs a shell command in scratch() and returns its exit status. */
static inline int run_shell(const char *command) {
    char line[2 * PATH_MAX];
    snprintf(line, sizeof line, "cd '%s' && { %s; }", scratch(), command);
    return WEXITSTATUS(system(line));
}

/* The JSON in scratch()/name; the caller decrefs it. */
static inline json_t *scratch_json(const char *name) {
    Buffer text = {0};
    Error e = {0};
    assert_true(file_read(scratch_path(name), 1 << 22, &text, &e));
    json_t *v = json_parse(name, text.data, text.size, &e);
    buffer_free(&text);
    assert_non_null(v);
    return v;
}

/* Starts `derope ARGUMENTS` in scratch() and does not wait. What it prints on either stream goes to
 * scratch()/said. */
static inline pid_t start_derope(const char *arguments) {
    char command[4 * PATH_MAX], binary[PATH_MAX];
    const char *named = getenv("DEROPE");
    assert_non_null(realpath(named ? named : "build/derope", binary));
    snprintf(command, sizeof command, "cd '%s' && exec '%s' %s > said 2>&1", scratch(), binary, arguments);
    pid_t child = fork();
    if (child ==
        0) { /* tests that a shell started in the background ignore signals, and a child would inherit that */
        static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
        for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
            signal(signals[i], SIG_DFL);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(99);
    }
    assert_true(child > 0);
    return child;
}

/* What the last started program printed; valid until the next call. */
static inline const char *said(void) {
    static Buffer text;
    Error e = {0};
    text.size = 0;
    assert_true(file_read(scratch_path("said"), 1 << 20, &text, &e));
    return buffer_string(&text);
}

/* Waits for the child, which must end by itself with this exit status and have printed `text`. */
static inline void assert_ends(pid_t child, int status, const char *text) {
    int found;
    assert_int_equal(waitpid(child, &found, 0), child);
    if (!WIFEXITED(found) || WEXITSTATUS(found) != status || !strstr(said(), text))
        fail_msg("ended with %x, '%s'; expected exit %d and '%s'", (unsigned)found, said(), status, text);
}

/* Waits until `ready` returns true for the child; false if the child ended before. */
static inline bool wait_until(pid_t child, bool (*ready)(pid_t child)) {
    siginfo_t ended = {0};
    while (!ready(child)) {
        if (waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == child)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    return true;
}

/* Starts `derope ARGUMENTS`, sends it `signal` once it is `ready`, and asserts that it ends with status 5,
 * which stands for an interruption, and prints `text`. */
static inline void assert_interrupted(const char *arguments, bool (*ready)(pid_t child), int signal,
                                      const char *text) {
    pid_t child = start_derope(arguments);
    if (wait_until(child, ready)) kill(child, signal);
    assert_ends(child, 5, text);
}

/* Whether the child has installed its handlers. SIGTERM shows it, because the shell that starts the child has
 * a handler for SIGINT of its own. Threads alone do not show it, because a library may start some before
 * main() runs. */
static inline bool catches_signals(pid_t child) {
    char path[64], line[256];
    unsigned long long caught = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)child);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "SigCgt: %llx", &caught) != 1) {}
    if (f) fclose(f);
    return caught >> (SIGTERM - 1) & 1;
}

/* Whether the child has started its worker threads, which it does after reading the weights. */
static inline bool has_threads(pid_t child) {
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/task", (int)child);
    return stat(path, &st) == 0 &&
           st.st_nlink > 3 /* the links of a folder: ".", ".." and one for each thread */
           && catches_signals(child);
}

/* Whether this machine lets an unprivileged user mount a file system in a namespace of their own. */
static inline bool may_mount(void) {
    char command[PATH_MAX];
    snprintf(command, sizeof command, "unshare -rm mount -t tmpfs tmpfs '%s' > /dev/null 2>&1", scratch());
    return system(command) == 0;
}

/* Runs `derope ARGUMENTS` where scratch()/disk is a tmpfs mounted with `options`, such as a size, and returns
 * its exit status. The mount exists only in a namespace that ends with the command, so the output ends with a
 * list of the files that were left on it. */
static inline int run_on_disk(const char *options, const char *arguments, const char **words) {
    static char text[1 << 14];
    char command[4 * PATH_MAX], binary[PATH_MAX];
    const char *named = getenv("DEROPE");
    assert_non_null(realpath(named ? named : "build/derope", binary));
    snprintf(command, sizeof command,
             "cd '%s' && mkdir -p disk && unshare -rm sh -c \"mount -t tmpfs -o %s tmpfs disk && '%s' %s; "
             "status=\\$?; echo left: \\$(ls -A disk); exit \\$status\" 2>&1",
             scratch(), options, binary, arguments);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    text[fread(text, 1, sizeof text - 1, p)] = 0;
    *words = text;
    return WEXITSTATUS(pclose(p));
}

#endif

/* The program as a script meets it: started and left running, sent signals, given a small disk. */
#ifndef DEROPE_TESTS_PROCESS_H
#define DEROPE_TESTS_PROCESS_H

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "formats/file.h"
#include "formats/json.h"
#include "tests/tiny_model.h"

/* A shell command in scratch(); its exit status. */
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

/* Starts `derope ARGUMENTS` in scratch(), its words going to scratch()/said. */
static inline pid_t start_derope(const char *arguments) {
    char command[4 * PATH_MAX], binary[PATH_MAX];
    const char *named = getenv("DEROPE");
    assert_non_null(realpath(named ? named : "build/derope", binary));
    snprintf(command, sizeof command, "cd '%s' && exec '%s' %s > said 2>&1", scratch(), binary, arguments);
    pid_t child = fork();
    if (child == 0) { /* a shell that put the tests in the background has them ignore signals */
        static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
        for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
            signal(signals[i], SIG_DFL);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(99);
    }
    assert_true(child > 0);
    return child;
}

/* What the program said, valid until the next call. */
static inline const char *said(void) {
    static Buffer text;
    Error e = {0};
    text.size = 0;
    assert_true(file_read(scratch_path("said"), 1 << 20, &text, &e));
    return buffer_string(&text);
}

/* It ended by itself, with that status, and said that. */
static inline void assert_ends(pid_t child, int status, const char *text) {
    int found;
    assert_int_equal(waitpid(child, &found, 0), child);
    if (!WIFEXITED(found) || WEXITSTATUS(found) != status || !strstr(said(), text))
        fail_msg("ended with %x, '%s'; expected exit %d and '%s'", (unsigned)found, said(), status, text);
}

/* Waits until `ready` says so; false if the child has ended before. */
static inline bool wait_until(pid_t child, bool (*ready)(pid_t child)) {
    siginfo_t ended = {0};
    while (!ready(child)) {
        if (waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == child)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    return true;
}

/* Starts `derope ARGUMENTS`, sends `signal` once `ready`, and has it end with 5 and `text`. */
static inline void assert_interrupted(const char *arguments, bool (*ready)(pid_t child), int signal,
                                      const char *text) {
    pid_t child = start_derope(arguments);
    if (wait_until(child, ready)) kill(child, signal);
    assert_ends(child, 5, text);
}

/* It catches SIGINT: a library may start threads before main() has installed its handlers. */
static inline bool catches_signals(pid_t child) {
    char path[64], line[256];
    unsigned long long caught = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)child);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "SigCgt: %llx", &caught) != 1) {}
    if (f) fclose(f);
    return caught >> (SIGINT - 1) & 1;
}

/* It has its worker threads, so the weights are read and work goes on. */
static inline bool has_threads(pid_t child) {
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/task", (int)child);
    return stat(path, &st) == 0 && st.st_nlink > 3 /* ".", "..", one folder a thread */
           && catches_signals(child);
}

/* Mounts need a user namespace, which some machines deny. */
static inline bool may_mount(void) {
    char command[PATH_MAX];
    snprintf(command, sizeof command, "unshare -rm mount -t tmpfs tmpfs '%s' > /dev/null 2>&1", scratch());
    return system(command) == 0;
}

/* `derope ARGUMENTS` where scratch()/disk is a tmpfs mounted with `options` (in a mount namespace that ends
 * with the command), which is then listed; its exit status. */
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

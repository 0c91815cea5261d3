#include "cmd/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/clock.h"
#include "formats/json.h"

volatile int cmd_stop;
bool cmd_quiet;
static bool progress_open; /* a line without its newline is on the terminal */

void cmd_progress(const char *fmt, ...) {
    static double last;
    if (cmd_quiet) return;
    bool terminal = isatty(STDERR_FILENO);
    double now = clock_seconds();
    if (last == 0 && !terminal) last = now; /* a short run leaves no line in a log */
    if (now - last < (terminal ? 0.1 : 10.0)) return;
    last = now;
    va_list ap;
    va_start(ap, fmt);
    if (terminal) fputs("\r", stderr);
    vfprintf(stderr, fmt, ap);
    fputs(terminal ? "\033[K" : "\n", stderr);
    va_end(ap);
    fflush(stderr);
    progress_open = terminal;
}

void cmd_progress_end(void) {
    if (progress_open) fputc('\n', stderr);
    progress_open = false;
}

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
    json_print(v, 2, &b);
    buffer_byte(&b, '\n');
    fwrite(b.data, 1, b.size, stdout);
    buffer_free(&b);
}

bool cmd_usage(Error *e, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    e->code = ERR_USAGE;
    vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    return false;
}

void cmd_advise(Error *e, const char *fmt, ...) {
    size_t n = strlen(e->message);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->message + n, sizeof e->message - n, fmt, ap);
    va_end(ap);
}

int cmd_next(Scan *s, int argc, char **argv, const struct option *options) {
    if (!s->begun) optind = 1;
    s->begun = true;
    if (!s->only_operands && optind < argc && strcmp(argv[optind], "--") == 0) {
        s->only_operands = true;
        optind++;
    }
    if (optind == argc) return -1;
    opterr = 0;
    if (!s->only_operands && argv[optind][0] == '-' && argv[optind][1])
        return getopt_long(argc, argv, "+:", options, NULL);
    s->operand = argv[optind++];
    return 0;
}

bool cmd_bad_option(Error *e, int option, char **argv) {
    const char *text = argv[optind - 1];
    return cmd_usage(
        e, option == ':' ? "%s needs a value (derope %s --help)" : "unknown option '%s' (derope %s --help)",
        text, argv[0]);
}

bool cmd_parse_u64(const char *option, const char *text, uint64_t *out, Error *e) {
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (end == text || errno || !isdigit((unsigned char)text[0]))
        return cmd_usage(e, "%s: '%s' is not a whole number", option, text);
    uint64_t unit = 1, base = 1000;
    const char *units = "kmgt";
    if (*end) {
        const char *u = strchr(units, tolower((unsigned char)*end));
        if (!u)
            return cmd_usage(e, "%s: '%s': unknown unit '%s' (k, M, G, T; Ki, Mi, Gi, Ti)", option, text,
                             end);
        end++;
        if (*end == 'i') {
            base = 1024;
            end++;
        }
        if (*end == 'B') end++;
        for (const char *p = units; p <= u; p++)
            unit *= base;
    }
    if (*end || !mul_u64(v, unit, out)) return cmd_usage(e, "%s: '%s' is not a size", option, text);
    return true;
}

bool cmd_parse_threads(const char *text, int *out, Error *e) {
    uint64_t n;
    if (!cmd_parse_u64("--threads", text, &n, e)) return false;
    if (n > 1024) return cmd_usage(e, "--threads: %s is more than 1024", text);
    *out = (int)n;
    return true;
}

bool cmd_parse_f64(const char *option, const char *text, double *out, Error *e) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    if (end == text || *end || errno || !isfinite(*out))
        return cmd_usage(e, "%s: '%s' is not a number", option, text);
    return true;
}

bool cmd_parse_json(int argc, char **argv, bool *json, Error *e) {
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
    int option;
    *json = false;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (option != 'j') return cmd_bad_option(e, option, argv);
        *json = true;
    }
    return true;
}

char *cmd_line(int argc, char *const *argv) {
    Buffer b = {0};
    buffer_printf(&b, "derope");
    for (int i = 0; i < argc; i++) {
        bool plain = argv[i][0] && !argv[i][strcspn(argv[i], " '\"\\$`*?[]{}()<>|&;~#!\n\t")];
        buffer_printf(&b, plain ? " %s" : " '", argv[i]);
        for (const char *p = argv[i]; !plain && *p; p++)
            buffer_printf(&b, *p == '\'' ? "'\\''" : "%c", *p);
        if (!plain) buffer_byte(&b, '\'');
    }
    return buffer_string(&b);
}

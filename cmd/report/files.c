/* A report's files: the page, and beside it the numbers for programs. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/output.h"
#include "cmd/report/report.h"
#include "formats/file.h"
#include "formats/json.h"

static void render_json(const json_t *results, Buffer *out) {
    json_print(results, 1, out);
    buffer_byte(out, '\n');
}

static const struct {
    const char *ending;
    void (*render)(const json_t *results, Buffer *out);
} written[] = {{".html", report_html}, {".json", render_json}, {".csv", report_csv}};
enum { WRITTEN = sizeof written / sizeof *written };

char *report_beside(const char *page, const char *ending) {
    size_t n = strlen(page);
    Buffer b = {0};
    if (n > 5 && strcmp(page + n - 5, ".html") == 0) n -= 5;
    buffer_printf(&b, "%.*s%s", (int)n, page, ending);
    return buffer_string(&b);
}

bool report_may_begin(const char *page, bool force, Error *e) {
    bool ok = true;
    for (size_t i = 0; ok && i < WRITTEN; i++) {
        char *path = report_beside(page, written[i].ending);
        ok = output_may_begin(path, false, force, e);
        free(path);
    }
    return ok;
}

bool report_is_ours(const char *page) {
    char *path = report_beside(page, ".json");
    Buffer text = {0};
    Error ignored = {0};
    json_t *there = NULL;
    if (access(path, F_OK) == 0 && file_read(path, 1 << 28, &text, &ignored))
        there = json_parse(path, text.data, text.size, &ignored);
    bool ours = json_get_string(there, "derope") && json_object_get(there, "models");
    json_decref(there);
    buffer_free(&text);
    free(path);
    return ours;
}

bool report_write(const char *page, const json_t *results, bool force, Error *e) {
    bool ok = true;
    for (size_t i = 0; ok && i < WRITTEN; i++) {
        char *path = report_beside(page, written[i].ending);
        Buffer text = {0};
        written[i].render(results, &text);
        ok = file_write(path, text.data, text.size, force, e);
        buffer_free(&text);
        free(path);
    }
    return ok;
}

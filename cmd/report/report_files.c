/* The files of a report (report_files.h): page, results and CSV, all with the stem of the page. `derope
 * eval` and `derope run` check with report_may_begin before they measure and write at the end. `derope run`
 * writes with report_renew, which leaves files alone whose results say the same. */
#include "cmd/report/report_files.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/report/report_csv.h"
#include "cmd/report/report_html.h"
#include "formats/file.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/output.h"
#include "formats/text.h"

/* A results file that is read back may have up to 256 MB. */
enum { MAX_RESULTS_BYTES = 1 << 28 };

/* The results as they are: `report_renew` reads them back from this file. */
static void render_json(const json_t *results, Buffer *out) {
    json_print(results, 1, out);
    buffer_byte(out, '\n');
}

/* The files and what writes each. */
static const struct {
    const char *ending;
    void (*render)(const json_t *results, Buffer *out);
} files[] = {{".html", report_html}, {".json", render_json}, {".csv", report_csv}};
_Static_assert(sizeof files / sizeof *files == REPORT_FILES, "REPORT_FILES counts the table");

/* Replaces the ending .html, or appends if the page has another one. */
char *report_beside(const char *page, const char *ending) {
    size_t n = strlen(page);
    Buffer b = {0};
    if (n > 5 && text_ends_with(page, ".html")) n -= 5;
    buffer_printf(&b, "%.*s%s", (int)n, page, ending);
    return buffer_string(&b);
}

/* All files share the stem of the page. */
char *report_file(const char *page, size_t i) {
    return report_beside(page, files[i].ending);
}

/* All of them are checked before anything is measured, so that hours of work do not end in a refusal. */
bool report_may_begin(const char *page, bool force, Error *e) {
    bool ok = true;
    for (size_t i = 0; ok && i < REPORT_FILES; i++) {
        char *path = report_file(page, i);
        ok = output_may_begin(path, false, force, e);
        free(path);
    }
    return ok;
}

/* The results beside the page, new reference; NULL if there are none or they are damaged. */
static json_t *results_there(const char *page) {
    char *path = report_beside(page, ".json");
    Buffer text = {0};
    Error ignored = {0};
    json_t *there = NULL;
    if (access(path, F_OK) == 0 && file_read(path, MAX_RESULTS_BYTES, &text, &ignored))
        there = json_parse(path, text.data, text.size, &ignored);
    buffer_free(&text);
    free(path);
    return there;
}

/* A page says little about who made it. The JSON beside it does: derope writes its version and a list of
 * models. */
bool report_is_ours(const char *page) {
    json_t *there = results_there(page);
    bool ours = json_get_string(there, "derope") && json_object_get(there, "models");
    json_decref(there);
    return ours;
}

/* Only these members count. Everything else in results changes from one run to the next. */
void report_key(const json_t *results, char out[33]) {
    static const char *const said[] = {"derope", "texts", "settings", "models", "perplexity", "tasks"};
    /* Time, command and machine are left out, so that repeating an evaluation on the same inputs gives the
     * same key. */
    json_t *kept = json_object();
    Buffer text = {0};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        json_object_set(kept, said[i], json_object_get(results, said[i]));
    json_print(kept, 0, &text);
    hash_bytes(text.data, text.size, out);
    buffer_free(&text);
    json_decref(kept);
}

/* Whether all files stand there and were made from results that say the same. */
static bool report_holds(const char *page, const json_t *results) {
    char wanted[33], found[33];
    json_t *there = results_there(page);
    report_key(results, wanted);
    report_key(there, found);
    bool holds = there && strcmp(wanted, found) == 0;
    for (size_t i = 0; holds && i < REPORT_FILES; i++) {
        char *path = report_file(page, i);
        holds = access(path, F_OK) == 0;
        free(path);
    }
    json_decref(there);
    return holds;
}

/* Each file is written under a temporary name and renamed, so a page is never seen half written. */
bool report_write(const char *page, const json_t *results, bool force, Error *e) {
    bool ok = true;
    for (size_t i = 0; ok && i < REPORT_FILES; i++) {
        char *path = report_file(page, i);
        Buffer text = {0};
        files[i].render(results, &text);
        ok = file_write(path, text.data, text.size, force, e);
        /* Only the page is announced; the other two lie beside it. */
        if (ok && i == 0) cmd_note("wrote %s", path);
        buffer_free(&text);
        free(path);
    }
    return ok;
}

bool report_renew(const char *page, const json_t *results, bool force, Error *e) {
    return (!force && report_holds(page, results)) || report_write(page, results, true, e);
}

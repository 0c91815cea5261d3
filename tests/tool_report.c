/* The report of results that are there already.
 *   tool_report RESULTS.json html|csv|perplexity|needle      prints it
 *   tool_report RESULTS.json card [FRONT.json] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/report/report_card.h"
#include "cmd/report/report_csv.h"
#include "cmd/report/report_html.h"
#include "cmd/report/report_picture.h"
#include "formats/json.h"

static json_t *load(const char *path) {
    json_error_t e;
    json_t *v = json_load_file(path, 0, &e);
    if (!v) {
        fprintf(stderr, "%s:%d: %s\n", path, e.line, e.text);
        exit(1);
    }
    return v;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    json_t *results = load(argv[1]), *front = argc > 3 ? load(argv[3]) : NULL;
    Buffer out = {0};
    if (!strcmp(argv[2], "html"))
        report_html(results, &out);
    else if (!strcmp(argv[2], "csv"))
        report_csv(results, &out);
    else if (!strcmp(argv[2], "card"))
        report_card(results, front, &out);
    else
        report_picture(results, argv[2], &out);
    fwrite(out.data, 1, out.size, stdout);
    buffer_free(&out);
    json_decref(results);
    json_decref(front);
    return 0;
}

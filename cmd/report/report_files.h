/* The files of a report: the page OUT.html, with OUT.json (the results) and OUT.csv beside it. */
#ifndef DEROPE_CMD_REPORT_REPORT_FILES_H
#define DEROPE_CMD_REPORT_REPORT_FILES_H

#include <jansson.h>

#include "formats/error.h"

enum { REPORT_FILES = 3 };

/* The path of a file beside the page: "out/report.html" and ".state" give "out/report.state". The caller
 * frees it. */
char *report_beside(const char *page, const char *ending);
/* The path of the `i`-th file (i < REPORT_FILES), the page being the first. The caller frees it. */
char *report_file(const char *page, size_t i);
/* Whether all files can be written; asked before the work. An existing one needs `force`. */
bool report_may_begin(const char *page, bool force, Error *e);
/* Whether the files that stand there are a report that derope wrote, which a later run may replace. */
bool report_is_ours(const char *page);
/* Hash (32 hexadecimal digits) of what the results say. It leaves out date, duration, machine and command, so
 * that measuring the same again gives the same hash. */
void report_key(const json_t *results, char out[33]);
/* Writes all files, and a notice that names the page. */
bool report_write(const char *page, const json_t *results, bool force, Error *e);
/* Writes all files over what stands there, unless they are all there and say the same as `results`
 * (report_key). With `force` they are written in any case. */
bool report_renew(const char *page, const json_t *results, bool force, Error *e);

#endif

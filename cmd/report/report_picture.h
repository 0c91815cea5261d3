/* Pictures as SVG files of their own, for a model card or a README. */
#ifndef DEROPE_CMD_REPORT_REPORT_PICTURE_H
#define DEROPE_CMD_REPORT_REPORT_PICTURE_H

#include "cmd/report/result_rows.h"

/* The names that a model card refers to. */
#define PICTURE_PERPLEXITY "perplexity.svg"
#define PICTURE_NEEDLE "needle.svg"

/* Appends the picture `which`: "perplexity" (by length, with intervals), "needle" (length by depth, one map
 * for each series) or "needle-by-length" (the same scores over all depths, as lines). Nothing if the results
 * have no data for it, or there is no such picture. */
void report_picture(const json_t *results, const char *which, Buffer *out);
/* The task that the pictures of needles are about: the one of that name, else the first that has depths;
 * d->n_tasks if there is none. */
size_t report_picture_task(ReportData *d);

#endif

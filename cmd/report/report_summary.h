/* What the numbers of an evaluation say, in plain sentences at the head of page and card. */
#ifndef DEROPE_CMD_REPORT_REPORT_SUMMARY_H
#define DEROPE_CMD_REPORT_REPORT_SUMMARY_H

#include "cmd/report/result_rows.h"

/* Fills `out` with at most `max` sentences (arena memory) and returns how many. Where intervals overlap, a
 * sentence says that the order is open; it never claims more than the intervals support. */
size_t report_summary(ReportData *d, const char **out, size_t max);

#endif

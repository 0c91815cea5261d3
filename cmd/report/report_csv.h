/* Every number of an evaluation as CSV, for spreadsheets and scripts. */
#ifndef DEROPE_CMD_REPORT_REPORT_CSV_H
#define DEROPE_CMD_REPORT_REPORT_CSV_H

#include <jansson.h>

#include "formats/buffer.h"

/* Appends one line per number, including those that the page has no room for, in the columns
 *
 *   table,model,method,softmax_scale,task,length,times_context,depth,position,metric,value,low,high,n
 *
 * `table` is perplexity, position, task or recalibration; `length` and `position` are tokens; `n` counts the
 * tokens or trials that the value rests on. An empty field means that the column does not apply, or that the
 * results do not say. Fields are quoted as RFC 4180 says, lines end in LF. */
void report_csv(const json_t *results, Buffer *out);

#endif

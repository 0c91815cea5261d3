/* Converts the results of an evaluation to CSV, for spreadsheets and scripts. */
#ifndef DEROPE_CMD_REPORT_REPORT_CSV_H
#define DEROPE_CMD_REPORT_REPORT_CSV_H

#include <jansson.h>

#include "formats/buffer.h"

/* Appends one line per measured value, including the values that the HTML report does not show, with the
 * columns
 *
 *   table,model,method,softmax_scale,task,length,times_context,depth,position,metric,value,low,high,n
 *
 * `table` is perplexity, position, task or recalibration; `length` and `position` are tokens; `n` is the
 * number of tokens or trials that the value was computed from. An empty field means that the column does not
 * apply, or that the results lack this value. Fields are quoted as in RFC 4180; lines end in LF. */
void report_csv(const json_t *results, Buffer *out);

#endif

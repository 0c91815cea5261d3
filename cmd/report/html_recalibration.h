/* The section of the page on training. */
#ifndef DEROPE_CMD_REPORT_HTML_RECALIBRATION_H
#define DEROPE_CMD_REPORT_HTML_RECALIBRATION_H

#include "cmd/report/html.h"

/* Losses over tokens of all recalibrations, a chart for each objective, and a table. Nothing if no model has
 * any. */
void html_recalibration(Page *p);

#endif

/* The sections of the page on long-context tasks. */
#ifndef DEROPE_CMD_REPORT_HTML_TASKS_H
#define DEROPE_CMD_REPORT_HTML_TASKS_H

#include "cmd/report/html.h"

/* A section for each task: for each of its metrics a chart by length, maps of length by depth, and tables. */
void html_tasks(Page *p);

#endif

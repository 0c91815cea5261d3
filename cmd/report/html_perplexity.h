/* The sections of the page on perplexity. */
#ifndef DEROPE_CMD_REPORT_HTML_PERPLEXITY_H
#define DEROPE_CMD_REPORT_HTML_PERPLEXITY_H

#include "cmd/report/html.h"

/* Perplexity by context length: chart, table, and what each number rests on. Nothing if none was measured. */
void html_perplexity(Page *p);
/* Loss by position in the longest windows. Nothing if none was measured. */
void html_positions(Page *p);

#endif

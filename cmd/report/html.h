/* What the parts of the page share. */
#ifndef DEROPE_CMD_REPORT_HTML_H
#define DEROPE_CMD_REPORT_HTML_H

#include "cmd/report/charts.h"

/* A page stays below 500 KB: beyond so many bytes no more of each kind is added, and the page says that the
 * CSV has the rest. Charts go on the longest. */
enum { ROOM_TABLES = 330000, ROOM_MAPS = 360000, ROOM_CHARTS = 390000, ROOM_WORDS = 440000 };
enum { PAGE_SERIES = 24, PAGE_ROWS = 240 };

typedef struct Page {
    ReportData d;
    Buffer *out;
    int ids;       /* of pictures */
    size_t start;  /* of the page in `out` */
    bool left_out; /* something is only in the CSV */
} Page;

/* The sections of measurements, in html_results.c. */
void html_perplexity(Page *p);
void html_positions(Page *p);
void html_tasks(Page *p);
void html_recalibration(Page *p);

/* Whether the page is still smaller than `limit`; remembers a no. */
bool html_room(Page *p, size_t limit);

/* <tag class="...">text</tag>; class NULL: none. */
void html_element(Page *p, const char *tag, const char *class, const char *text);
void html_section(Page *p, const char *title);
/* The table that follows, behind a line to click (and open on paper), in a box of its own to scroll in. */
void html_numbers_open(Page *p, const char *summary);
void html_numbers_close(Page *p);
void html_table_open(Page *p, const char *caption);
void html_table_close(Page *p);

#endif

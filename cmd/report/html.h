/* The HTML page while it is being written, and functions for the HTML elements that several of its sections
 * use. The sections are written by html_perplexity.h, html_tasks.h, html_recalibration.h and html_models.h,
 * and report_html.h combines them into a page. All functions append to Page.out; those that take text escape
 * it. */
#ifndef DEROPE_CMD_REPORT_HTML_H
#define DEROPE_CMD_REPORT_HTML_H

#include "cmd/report/result_rows.h"

/* The page is limited to 500 KB. Each kind of content has a limit in bytes. When the page is longer than this
 * limit, no more content of this kind is added, and the footer refers to the CSV for the rest. Tables have
 * the lowest limit, then heat maps, charts, and text. */
enum { ROOM_TABLES = 330000, ROOM_MAPS = 360000, ROOM_CHARTS = 390000, ROOM_WORDS = 440000 };

/* The largest number of series in a chart or table, and of rows in a list of measurements. */
enum { PAGE_SERIES = 24, PAGE_ROWS = 240 };

typedef struct Page {
    ReportData d;  /* the results that the page shows */
    Buffer *out;   /* the page so far */
    size_t start;  /* where the page begins in `out` */
    int ids;       /* number of pictures so far, from which html_id makes unique ids */
    bool left_out; /* something did not fit; the footer says so */
} Page;

/* Whether the page is still shorter than `limit`. If not, sets left_out. */
bool html_room(Page *p, size_t limit);
/* Returns a new id for a picture. The text belongs to the arena of p->d. */
const char *html_id(Page *p);

/* Writes <tag class="...">text</tag>; without the attribute if `class` is NULL. */
void html_element(Page *p, const char *tag, const char *class, const char *text);
/* Begins a <section> with a heading; the caller writes </section>. */
void html_section(Page *p, const char *title);
/* Writes one entry of a <dl> that the caller has opened. Writes nothing if `value` is "". */
void html_fact(Page *p, const char *name, const char *value);

/* Begin and end a <details> element, for tables of numbers. It is closed on the screen and open in print. */
void html_details_open(Page *p, const char *summary);
void html_details_close(Page *p);
/* Begin and end a table inside a box that scrolls horizontally. In between, the caller writes <thead> and
 * opens <tbody>; html_table_close closes <tbody> and <table>. */
void html_table_open(Page *p, const char *caption);
void html_table_close(Page *p);
/* Begins a row with its heading; the caller writes the cells and </tr>. */
void html_row_head(Page *p, const char *label);
/* Writes a complete row with the heading `first` and the `n` cells of `rest`. */
void html_text_row(Page *p, const char *first, const char **rest, size_t n);

/* Converts a JSON scalar to text, in the arena of p->d. "" for objects and arrays. */
const char *html_scalar(Page *p, const json_t *v);

#endif

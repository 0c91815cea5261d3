/* The page under construction, and the HTML elements that its sections share. The sections are
 * html_perplexity, html_tasks, html_recalibration and html_models; report_html.h puts them together. */
#ifndef DEROPE_CMD_REPORT_HTML_H
#define DEROPE_CMD_REPORT_HTML_H

#include "cmd/report/result_rows.h"

/* A page stays below 500 KB. Each kind of content has a limit in bytes: once the page is longer, no more of
 * that kind is added, and the footer says that the CSV has the rest. Tables stop first, charts later, words
 * last. */
enum { ROOM_TABLES = 330000, ROOM_MAPS = 360000, ROOM_CHARTS = 390000, ROOM_WORDS = 440000 };

/* At most so many series in a chart or table, and rows in a list of measurements. */
enum { PAGE_SERIES = 24, PAGE_ROWS = 240 };

typedef struct Page {
    ReportData d;
    Buffer *out;
    size_t start;  /* where the page begins in `out` */
    int ids;       /* pictures so far; gives each its own id */
    bool left_out; /* something did not fit; the footer says so */
} Page;

/* Whether the page is still shorter than `limit`; if not, remembers that something is left out. */
bool html_room(Page *p, size_t limit);
/* A new id for a picture; arena memory. */
const char *html_id(Page *p);

/* <tag class="...">text</tag>, escaped; `class` NULL: none. */
void html_element(Page *p, const char *tag, const char *class, const char *text);
/* Begins a <section> with a heading; the caller writes </section>. */
void html_section(Page *p, const char *title);
/* An entry of an open <dl>; nothing if `value` is "". */
void html_fact(Page *p, const char *name, const char *value);

/* A part that opens on a click, and is open on paper: tables of numbers. */
void html_details_open(Page *p, const char *summary);
void html_details_close(Page *p);
/* A table in a box that scrolls sideways. The caller writes <thead> and <tbody> after opening it; closing
 * ends both. */
void html_table_open(Page *p, const char *caption);
void html_table_close(Page *p);
/* Begins a row with its heading; the caller writes the cells and </tr>. */
void html_row_head(Page *p, const char *label);
/* A whole row of text cells, escaped. */
void html_text_row(Page *p, const char *first, const char **rest, size_t n);

/* A JSON value as text, arena memory; "" for objects and arrays. */
const char *html_scalar(Page *p, const json_t *v);

#endif

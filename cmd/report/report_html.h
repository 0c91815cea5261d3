/* The report page: one self-contained HTML file. */
#ifndef DEROPE_CMD_REPORT_REPORT_HTML_H
#define DEROPE_CMD_REPORT_REPORT_HTML_H

#include <jansson.h>

#include "formats/buffer.h"

/* Appends the page. It is HTML and well-formed XML at once: pictures are inline SVG, there is no script, and
 * nothing is loaded from elsewhere (its own content security policy forbids both). It has a light and a dark
 * palette, can be printed, and stays below 500 KB. Sections without data are left out. */
void report_html(const json_t *results, Buffer *out);

#endif

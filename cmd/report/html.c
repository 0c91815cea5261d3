/* Elements of the HTML page (html.h): headings, facts, details and tables, from which html_models.c,
 * html_perplexity.c, html_tasks.c, html_recalibration.c and report_html.c are put together. Markup is
 * written here or there as literals; every text that comes from results goes through text_xml, so no string
 * of a results file can become markup. The functions also keep account of the size of the page, which is
 * limited. */
#include "cmd/report/html.h"

#include "cmd/report/report_text.h"
#include "formats/json.h"

/* Bytes are counted from the start of the page: the buffer may already hold something else. */
bool html_room(Page *p, size_t limit) {
    bool room = p->out->size - p->start < limit;
    p->left_out = p->left_out || !room;
    return room;
}

/* A new id for an element; title and description of each picture are referred to by id. */
const char *html_id(Page *p) {
    return arena_printf(&p->d.arena, "p%d", p->ids++);
}

/* The text is the only part that may come from results; tag and class are ours. */
void html_element(Page *p, const char *tag, const char *class, const char *text) {
    buffer_printf(p->out, class ? "<%s class=\"%s\">" : "<%s>", tag, class);
    text_xml(text, p->out);
    buffer_printf(p->out, "</%s>\n", tag);
}

/* Sections are separated by a rule (CSS), so each has exactly one heading of the second level. */
void html_section(Page *p, const char *title) {
    text_put(p->out, "<section>\n");
    html_element(p, "h2", NULL, title);
}

/* The grid of the <dl> needs name and value inside one <div>. */
void html_fact(Page *p, const char *name, const char *value) {
    if (!*value) return;
    text_put(p->out, "<div>");
    html_element(p, "dt", NULL, name);
    html_element(p, "dd", NULL, value);
    text_put(p->out, "</div>\n");
}

/* ---- tables ---- */

/* The <div> inside is what the print rules show: a closed <details> element hides its other content. */
void html_details_open(Page *p, const char *summary) {
    text_put(p->out, "<details>");
    html_element(p, "summary", NULL, summary);
    text_put(p->out, "<div class=\"inside\">\n");
}

/* Ends what html_details_open began. */
void html_details_close(Page *p) {
    text_put(p->out, "</div></details>\n");
}

/* A region that scrolls must be reachable with the keyboard (tabindex) and have a name (aria-label), as WCAG
 * 2.1 asks. */
void html_table_open(Page *p, const char *caption) {
    text_put(p->out, "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"");
    text_xml(caption, p->out);
    text_put(p->out, "\"><table>\n<caption>");
    text_xml(caption, p->out);
    text_put(p->out, "</caption>\n");
}

/* Ends body, table and the scrolling box around it. */
void html_table_close(Page *p) {
    text_put(p->out, "</tbody></table></div>\n");
}

/* Labels are clipped, so that one long name does not push the numbers out of view. */
void html_row_head(Page *p, const char *label) {
    text_put(p->out, "<tr><th scope=\"row\">");
    text_xml(text_clip(&p->d.arena, label, 80), p->out);
    text_put(p->out, "</th>");
}

/* For tables of words, whose cells may wrap. */
void html_text_row(Page *p, const char *first, const char **rest, size_t n) {
    text_put(p->out, "<tr><th scope=\"row\">");
    text_xml(first, p->out);
    text_put(p->out, "</th>");
    for (size_t i = 0; i < n; i++) {
        text_put(p->out, "<td>");
        text_xml(rest[i], p->out);
        text_put(p->out, "</td>");
    }
    text_put(p->out, "</tr>\n");
}

/* Reals are rounded to six digits: they are settings, not measurements. */
const char *html_scalar(Page *p, const json_t *v) {
    if (json_is_string(v)) return json_string_value(v);
    if (json_is_object(v) || json_is_array(v)) return "";
    if (json_is_real(v)) return arena_printf(&p->d.arena, "%.6g", json_real_value(v));
    /* Whole numbers, booleans and null are printed as in JSON. */
    Buffer b = {0};
    json_print(v, 0, &b);
    const char *s = arena_strdup(&p->d.arena, buffer_string(&b));
    buffer_free(&b);
    return s;
}

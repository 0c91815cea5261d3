/* Putting the page together (report_html.h): head with style sheet, header with summary and facts, the
 * sections of html_perplexity.c, html_tasks.c, html_recalibration.c and html_models.c, and how it was
 * measured. The page is one file without scripts and loads nothing, so it can be sent by mail and opened
 * years later. All strings of results pass through html_element and the like, which escape them. */
#include "cmd/report/report_html.h"

#include <math.h>
#include <string.h>

#include "cmd/report/html.h"
#include "cmd/report/html_models.h"
#include "cmd/report/html_perplexity.h"
#include "cmd/report/html_recalibration.h"
#include "cmd/report/html_tasks.h"
#include "cmd/report/report_summary.h"
#include "cmd/report/report_text.h"
#include "cmd/report/result_lookup.h"
#include "cmd/report/svg.h"

/* At most so many texts, commands and settings are listed. */
enum { MAX_TEXTS = 64, MAX_COMMANDS = 64, MAX_SETTINGS = 32 };

/* The style sheet, after the rules of svg.h. Below 640 pixels the narrow drawings replace the wide ones;
 * paper gets the wide ones, everything opened, and no scroll boxes. */
static const char page_rules[] =
    "*{box-sizing:border-box}html{color-scheme:light dark;-webkit-text-size-adjust:100%}"
    "body{margin:0;background:var(--paper);color:var(--ink);font:17px/1.55 'Iowan Old Style','Palatino "
    "Linotype',Palatino,'URW Palladio L',Charter,'Source Serif 4',Georgia,serif}"
    "main,header,footer{max-width:752px;margin:0 auto;padding:0 16px}"
    "header{padding-top:3.5rem}"
    ".eyebrow,figcaption,table,dl,summary,.note,footer,pre,h3{font-family:system-ui,-apple-system,'Segoe "
    "UI',Roboto,'Helvetica Neue',Arial,sans-serif}"
    ".eyebrow{margin:0;font-size:12.5px;letter-spacing:.08em;text-transform:uppercase;color:var(--soft)}"
    "h1{font-size:clamp(1.7rem,5vw,2.35rem);line-height:1.15;font-weight:600;letter-spacing:-.01em;"
    "margin:.35em 0 .6em;overflow-wrap:anywhere}"
    "h2{font-size:1.35rem;line-height:1.25;font-weight:600;margin:0 0 .4em;overflow-wrap:anywhere}"
    "h3{font-size:14px;font-weight:600;margin:1.8rem 0 .3rem;overflow-wrap:anywhere}"
    "section{margin-top:3rem;padding-top:1.4rem;border-top:1px solid var(--rule)}"
    "p{margin:.5em 0 1em;overflow-wrap:anywhere;text-wrap:pretty}"
    ".lead{font-size:1.22rem;line-height:1.45;margin:0 0 1em}"
    ".points{margin:0;padding:0;list-style:none}"
    ".points li{margin:.45em 0;padding-left:1.1em;text-indent:-1.1em;overflow-wrap:anywhere}"
    ".points li::before{content:'\\2013';color:var(--soft);display:inline-block;width:1.1em;text-indent:0}"
    ".note{font-size:13.5px;line-height:1.5;color:var(--soft)}"
    "dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:1rem 1.5rem;margin:1.8rem "
    "0 0;"
    "padding:1rem 0 0;border-top:1px solid var(--rule);font-size:13.5px;line-height:1.4}"
    "dt{color:var(--soft);font-size:12.5px}dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-"
    "nums}"
    "figure{margin:1.2rem 0 .6rem}figcaption{font-size:13px;line-height:1.4;color:var(--ink);overflow-wrap:"
    "anywhere}svg{display:block;max-width:100%;height:auto}"
    ".narrow{display:none}"
    ".maps{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,210px),1fr));gap:1rem 1.2rem;"
    "margin:.8rem 0}.maps figure{margin:0}.maps figcaption{font-weight:600;margin-bottom:.3rem}"
    ".scroll{overflow-x:auto;margin:.4rem 0 1rem;max-width:100%}"
    "table{border-collapse:collapse;font-size:13px;line-height:1.35;font-variant-numeric:tabular-nums;"
    "min-width:50%}caption{text-align:left;color:var(--soft);padding:.4rem 0;caption-side:top}"
    "th,td{padding:.38rem .7rem .38rem 0;text-align:right;vertical-align:top;border-bottom:1px solid "
    "var(--rule);"
    "white-space:nowrap}th{font-weight:600}thead th:first-child{text-align:left}thead "
    "th{border-bottom-color:var(--soft);vertical-align:bottom}"
    "th[scope=row],.text td,.text th{text-align:left}.text td,.text "
    "th{white-space:normal;overflow-wrap:anywhere;"
    "min-width:4.5rem}td small,th small{display:block;color:var(--soft);font-weight:400;font-size:11.5px}"
    "th[scope=row]{max-width:15rem;white-space:normal;overflow-wrap:anywhere;min-width:6rem}"
    "details{margin:.3rem 0 .8rem}summary{font-size:13.5px;color:var(--accent);cursor:pointer;padding:.3rem "
    "0}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--wash);padding:.8rem "
    "1rem;font-size:13px;"
    "line-height:1.5;font-family:ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace;"
    "border-radius:3px}.layers{margin:.2rem 0}"
    "footer{margin-top:3rem;padding-top:1rem;padding-bottom:3rem;font-size:12.5px;color:var(--soft)}"
    ":focus-visible{outline:2px solid var(--accent);outline-offset:2px}"
    "@media(max-width:640px){.wide{display:none}.narrow{display:block}header{padding-top:2rem}"
    "body{font-size:16px}.lead{font-size:1.12rem}dl{grid-template-columns:1fr 1fr}}"
    "@media print{@page{margin:16mm}body{font-size:10.5pt}header{padding-top:0}"
    ".wide{display:block}.narrow{display:none}"
    "details::details-content{content-visibility:visible;display:block;block-size:auto}"
    "details>.inside{display:block}summary{list-style:none}summary::-webkit-details-marker{display:none}"
    "figure,tr,h2,h3,.maps figure{break-inside:avoid}h2,h3,summary{break-after:avoid}"
    ".lead{font-size:13pt}.maps{grid-template-columns:repeat(3,1fr)}.scroll,h3+.note{break-inside:avoid}"
    "h3+.note,h2+.note,h2+p,caption{break-after:avoid}.scroll{overflow:visible}table{font-size:8pt}th,td{"
    "padding-right:.4rem}section{margin-top:1.6rem}}";

/* ---- head ---- */

/* The content security policy allows inline styles and nothing else: if markup from results ever escaped the
 * escaping, it still could not run a script or load anything. The empty icon keeps browsers from asking a
 * server for one. */
static void head(Page *p, const char *title) {
    text_put(p->out,
             "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n"
             "<meta charset=\"utf-8\"/>\n"
             "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
             "'unsafe-inline'; img-src data:\"/>\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
             "<meta name=\"color-scheme\" content=\"light dark\"/>\n<link rel=\"icon\" href=\"data:,\"/>\n");
    html_element(p, "title", NULL, title);
    buffer_printf(p->out,
                  "<style>\n:root{%s}\n@media screen and (prefers-color-scheme:dark){:root{%s}}\n%s\n%s\n"
                  "</style>\n</head>\n<body>\n",
                  svg_light, svg_dark, svg_rules, page_rules);
}

/* ---- header ---- */

/* The models' names as "a, b and c", or the first three "and N more". */
static const char *model_names(Page *p) {
    Buffer b = {0};
    /* Four names still fit into a title; of five or more the first three are named and the rest is
     * counted. */
    size_t n = p->d.n_models, shown = n > 4 ? 3 : n;
    for (size_t i = 0; i < shown; i++) {
        text_put(&b, !i ? "" : i + 1 == n ? " and " : ", ");
        text_put(&b, text_clip(&p->d.arena, p->d.models[i].name, 40));
    }
    if (shown < n) buffer_printf(&b, " and %zu more", n - shown);
    const char *s = arena_strdup(&p->d.arena, buffer_string(&b));
    buffer_free(&b);
    return s;
}

/* "CPU, 2 cores, 23.5 GB", without the parts that results do not have. */
static const char *machine_text(Page *p) {
    /* The machine is described by machine_json (cmd/machine.h) when an evaluation starts. */
    const json_t *m = json_object_get(p->d.results, "machine");
    double cores = rows_number(m, "cores"), memory = rows_number(m, "memory_gb");
    Arena *a = &p->d.arena;
    /* A comma precedes a part only if there is something before it. */
    const char *cpu = rows_string(m, "cpu");
    const char *n = cores >= 1
                        ? arena_printf(a, "%s%.0f %s", *cpu ? ", " : "", cores, cores == 1 ? "core" : "cores")
                        : "";
    const char *gb = memory > 0 ? arena_printf(a, "%s%.3g GB", *cpu || *n ? ", " : "", memory) : "";
    return arena_printf(a, "%s%s%s", text_clip(a, cpu, 100), n, gb);
}

/* Facts about the whole evaluation, below the summary. Tokens and trials are summed over all rows. */
static void facts(Page *p) {
    Arena *a = &p->d.arena;
    double *lengths, tokens = 0, trials = 0, seconds = rows_number(p->d.results, "seconds");
    /* Each fact is left out if results do not have it. */
    size_t n = lookup_perplexity_lengths(&p->d, &lengths);
    /* A row may lack its count, which is then NAN; the comparison leaves it out of the sum. */
    for (size_t i = 0; i < p->d.n_perplexity; i++)
        tokens += p->d.perplexity[i].tokens > 0 ? p->d.perplexity[i].tokens : 0;
    for (size_t i = 0; i < p->d.n_task_rows; i++)
        trials += p->d.task_rows[i].trials > 0 ? p->d.task_rows[i].trials : 0;
    text_put(p->out, "<dl>\n");
    if (n)
        html_fact(p, "Context lengths",
                  arena_printf(a, n > 1 ? "%s to %s tokens" : "%s tokens", text_count(a, lengths[0]),
                               text_count(a, lengths[n - 1])));
    if (p->d.context)
        html_fact(p, "Training length", arena_printf(a, "%s tokens", text_count(a, p->d.context)));
    if (tokens > 0) html_fact(p, "Tokens scored", text_count(a, tokens));
    if (trials > 0) html_fact(p, "Task trials", text_count(a, trials));
    if (seconds >= 0) html_fact(p, "Time", text_seconds(a, seconds));
    html_fact(p, "Machine", machine_text(p));
    text_put(p->out, "</dl>\n");
}

/* The first sentence of the summary is the lead; the others are a list. */
static void header(Page *p) {
    const char *version = rows_string(p->d.results, "derope"),
               *started = rows_string(p->d.results, "started");
    Arena *a = &p->d.arena;
    text_put(p->out, "<header>\n");
    /* A small line above the title: version and date. A start time in ISO 8601 is cut before the T, any
     * other is shown as it is. */
    html_element(p, "p", "eyebrow",
                 arena_printf(a, "derope %s%s%s", text_clip(a, version, 20), *started ? " \xc2\xb7 " : "",
                              strlen(started) > 10 && started[10] == 'T' ? arena_strndup(a, started, 10)
                                                                         : text_clip(a, started, 30)));
    /* The title names the models, at most three of them. */
    const char *of = p->d.n_models ? arena_printf(a, ": %s", model_names(p)) : "";
    html_element(p, "h1", NULL, arena_printf(a, "Long-context evaluation%s", of));
    /* The summary: its first sentence is set larger, the others are the points of a list. */
    const char *sentences[16];
    size_t n = report_summary(&p->d, sentences, 16);
    if (n) html_element(p, "p", "lead", sentences[0]);
    if (n > 1) text_put(p->out, "<ul class=\"points\">\n");
    for (size_t i = 1; i < n; i++)
        html_element(p, "li", NULL, sentences[i]);
    if (n > 1) text_put(p->out, "</ul>\n");
    facts(p);
    text_put(p->out, "</header>\n");
}

/* ---- how it was measured ---- */

/* The command, or an array of commands where several recipes share the page. */
static void command(Page *p, const json_t *v) {
    for (size_t i = 0; json_is_array(v) && i < json_array_size(v) && i < MAX_COMMANDS; i++)
        command(p, json_is_string(json_array_get(v, i)) ? json_array_get(v, i) : NULL);
    /* The value is one command (also in a call for an element of an array). */
    const char *s = json_string_value(v);
    if (s && *s && html_room(p, ROOM_WORDS)) html_element(p, "pre", NULL, text_clip(&p->d.arena, s, 8000));
}

/* The texts with their hashes, so that a reader can check to have the same ones. */
static void texts(Page *p) {
    /* The head of the table is written with the first valid entry, so that no empty table appears. */
    const json_t *list = json_object_get(p->d.results, "texts");
    size_t n = json_array_size(list), shown = 0;
    for (size_t i = 0; i < n && i < MAX_TEXTS; i++) {
        const json_t *t = json_array_get(list, i);
        double bytes = rows_number(t, "bytes");
        if (!json_is_object(t)) continue;
        if (!shown++) {
            html_table_open(p, "Texts");
            text_put(p->out, "<thead><tr><th scope=\"col\">File</th><th scope=\"col\">Bytes</th><th "
                             "scope=\"col\">XXH3-128</th></tr></thead>\n<tbody class=\"text\">\n");
        }
        const char *cells[] = {isnan(bytes) ? "" : text_count(&p->d.arena, bytes),
                               text_clip(&p->d.arena, rows_string(t, "xxh3_128"), 64)};
        html_text_row(p, text_clip(&p->d.arena, rows_string(t, "file"), 200), cells, 2);
    }
    if (shown) html_table_close(p);
}

/* How to read the intervals, the command, and everything needed to repeat the measurement. */
static void method(Page *p) {
    const json_t *r = p->d.results, *settings = json_object_get(r, "settings"), *v;
    const char *key, *started = rows_string(r, "started"), *version = rows_string(r, "derope");
    html_section(p, "How it was measured");
    html_element(
        p, "p", NULL,
        "Intervals cover 95\xc2\xa0%: of perplexity by Student's t over the windows of the text, of task "
        "scores by "
        "Wilson's formula. Where two intervals overlap, the order of the two is left open. Perplexities "
        "compare only between models that share a tokenizer.");
    /* The command line, and facts that another run needs to compare its numbers. */
    command(p, json_object_get(r, "command"));
    text_put(p->out, "<dl>\n");
    html_fact(p, "Version",
              *version ? arena_printf(&p->d.arena, "derope %s", text_clip(&p->d.arena, version, 40)) : "");
    html_fact(p, "Started", text_clip(&p->d.arena, started, 40));
    if (rows_number(r, "seconds") >= 0)
        html_fact(p, "Time", text_seconds(&p->d.arena, rows_number(r, "seconds")));
    html_fact(p, "Machine", machine_text(p));
    /* Settings are listed as they are, at most MAX_SETTINGS. */
    size_t n = 0;
    json_object_foreach((json_t *)settings, key, v) {
        if (n++ < MAX_SETTINGS && !json_is_null(v))
            html_fact(p, text_clip(&p->d.arena, key, 40), text_clip(&p->d.arena, html_scalar(p, v), 80));
    }
    text_put(p->out, "</dl>\n");
    texts(p);
    text_put(p->out, "</section>\n");
}

/* ---- the page ---- */

/* The rows are read once; every section then works from them. */
void report_html(const json_t *results, Buffer *out) {
    Page p = {.out = out, .start = out->size};
    rows_read(results, &p.d);
    /* Each section writes nothing if results have no data for it. */
    const char *of = p.d.n_models ? arena_printf(&p.d.arena, ": %s", model_names(&p)) : "";
    head(&p, arena_printf(&p.d.arena, "Long-context evaluation%s", of));
    header(&p);
    text_put(out, "<main>\n");
    html_perplexity(&p);
    html_positions(&p);
    html_tasks(&p);
    html_recalibration(&p);
    html_models(&p);
    method(&p);
    text_put(out, "</main>\n<footer>");
    text_put(out, p.left_out ? "Not everything fits on this page; the CSV beside it has every number. " : "");
    text_put(
        out,
        "Made by derope: one file, no scripts, nothing loaded from elsewhere.</footer>\n</body>\n</html>\n");
    rows_free(&p.d);
}

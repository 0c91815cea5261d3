/* The section "What was changed" of the page (html_models.h): for each model its facts, the passes that
 * changed it, and how position enters in each of its layers. The data are the entries of "models" in the
 * results, which manifests have in the same form. report_html.c calls html_models after the sections with
 * numbers. */
#include "cmd/report/html_models.h"

#include <math.h>
#include <string.h>

#include "cmd/report/html_numbers.h"
#include "cmd/report/layer_strip.h"
#include "cmd/report/report_text.h"
#include "cmd/report/result_lookup.h"

/* At most so many runs of layers in a table, and passes in a sentence. */
enum { MAX_LAYER_ROWS = 64, MAX_PASSES = 32 };

/* "base 10000, factor 4": the members of an object, without those that are themselves objects or arrays, and
 * without `skip`. */
static const char *members(Page *p, const json_t *object, const char *skip) {
    Buffer b = {0};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)object, key, v) {
        /* html_scalar gives "" for objects and arrays. */
        const char *text = html_scalar(p, v);
        if (!*text || json_is_null(v) || !strcmp(key, skip)) continue;
        buffer_printf(&b, "%s%s %s", b.size ? ", " : "", text_clip(&p->d.arena, key, 40),
                      text_clip(&p->d.arena, text, 60));
    }
    const char *s = arena_strdup(&p->d.arena, buffer_string(&b));
    buffer_free(&b);
    return s;
}

/* The strip of layers in words: neighbouring layers that are alike share a row. */
static void layer_table(Page *p, const ReportModel *m) {
    LayerRun *runs;
    Arena *a = &p->d.arena;
    /* Layers that do not differ in position, window or rotation form a run, "4-11". */
    size_t n = lookup_layer_runs(&p->d, m, &runs);
    html_table_open(p, arena_printf(a, "Layers of %s", text_clip(a, m->name, 80)));
    text_put(
        p->out,
        "<thead><tr><th scope=\"col\">Layers</th><th scope=\"col\">Position</th><th "
        "scope=\"col\">Window</th><th scope=\"col\">Rotation</th></tr></thead>\n<tbody class=\"text\">\n");
    for (size_t i = 0; i < n && i < MAX_LAYER_ROWS; i++) {
        const LayerRun *r = &runs[i];
        const char *cells[] = {text_clip(a, lookup_position_name(r->position), 60),
                               isnan(r->window) ? "all tokens"
                                                : arena_printf(a, "%s tokens", text_count(a, r->window)),
                               r->rope ? members(p, r->rope, "") : ""};
        html_text_row(p,
                      r->first == r->last ? arena_printf(a, "%zu", r->first)
                                          : arena_printf(a, "%zu\xe2\x80\x93%zu", r->first, r->last),
                      cells, 3);
    }
    html_table_close(p);
    if (n > MAX_LAYER_ROWS) html_element(p, "p", "note", "Only the first 64 runs of layers are listed.");
}

/* The passes with their arguments, in order: "Changed: drop_rope (layers 2); sliding_window (...)". */
static void passes(Page *p, const ReportModel *m) {
    const json_t *list = json_object_get(m->json, "passes");
    Buffer b = {0};
    for (size_t i = 0; i < json_array_size(list) && i < MAX_PASSES; i++) {
        const json_t *pass = json_array_get(list, i);
        const char *name = rows_string(pass, "pass"), *rest = members(p, pass, "pass");
        /* Each pass with its arguments in brackets; entries without a name are damaged and left out. */
        if (!*name) continue;
        buffer_printf(&b, "%s%s%s%s%s", b.size ? "; " : "", text_clip(&p->d.arena, name, 60),
                      *rest ? " (" : "", rest, *rest ? ")" : "");
    }
    if (b.size) html_element(p, "p", "note", arena_printf(&p->d.arena, "Changed: %s.", buffer_string(&b)));
    /* An empty list says that nothing was changed; without a list that is unknown, and nothing is written. */
    else if (json_is_array(list))
        html_element(p, "p", "note", "Unchanged.");
    buffer_free(&b);
}

/* One model: its name, a line of facts (family, size, context, path), what was changed, and its layers as a
 * strip and as a table. */
static void model(Page *p, const ReportModel *m) {
    Arena *a = &p->d.arena;
    /* Facts that describe the model, from the description that eval_results.c wrote. */
    double parameters = rows_number(m->json, "parameters");
    html_element(p, "h3", NULL, text_clip(a, m->name, 80));
    /* Each fact is left out if results do not have it, so the commas depend on what came before. */
    Buffer b = {0};
    const char *family = rows_string(m->json, "family"), *path = rows_string(m->json, "path");
    if (*family) buffer_printf(&b, "%s", text_clip(a, family, 40));
    if (parameters > 0) buffer_printf(&b, "%s%s parameters", b.size ? ", " : "", text_large(a, parameters));
    if (m->context)
        buffer_printf(&b, "%strained at %s tokens", b.size ? ", " : "", text_count(a, m->context));
    if (*path) buffer_printf(&b, "%s%s", b.size ? ", " : "", text_clip(a, path, 200));
    if (b.size) html_element(p, "p", "note", buffer_string(&b));
    buffer_free(&b);
    passes(p, m);
    if (!json_array_size(json_object_get(m->json, "layers")) || !html_room(p, ROOM_CHARTS)) return;
    /* Drawn twice, for wide and narrow screens; the style sheet shows one of them. */
    text_put(p->out, "<div class=\"layers wide\">");
    layer_strip_draw(&p->d, m, CHART_WIDE, html_id(p), p->out);
    text_put(p->out, "</div><div class=\"layers narrow\">");
    layer_strip_draw(&p->d, m, CHART_NARROW - 12, html_id(p), p->out);
    text_put(p->out, "</div>\n");
    html_details_open(p, "Layers as a table");
    layer_table(p, m);
    html_details_close(p);
}

/* A model is left out once the page is full, like everything else. */
void html_models(Page *p) {
    size_t shown = 0;
    for (size_t i = 0; i < p->d.n_models && shown < PAGE_SERIES; i++) {
        if (!p->d.models[i].json || !html_room(p, ROOM_WORDS)) continue;
        if (!shown++) {
            /* The section begins with the first model that can be shown. */
            html_section(p, "What was changed");
            html_element(
                p, "p", "note",
                "A square for each layer: filled if it rotates queries and keys by position (RoPE), half "
                "filled if it rotates part of each head, empty if it does not.");
        }
        model(p, &p->d.models[i]);
    }
    if (shown) text_put(p->out, "</section>\n");
    if (shown == PAGE_SERIES) p->left_out = true;
}

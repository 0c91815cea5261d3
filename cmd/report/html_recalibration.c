/* The section on recalibration of the page (html_recalibration.h): a chart of training losses per objective,
 * and a table of what each training took. The losses come from the models' manifests ("recalibration" in the
 * results), not from the evaluation itself. */
#include "cmd/report/html_recalibration.h"

#include <math.h>
#include <string.h>

#include "cmd/report/html_numbers.h"
#include "cmd/report/report_text.h"
#include "cmd/report/result_charts.h"
#include "cmd/report/result_lookup.h"

/* A row for each model that was recalibrated. The table is only begun when there is one. */
static void recalibration_table(Page *p) {
    bool any = false;
    Arena *a = &p->d.arena;
    for (size_t i = 0; i < p->d.n_models && i < PAGE_SERIES; i++) {
        const json_t *r = json_object_get(p->d.models[i].json, "recalibration");
        if (!json_is_object(r)) continue;
        if (!any) {
            html_table_open(p, "Recalibrations");
            text_put(p->out,
                     "<thead><tr><th scope=\"col\">Model</th><th scope=\"col\">Objective</th><th "
                     "scope=\"col\">Tokens seen</th><th scope=\"col\">Time</th></tr></thead>\n<tbody>\n");
        }
        any = true;
        /* Missing numbers are NAN, for which html_number_cell writes a dash. */
        double tokens = rows_number(r, "tokens_seen"), seconds = rows_number(r, "seconds");
        html_row_head(p, p->d.models[i].name);
        text_put(p->out, "<td>");
        text_xml(text_clip(a, rows_string(r, "objective"), 40), p->out);
        text_put(p->out, "</td>");
        html_number_cell(p, tokens, text_count);
        html_number_cell(p, seconds >= 0 ? seconds : NAN, text_seconds);
        text_put(p->out, "</tr>\n");
    }
    if (any) html_table_close(p);
}

/* Whether model `model` was recalibrated with an objective that no earlier model has. Losses of different
 * objectives are different quantities (cross-entropy, divergence from a teacher), so each objective has a
 * chart of its own. */
static bool new_objective(const Page *p, size_t model, const char **objective) {
    const json_t *r = json_object_get(p->d.models[model].json, "recalibration");
    if (!json_is_object(r)) return false;
    *objective = rows_string(r, "objective");
    for (size_t i = 0; i < model; i++) {
        /* The first model with an objective stands for all models with it. */
        const json_t *other = json_object_get(p->d.models[i].json, "recalibration");
        if (json_is_object(other) && !strcmp(rows_string(other, "objective"), *objective)) return false;
    }
    return true;
}

/* Goes through the models, and draws a chart whenever an objective appears for the first time. */
void html_recalibration(Page *p) {
    bool begun = false;
    for (size_t i = 0; i < p->d.n_models && i < PAGE_SERIES; i++) {
        const char *objective;
        LineChart c;
        if (!new_objective(p, i, &objective)) continue;
        if (!begun) html_section(p, "Recalibration");
        begun = true;
        if (!chart_recalibration(&p->d, objective, &c)) continue;
        /* The caption must not hide that a long curve was averaged. */
        bool thinned = false;
        for (size_t k = 0; k < p->d.n_models; k++) {
            const json_t *o = json_object_get(p->d.models[k].json, "recalibration");
            thinned = thinned || json_array_size(json_object_get(o, "losses")) > CHART_POINTS;
        }
        /* The chart has all models with this objective; their numbers are in closed tables below it. */
        html_element(p, "h3", NULL, text_clip(&p->d.arena, c.title, 80));
        html_figure(p, &c,
                    thinned ? "Losses of training batches; neighbours are averaged to fit."
                            : "Losses of training batches.");
        if (!html_room(p, ROOM_MAPS)) continue;
        html_details_open(p, "Losses in numbers");
        for (size_t k = 0; k < c.n_lines; k++) {
            /* A table of its own for each line: the models were trained on different numbers of tokens, so
             * their points do not line up. */
            LineChart one = c;
            one.lines = &c.lines[k];
            one.n_lines = 1;
            html_curve_table(p, &one, "Loss by tokens seen", "Tokens");
        }
        html_details_close(p);
    }
    if (!begun) return;
    recalibration_table(p);
    text_put(p->out, "</section>\n");
}

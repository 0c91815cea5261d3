/* Writes the README.md of a model repository (report_card.h): YAML front matter with the model index that
 * the Hugging Face hub reads, then sections in Markdown. Called by cmd/model_card.c. The
 * numbers come from ReportData (result_rows.c) and the lookups of result_lookup.c, as those of the HTML page
 * do, so both say the same. Strings from results never enter the text unescaped: text_yaml and text_markdown
 * of report_text.c write all of them. */
#include "cmd/report/report_card.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "cmd/report/report_picture.h"
#include "cmd/report/report_summary.h"
#include "cmd/report/report_text.h"
#include "cmd/report/result_charts.h"
#include "cmd/report/result_lookup.h"
#include "formats/json.h"

/* At most so many rows of a table, tasks and runs of layers. */
enum { MAX_TABLE_SERIES = 64, MAX_CARD_TASKS = 16, MAX_CARD_LAYERS = 128 };

/* What all functions below share: the rows of the results, the caller's front matter, and which model the
 * card describes. */
typedef struct Card {
    ReportData d;
    const json_t *front; /* an object or NULL */
    Buffer *out;
    size_t model;  /* the one that the card is about; d.n_models: none */
    size_t series; /* that model, unchanged by any method; d.n_series: it was not measured */
} Card;

/* ---- front matter ---- */

/* Keys come from another model's card: only plain names are written. */
static bool key_fits(const char *key) {
    size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n && n < 64 && !key[n] && isalpha((unsigned char)*key);
}

/* Writes a string, number or boolean; false for anything else and for an empty string. */
static bool yaml_scalar(const json_t *v, Buffer *out) {
    /* text_yaml adds quotes where YAML would read the string as something else. */
    if (json_is_string(v) && *json_string_value(v))
        text_yaml(json_string_value(v), out);
    else if (json_is_number(v) || json_is_boolean(v))
        json_print(v, 0, out);
    else
        return false;
    return true;
}

/* Whether `v` is a string and equals `s`; false if either is NULL. */
static bool same_string(const json_t *v, const char *s) {
    return s && json_is_string(v) && !strcmp(json_string_value(v), s);
}

/* Writes a list under a key: the items of an array or a single value, and `added` (NULL: nothing) unless it
 * is there. */
static void yaml_list(const char *key, const json_t *v, const char *added, Buffer *out) {
    Buffer items = {0};
    bool there = !added;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_array(v) ? json_array_get(v, i) : v;
        Buffer one = {0};
        if (yaml_scalar(item, &one)) buffer_printf(&items, "- %s\n", buffer_string(&one));
        there = there || same_string(item, added);
        buffer_free(&one);
    }
    if (!there) buffer_printf(&items, "- %s\n", added);
    /* An empty list would be the YAML value null, so the key is written only with items below it. */
    if (items.size) buffer_printf(out, "%s:\n%s", key, buffer_string(&items));
    buffer_free(&items);
}

/* Everything in `front` but the instructions. Tags come last, because derope adds its own. */
static void front_keys(Card *c) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)c->front, key, v) {
        /* "model" and "title" are instructions to derope, "model-index" is computed from the results, and
         * "tags" follows below. */
        static const char *const not_written[] = {"model", "title", "tags", "model-index"};
        bool written = key_fits(key);
        for (size_t i = 0; i < sizeof not_written / sizeof *not_written; i++)
            written = written && strcmp(key, not_written[i]) != 0;
        if (!written) continue;
        Buffer one = {0};
        if (json_is_array(v))
            yaml_list(key, v, NULL, c->out);
        else if (yaml_scalar(v, &one))
            buffer_printf(c->out, "%s: %s\n", key, buffer_string(&one));
        buffer_free(&one);
    }
    yaml_list("tags", json_object_get(c->front, "tags"), "derope", c->out);
}

/* The file name of the (first) text that perplexity was measured on. */
static const char *text_name(Card *c) {
    const char *name = rows_string(json_array_get(json_object_get(c->d.results, "texts"), 0), "file");
    /* The folder says nothing to a reader of the card and may reveal a private path. */
    const char *slash = strrchr(name, '/');
    name = slash && slash[1] ? slash + 1 : name;
    return *name ? text_clip(&c->d.arena, name, 80) : "held-out text";
}

/* Begins an entry of the model index, up to the list of its metrics. */
static void index_task(Card *c, const char *type, const char *dataset) {
    text_put(
        c->out,
        "  - task:\n      type: text-generation\n      name: Text generation\n    dataset:\n      type: ");
    text_yaml(type, c->out);
    text_put(c->out, "\n      name: ");
    text_yaml(dataset, c->out);
    text_put(c->out, "\n    metrics:\n");
}

/* Appends one metric to the entry that index_task began. The value is printed by the JSON writer: it keeps
 * all digits, and every JSON number is also a YAML number. */
static void index_metric(Card *c, const char *type, double value, const char *name) {
    json_t *number = json_real(value);
    buffer_printf(c->out, "    - type: %s\n      value: ", type);
    json_print(number, 0, c->out);
    text_put(c->out, "\n      name: ");
    text_yaml(name, c->out);
    text_put(c->out, "\n");
    json_decref(number);
}

/* The entry of the text: one perplexity per context length, of the card's own model only. The hub shows
 * these values under this model's name, so those of models that it is compared with must not be here. */
static void index_perplexity(Card *c) {
    bool begun = false;
    for (size_t i = 0; i < c->d.n_perplexity; i++) {
        const PerplexityRow *row = &c->d.perplexity[i];
        if (row->series != c->series) continue;
        /* The entry is begun with its first metric, because an entry without metrics would say nothing. */
        if (!begun) index_task(c, "text", text_name(c));
        begun = true;
        index_metric(c, "perplexity", row->perplexity.value,
                     arena_printf(&c->d.arena, "Perplexity at %.0f tokens", row->length));
    }
}

/* An entry for each synthetic task, with the shares of exact answers and of right answers ranked first at
 * each length. Depths are pooled. */
static void index_tasks(Card *c) {
    for (size_t t = 0; t < c->d.n_tasks; t++) {
        double *lengths;
        size_t n = lookup_task_lengths(&c->d, t, &lengths);
        bool begun = false;
        for (int m = 0; m < METRICS; m++)
            for (size_t i = 0; i < n; i++) {
                Estimate e;
                double trials;
                /* The share over all depths at this length, if the model was asked. */
                if (!lookup_pooled(&c->d, t, c->series, lengths[i], m, &e, &trials)) continue;
                const char *name = text_clip(&c->d.arena, c->d.tasks[t], 80);
                if (!begun) index_task(c, name, arena_printf(&c->d.arena, "%s (synthetic)", name));
                begun = true;
                index_metric(c, "accuracy", e.value,
                             arena_printf(&c->d.arena, "%s at %.0f tokens",
                                          m == METRIC_SCORE ? "Exact answers" : "Right answer ranked first",
                                          lengths[i]));
            }
    }
}

/* The metadata of a model card as https://huggingface.co/docs/hub/model-cards describes it. */
static void write_front_matter(Card *c) {
    text_put(c->out, "---\n");
    front_keys(c);
    if (c->series < c->d.n_series) {
        /* The names of the metrics that this model has values for. */
        bool perplexity = false, accuracy = false;
        for (size_t i = 0; i < c->d.n_perplexity; i++)
            perplexity = perplexity || c->d.perplexity[i].series == c->series;
        for (size_t i = 0; i < c->d.n_task_rows; i++)
            accuracy = accuracy || c->d.task_rows[i].series == c->series;
        /* A list of metrics that `front` has was written with its other keys. */
        if (!json_object_get(c->front, "metrics"))
            buffer_printf(c->out, "metrics:\n%s%s", perplexity ? "- perplexity\n" : "",
                          accuracy ? "- accuracy\n" : "");
        /* The index bears the title of the card, or the model's name where front matter has no title. */
        text_put(c->out, "model-index:\n- name: ");
        const char *title = rows_string(c->front, "title");
        text_yaml(*title ? title : c->d.models[c->model].name, c->out);
        text_put(c->out, "\n  results:\n");
        index_perplexity(c);
        index_tasks(c);
    }
    text_put(c->out, "---\n\n");
}

/* ---- which model ---- */

/* Whether model `i` is the one that front matter's key "model" means. */
static bool is_wanted(const Card *c, const json_t *wanted, size_t i) {
    const char *name = rows_string(c->d.models[i].json, "name");
    return (json_is_integer(wanted) && json_integer_value(wanted) == (json_int_t)i) ||
           (json_is_string(wanted) && !strcmp(json_string_value(wanted), name));
}

/* The model that front matter names; else the first that was changed; else the first. Its series is the one
 * without a method. */
static void choose_model(Card *c) {
    const json_t *wanted = json_object_get(c->front, "model");
    /* Three attempts in order; each leaves the choice alone once one before it has succeeded. */
    c->model = c->d.n_models;
    for (size_t i = 0; i < c->d.n_models && c->model == c->d.n_models; i++)
        if (c->d.models[i].json && is_wanted(c, wanted, i)) c->model = i;
    for (size_t i = 0; i < c->d.n_models && c->model == c->d.n_models; i++)
        if (json_array_size(json_object_get(c->d.models[i].json, "passes"))) c->model = i;
    for (size_t i = 0; i < c->d.n_models && c->model == c->d.n_models; i++)
        if (c->d.models[i].json) c->model = i;
    /* The model's series without a dash pattern is the one measured without a context-extension method. */
    c->series = c->d.n_series;
    for (size_t i = c->d.n_series; i-- > 0;)
        if (c->d.series[i].model == c->model && !c->d.series[i].dash) c->series = i;
}

/* ---- text ---- */

/* The heading, and a sentence on what was changed from which model. */
static void write_title(Card *c) {
    const ReportModel *m = &c->d.models[c->model];
    /* base_model may be a string or a list; the sentence names the first. */
    const json_t *base = json_object_get(c->front, "base_model"),
                 *passes = json_object_get(m->json, "passes");
    Buffer *out = c->out;
    if (json_is_array(base)) base = json_array_get(base, 0);
    const char *title = rows_string(c->front, "title");
    text_put(out, "# ");
    text_markdown(text_clip(&c->d.arena, *title ? title : m->name, 120), out);
    text_put(out, "\n\n");
    /* One sentence lists the passes: "Changed from BASE by derope: PASS in layers 0-3, PASS ...". */
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(passes) && i < 32; i++) {
        const json_t *pass = json_array_get(passes, i);
        const char *name = rows_string(pass, "pass"), *layers = rows_string(pass, "layers");
        if (!*name) continue;
        text_put(out, n++ ? ", " : "Changed");
        if (n == 1 && json_is_string(base)) {
            text_put(out, " from ");
            text_markdown(json_string_value(base), out);
        }
        text_put(out, n == 1 ? " by derope (after [DroPE](https://arxiv.org/abs/2512.12167)): " : "");
        text_markdown(text_clip(&c->d.arena, name, 60), out);
        if (!*layers) continue;
        text_put(out, " in layers ");
        text_markdown(text_clip(&c->d.arena, layers, 80), out);
    }
    if (n) text_put(out, ".\n\n");
}

/* The sentences of report_summary as a list. The HTML page shows the same ones. */
static void write_summary(Card *c) {
    const char *sentences[16];
    size_t n = report_summary(&c->d, sentences, 16);
    for (size_t i = 0; i < n; i++) {
        text_put(c->out, "- ");
        text_markdown(sentences[i], c->out);
        text_put(c->out, "\n");
    }
    if (n) text_put(c->out, "\n");
}

/* One cell of a Markdown table, escaped. */
static void write_cell(Card *c, const char *s) {
    text_put(c->out, " ");
    text_markdown(s, c->out);
    text_put(c->out, " |");
}

/* Head and alignment row of a table whose columns are lengths. Where the trained context is known, each
 * length also says how many times as long it is. */
static void write_length_head(Card *c, const double *lengths, size_t n) {
    Arena *a = &c->d.arena;
    text_put(c->out, "| tokens |");
    for (size_t i = 0; i < n; i++)
        write_cell(c, c->d.context ? arena_printf(a, "%s (%s)", text_count(a, lengths[i]),
                                                  text_times(a, lengths[i] / c->d.context))
                                   : text_count(a, lengths[i]));
    text_put(c->out, "\n|---|");
    for (size_t i = 0; i < n; i++)
        text_put(c->out, "---:|");
    text_put(c->out, "\n");
}

/* A value with its interval in brackets, "12.3 (12.1-12.5)", both formatted by `show`. A value without an
 * interval stands alone. */
static const char *with_interval(Card *c, const Estimate *e, const char *(*show)(Arena *a, double v)) {
    Arena *a = &c->d.arena;
    if (!rows_bounded(e)) return show(a, e->value);
    return arena_printf(a, "%s (%s\xe2\x80\x93%s)", show(a, e->value), show(a, e->low), show(a, e->high));
}

/* The row of the card's own model is in bold. */
static void write_row_head(Card *c, size_t series) {
    text_put(c->out, series == c->series ? "| **" : "| ");
    text_markdown(text_clip(&c->d.arena, c->d.series[series].label, 80), c->out);
    text_put(c->out, series == c->series ? "** |" : " |");
}

/* The picture stands above the table; its file is written beside the card. */
static void write_perplexity(Card *c) {
    double *lengths;
    size_t n = lookup_perplexity_lengths(&c->d, &lengths);
    if (!n) return;
    text_put(c->out, "## Perplexity\n\nOn ");
    text_markdown(text_name(c), c->out);
    text_put(
        c->out,
        "; 95\xc2\xa0% intervals in brackets. Lower is better.\n\n![Perplexity by context length, a line per "
        "model and method](" PICTURE_PERPLEXITY ")\n\n");
    write_length_head(c, lengths, n);
    for (size_t s = 0; s < c->d.n_series && s < MAX_TABLE_SERIES; s++) {
        write_row_head(c, s);
        for (size_t i = 0; i < n; i++) {
            /* A model that was not measured at this length has an empty cell. */
            const PerplexityRow *row = lookup_perplexity(&c->d, s, lengths[i]);
            write_cell(c, row ? with_interval(c, &row->perplexity, text_value) : "");
        }
        text_put(c->out, "\n");
    }
    text_put(c->out, "\n");
}

/* A task at all lengths by one metric; depths are pooled. */
static void write_task_table(Card *c, size_t task, int metric) {
    double *lengths;
    size_t n = lookup_task_lengths(&c->d, task, &lengths);
    if (!lookup_has_metric(&c->d, task, metric)) return;
    text_put(c->out, metric == METRIC_SCORE
                         ? "Exact answers, in % of all answers:\n\n"
                         : "Right answer ranked first among the candidates, in % of questions:\n\n");
    write_length_head(c, lengths, n);
    for (size_t s = 0; s < c->d.n_series && s < MAX_TABLE_SERIES; s++) {
        write_row_head(c, s);
        for (size_t i = 0; i < n; i++) {
            Estimate e;
            double trials;
            /* A model that was not asked at this length has an empty cell. */
            bool any = lookup_pooled(&c->d, task, s, lengths[i], metric, &e, &trials);
            write_cell(c, any ? with_interval(c, &e, text_share) : "");
        }
        text_put(c->out, "\n");
    }
    text_put(c->out, "\n");
}

/* A section for each task with a table per metric. The task whose heatmaps are drawn (report_picture_task)
 * also refers to that picture. */
static void write_tasks(Card *c) {
    size_t pictured = report_picture_task(&c->d);
    for (size_t t = 0; t < c->d.n_tasks && t < MAX_CARD_TASKS; t++) {
        text_put(c->out, "## Task: ");
        text_markdown(text_clip(&c->d.arena, c->d.tasks[t], 60), c->out);
        text_put(c->out, "\n\n");
        if (t == pictured)
            text_put(c->out, "![Share of trials answered by context length and depth, a map per model and "
                             "method](" PICTURE_NEEDLE ")\n\n");
        for (int m = 0; m < METRICS; m++)
            write_task_table(c, t, m);
    }
}

/* How position enters in each layer, with neighbouring layers that are alike in one row. */
static void write_layers(Card *c) {
    LayerRun *runs;
    Arena *a = &c->d.arena;
    /* Neighbouring layers that are alike form one run, which is one row. */
    size_t n = lookup_layer_runs(&c->d, &c->d.models[c->model], &runs);
    if (!n) return;
    text_put(c->out, "## Layers\n\n| layers | position | attends to |\n|---|---|---|\n");
    for (size_t i = 0; i < n && i < MAX_CARD_LAYERS; i++) {
        const LayerRun *r = &runs[i];
        text_put(c->out, "|");
        write_cell(c, r->first == r->last ? arena_printf(a, "%zu", r->first)
                                          : arena_printf(a, "%zu\xe2\x80\x93%zu", r->first, r->last));
        write_cell(c, text_clip(a, lookup_position_name(r->position), 60));
        write_cell(c,
                   isnan(r->window) ? "all tokens" : arena_printf(a, "%s tokens", text_count(a, r->window)));
        text_put(c->out, "\n");
    }
    text_put(c->out, "\n");
}

/* The command, version and machine, and how intervals are to be read. */
static void write_method(Card *c) {
    const json_t *r = c->d.results, *machine = json_object_get(r, "machine");
    const char *command = rows_string(r, "command"), *cpu = rows_string(machine, "cpu");
    const char *version = rows_string(r, "derope");
    double seconds = rows_number(r, "seconds"), cores = rows_number(machine, "cores");
    Arena *a = &c->d.arena;
    text_put(c->out, "## How it was measured\n\n");
    if (*command) text_markdown_block(text_clip(a, command, 8000), c->out);
    if (*command) text_put(c->out, "\n");
    /* A sentence of those parts that results have: version, processor, cores, time. */
    Buffer b = {0};
    if (*version) buffer_printf(&b, "derope %s", text_clip(a, version, 40));
    if (*cpu) buffer_printf(&b, "%s%s", b.size ? ", on " : "On ", text_clip(a, cpu, 100));
    if (cores >= 1) buffer_printf(&b, "%s%.0f %s", b.size ? ", " : "", cores, cores == 1 ? "core" : "cores");
    if (seconds >= 0) buffer_printf(&b, "%s%s", b.size ? ", " : "", text_seconds(a, seconds));
    if (b.size) {
        text_markdown(buffer_string(&b), c->out);
        text_put(c->out, ".\n\n");
    }
    buffer_free(&b);
    text_put(
        c->out,
        "Intervals cover 95\xc2\xa0%. Perplexities compare only between models that share a tokenizer.\n");
}

/* Every section writes nothing if it has no data, so a card of empty results is a heading and a sentence. */
void report_card(const json_t *results, const json_t *front, Buffer *out) {
    Card c = {.front = json_is_object(front) ? front : NULL, .out = out};
    rows_read(results, &c.d);
    /* The model comes first: front matter and every section depend on which one it is. */
    choose_model(&c);
    write_front_matter(&c);
    if (c.model < c.d.n_models)
        write_title(&c);
    else
        text_put(out, "# Evaluation\n\n");
    write_summary(&c);
    write_perplexity(&c);
    write_tasks(&c);
    if (c.model < c.d.n_models) write_layers(&c);
    write_method(&c);
    rows_free(&c.d);
}

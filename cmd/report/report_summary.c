/* The sentences of a summary (report_summary.h): which model is best at the longest length and how sure that
 * is, how each model changes with length, what the tasks found, and how models were recalibrated. The HTML
 * page (report_html.c) shows them below its title and the model card (report_card.c) as a list. All
 * sentences follow from the numbers by fixed rules; an order is called certain only where 95 % intervals do
 * not overlap. Texts live in the arena of ReportData. */
#include "cmd/report/report_summary.h"

#include <math.h>
#include <string.h>

#include "cmd/report/report_text.h"
#include "cmd/report/result_lookup.h"

/* At most so many names in a sentence, models and tasks with a sentence of their own. */
enum { MAX_NAMED = 3, MAX_MODELS = 4, MAX_TASKS = 3 };

/* ---- comparing series ---- */

/* One series in a comparison. */
typedef struct Entry {
    const char *label;
    Estimate e;
} Entry;

/* A comparison: one entry for each series, all measured in the same way. */
typedef struct Contest {
    ReportData *d;
    Entry *entries; /* (n) */
    size_t n;
    size_t best;                             /* index of the best entry */
    bool high_wins;                          /* the higher value is the better one */
    const char *(*show)(Arena *a, double v); /* how values are written */
    const char *unit;                        /* written after them */
} Contest;

/* Names in sentences are clipped earlier than in tables. */
static const char *label_of(const ReportData *d, size_t series) {
    return text_clip((Arena *)&d->arena, d->series[series].label, 60);
}

/* "512 tokens (2x the training length)". */
static const char *at_length(ReportData *d, double length) {
    /* Without a trained context in the results the multiple cannot be given. */
    const char *n = text_count(&d->arena, length);
    if (!d->context) return arena_printf(&d->arena, "%s tokens", n);
    return arena_printf(&d->arena, "%s tokens (%s the training length)", n,
                        text_times(&d->arena, length / d->context));
}

/* Whether x is better than y. */
static bool beats(const Contest *c, double x, double y) {
    return c->high_wins ? x > y : x < y;
}

/* The first of equals stays the best; `tied` finds the others. */
static void find_best(Contest *c) {
    for (size_t i = 1; i < c->n; i++)
        if (beats(c, c->entries[i].e.value, c->entries[c->best].e.value)) c->best = i;
}

/* A value with its unit. */
static const char *show(const Contest *c, double v) {
    return arena_printf(&c->d->arena, "%s%s", c->show(&c->d->arena, v), c->unit);
}

/* " (95 % interval a-b)", or nothing if there is none. */
static const char *interval(const Contest *c, const Estimate *e) {
    if (!rows_bounded(e)) return "";
    Arena *a = &c->d->arena;
    return arena_printf(a, " (95\xc2\xa0%% interval %s\xe2\x80\x93%s)", c->show(a, e->low),
                        c->show(a, e->high));
}

/* Whether two intervals do not touch, in which case the order of their values counts as certain. */
static bool disjoint(const Estimate *x, const Estimate *y) {
    return rows_bounded(x) && rows_bounded(y) && (x->high < y->low || y->high < x->low);
}

/* The names of the entries that are `in`: "A, B and 3 more". */
static const char *list_names(const Contest *c, const bool *in) {
    Buffer b = {0};
    /* The total decides between " and " and ", " before the last name. */
    size_t total = 0, named = 0;
    for (size_t i = 0; i < c->n; i++)
        total += in[i];
    for (size_t i = 0; i < c->n && named < MAX_NAMED; i++) {
        if (!in[i]) continue;
        bool last = ++named == total;
        text_put(&b, named == 1 ? "" : last ? " and " : ", ");
        text_put(&b, c->entries[i].label);
    }
    if (total > named) buffer_printf(&b, " and %zu more", total - named);
    const char *s = arena_strdup(&c->d->arena, buffer_string(&b));
    buffer_free(&b);
    return s;
}

/* A sentence on how sure the first place is. If all intervals are known, it names those that overlap the best
 * one's, or says that none does; without all intervals it only names the next value and leaves the order
 * open. */
static const char *certainty(const Contest *c) {
    Arena *a = &c->d->arena;
    /* Which other entries have an interval that meets the best one's, and which is the next best. */
    bool *meets = arena_alloc(a, c->n + 1), unbounded = false;
    size_t n_meets = 0, next = c->n;
    const Estimate *best = &c->entries[c->best].e;
    for (size_t i = 0; i < c->n; i++) {
        const Estimate *e = &c->entries[i].e;
        if (i == c->best) continue;
        unbounded = unbounded || !rows_bounded(e);
        meets[i] = !disjoint(best, e);
        n_meets += meets[i];
        if (next == c->n || beats(c, e->value, c->entries[next].e.value)) next = i;
    }
    /* A single entry has no order. Otherwise there are three cases: intervals are missing, no interval meets
     * the best one's, or some do. */
    if (c->n < 2) return "";
    if (unbounded || !rows_bounded(best))
        return arena_printf(
            a, " Next is %s with %s; not every value has an interval, so this order is uncertain.",
            c->entries[next].label, show(c, c->entries[next].e.value));
    if (!n_meets)
        return arena_printf(a, " Next is %s with %s%s; no other interval overlaps the first.",
                            c->entries[next].label, show(c, c->entries[next].e.value),
                            interval(c, &c->entries[next].e));
    const char *rest = n_meets < c->n - 1 ? " No other interval overlaps it." : "";
    return arena_printf(a, " Its interval overlaps %s of %s, so their order is uncertain.%s",
                        n_meets == 1 ? "that" : "those", list_names(c, meets), rest);
}

/* Marks the entries that have the best value, and returns how many they are: 1 if the best is alone. */
static size_t tied(const Contest *c, bool *in) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        in[i] = c->entries[i].e.value == c->entries[c->best].e.value;
        n += in[i];
    }
    return n;
}

/* Shares in percent, the highest best; or other values, the lowest best. */
static Contest contest(ReportData *d, bool high_wins) {
    return (Contest){.d = d,
                     .entries = arena_alloc(&d->arena, (d->n_series + 1) * sizeof(Entry)),
                     .high_wins = high_wins,
                     .show = high_wins ? text_share : text_value,
                     .unit = high_wins ? "\xc2\xa0%" : ""};
}

/* ---- sentences ---- */

/* Who has the lowest perplexity at the longest length, which is what an evaluation of long contexts is
 * about. */
static const char *say_perplexity(ReportData *d) {
    double *lengths;
    size_t n = lookup_perplexity_lengths(d, &lengths);
    if (!n) return NULL;
    Arena *a = &d->arena;
    Contest c = contest(d, false);
    /* Step 1: the perplexity of every series that was measured at the longest length. */
    for (size_t s = 0; s < d->n_series; s++) {
        const PerplexityRow *row = lookup_perplexity(d, s, lengths[n - 1]);
        if (row) c.entries[c.n++] = (Entry){label_of(d, s), row->perplexity};
    }
    /* Step 2: the lowest one, and the parts that all forms of the sentence share. */
    find_best(&c);
    const Entry *best = &c.entries[c.best];
    const char *where = at_length(d, lengths[n - 1]), *value = show(&c, best->e.value);
    bool *in = arena_alloc(a, c.n + 1);
    /* Step 3: the form of the sentence. It differs for a single series and where several share the lowest
     * value. */
    if (c.n == 1)
        return arena_printf(a, "At %s %s has a perplexity of %s%s.", where, best->label, value,
                            interval(&c, &best->e));
    if (tied(&c, in) > 1)
        return arena_printf(a, "At %s %s share the lowest perplexity, %s.", where, list_names(&c, in), value);
    return arena_printf(a, "At %s %s has the lowest perplexity of the %zu measured, %s%s.%s", where,
                        best->label, c.n, value, interval(&c, &best->e), certainty(&c));
}

/* A relative change as text: "+12 %", "-3 %", "less than 1 %", and "12x" from tenfold on. */
static const char *relative(Arena *a, double change) {
    if (fabs(change) < 0.005) return "less than 1 %";
    if (change >= 9) return arena_printf(a, "%s", text_times(a, change + 1));
    return arena_printf(a, "%s%.0f\xc2\xa0%%", change < 0 ? "\xe2\x88\x92" : "+", 100 * fabs(change));
}

/* How a series changes from its shortest to its longest length. */
static const char *say_change(ReportData *d, size_t series) {
    const PerplexityRow *first = NULL, *last = NULL;
    Arena *a = &d->arena;
    /* The rows of a series rise by length (result_rows.c), so the first and the last one are its extremes. */
    for (size_t i = 0; i < d->n_perplexity; i++) {
        if (d->perplexity[i].series != series) continue;
        if (!first) first = &d->perplexity[i];
        last = &d->perplexity[i];
    }
    if (!first || first->length == last->length) return NULL;
    const Estimate *x = &first->perplexity, *y = &last->perplexity;
    const char *from = text_value(a, x->value), *to = text_value(a, y->value);
    const char *what =
        arena_printf(a, "From %s to %s tokens the perplexity of %s", text_count(a, first->length),
                     text_count(a, last->length), label_of(d, series));
    const char *change = relative(a, y->value / x->value - 1);
    /* "rises" and "falls" are claims that need two intervals without overlap. Otherwise the sentence only
     * states both values. */
    if (!rows_bounded(x) || !rows_bounded(y))
        return arena_printf(a, "%s goes from %s to %s (%s).", what, from, to, change);
    if (!disjoint(x, y))
        return arena_printf(a, "%s stays level within its intervals (%s, then %s).", what, from, to);
    return arena_printf(a, "%s %s from %s to %s (%s).", what, y->value > x->value ? "rises" : "falls", from,
                        to, change);
}

/* The sentence reads on if the number of trials is unknown. */
static const char *trials_text(ReportData *d, double trials) {
    return isnan(trials) ? "its trials" : arena_printf(&d->arena, "%s trials", text_count(&d->arena, trials));
}

/* Who answers a task best at its longest length. *all_zero says that nobody answered anything by this
 * metric. */
static const char *say_task(ReportData *d, size_t task, int metric, bool *all_zero) {
    double *lengths, trials = NAN, best_trials = NAN;
    size_t n = lookup_task_lengths(d, task, &lengths);
    Arena *a = &d->arena;
    Contest c = contest(d, true);
    *all_zero = true;
    /* Step 1: the pooled result of every series that was asked this task at its longest length. */
    for (size_t s = 0; s < d->n_series && n; s++) {
        Estimate e;
        if (!lookup_pooled(d, task, s, lengths[n - 1], metric, &e, &trials)) continue;
        if (!c.n || e.value > c.entries[c.best].e.value) c.best = c.n, best_trials = trials;
        c.entries[c.n++] = (Entry){label_of(d, s), e};
    }
    if (!c.n) return NULL;
    /* Step 2: the parts of the sentence. With candidates, the share that guessing would reach belongs to the
     * result. */
    const Entry *best = &c.entries[c.best];
    *all_zero = best->e.value == 0;
    const char *name = text_clip(a, d->tasks[task], 40),
               *where = arena_printf(a, "%s tokens", text_count(a, lengths[n - 1]));
    const char *does = metric == METRIC_SCORE ? "answers exactly" : "ranks the right answer first";
    double chance = metric == METRIC_FIRST ? lookup_chance(d, task) : NAN;
    const char *guess =
        isnan(chance) ? "" : arena_printf(a, " Guessing would reach %s\xc2\xa0%%.", text_share(a, chance));
    bool *in = arena_alloc(a, c.n + 1);
    /* Step 3: the form of the sentence for no success at all, for a tie, and for a single best series. */
    if (*all_zero)
        return arena_printf(a, "Task %s at %s: nothing %s in any trial.%s", name, where, does, guess);
    if (c.n > 1 && tied(&c, in) > 1)
        return arena_printf(a, "Task %s at %s: %s share the highest score, %s of trials.%s", name, where,
                            list_names(&c, in), show(&c, best->e.value), guess);
    return arena_printf(a, "Task %s at %s: %s %s in %s of %s%s%s.%s%s", name, where, best->label, does,
                        show(&c, best->e.value), trials_text(d, best_trials), interval(&c, &best->e),
                        c.n > 1 ? arena_printf(a, ", the most of the %zu measured", c.n) : "", certainty(&c),
                        guess);
}

/* How long a model was trained, and where its loss began and ended. */
static const char *say_recalibration(ReportData *d, const ReportModel *m) {
    const json_t *r = json_object_get(m->json, "recalibration");
    double tokens = rows_number(r, "tokens_seen"), seconds = rows_number(r, "seconds"), *xs, *ys;
    const char *objective = rows_string(r, "objective");
    Arena *a = &d->arena;
    /* The comparison also rejects NAN, which rows_number gives for a missing member. */
    if (!(tokens > 0)) return NULL;
    size_t n = lookup_losses(d, m, SIZE_MAX, &xs, &ys);
    const char *in = seconds > 0 ? arena_printf(a, " in %s", text_seconds(a, seconds)) : "";
    const char *how = *objective ? arena_printf(a, " (%s)", text_clip(a, objective, 40)) : "";
    const char *loss = n > 1 ? arena_printf(a, "; its loss went from %s to %s", text_value(a, ys[0]),
                                            text_value(a, ys[n - 1]))
                             : "";
    return arena_printf(a, "%s was recalibrated on %s tokens%s%s%s.", text_clip(a, m->name, 60),
                        text_count(a, tokens), in, how, loss);
}

/* The order is that of importance: the comparison, each model by itself, the tasks, the training. */
size_t report_summary(ReportData *d, const char **out, size_t max) {
    size_t n = 0, models = 0;
    const char *s = say_perplexity(d);
    if (s && n < max) out[n++] = s;
    for (size_t i = 0; i < d->n_series && models < MAX_MODELS; i++) {
        /* A series with a dash pattern is a model under a context-extension method; only models themselves
         * get this sentence. */
        if (d->series[i].dash || !(s = say_change(d, i)) || n >= max) continue;
        out[n++] = s;
        models++;
    }
    for (size_t t = 0; t < d->n_tasks && t < MAX_TASKS; t++) {
        bool zero = true;
        s = say_task(d, t, METRIC_SCORE, &zero);
        if (s && n < max) out[n++] = s;
        /* Where nobody answers exactly, as base models often do not, the ranking of candidates may still tell
         * the models apart. */
        if (!zero) continue;
        s = say_task(d, t, METRIC_FIRST, &zero);
        if (s && n < max) out[n++] = s;
    }
    models = 0;
    for (size_t i = 0; i < d->n_models && models < MAX_MODELS; i++) {
        if (!(s = say_recalibration(d, &d->models[i])) || n >= max) continue;
        out[n++] = s;
        models++;
    }
    return n;
}

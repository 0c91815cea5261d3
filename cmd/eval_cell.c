#include "cmd/eval_cell.h"

#include <math.h>

#include "cmd/cmd.h"
#include "recal/evaluate/wilson_interval.h"

/* ---- perplexity ---- */

enum { POSITIONS = 32 }; /* points of a curve of loss by position */

static json_t *curve(const double *sums, size_t windows, size_t first, size_t context) {
    json_t *list = json_array();
    size_t scored = context - 1 - first, points = scored < POSITIONS ? scored : POSITIONS;
    for (size_t i = 0; i < points; i++) {
        size_t from = first + scored * i / points, to = first + scored * (i + 1) / points;
        double sum = 0;
        for (size_t j = from; j < to; j++)
            sum += sums[j];
        json_array_append_new(list, json_pack("{s:I, s:f}", "to", (json_int_t)to + 1, "nll",
                                              sum / (double)((to - from) * windows)));
    }
    return list;
}

/* Perplexity of a part of the text, as a row without its setting. */
static json_t *measure_text(const Bench *b, Net *n, size_t T, size_t from, size_t to, Error *e) {
    Perplexity p;
    double *sums = xcalloc(T, sizeof *sums), low, high;
    json_t *row = NULL;
    if (perplexity_by_position(n, b->text.ids + from, to - from, T, b->o->score, b->bos, &cmd_stop, sums, &p,
                               e)) {
        perplexity_interval(&p, &low, &high);
        size_t first = b->o->score == SCORE_HALF ? T / 2 : 0;
        row = json_pack("{s:f, s:f, s:I, s:I, s:o}", "perplexity", exp(p.nll), "nll", p.nll, "tokens",
                        (json_int_t)p.tokens, "windows", (json_int_t)p.windows, "positions",
                        curve(sums, p.windows, first, T));
        if (isfinite(high)) json_object_update_new(row, json_pack("{s:f, s:f}", "low", low, "high", high));
    }
    free(sums);
    return row;
}

/* Tokens of the text that are for finding a softmax scale at this length: a quarter, in whole windows; 0
 * where none is searched or the text is too short. */
static size_t validation_end(const Bench *b, uint64_t length) {
    size_t windows = b->text.n / length, part = windows / 4 ? windows / 4 : 1;
    return b->o->search_scale && windows > 1 ? part * length : 0;
}

json_t *measure_perplexity(const Bench *b, Net *n, uint64_t length, const EvalTask *task, Error *e) {
    (void)task;
    return measure_text(b, n, length, validation_end(b, length), b->text.n, e);
}

json_t *measure_validation(const Bench *b, Net *n, uint64_t length, const EvalTask *task, Error *e) {
    (void)task;
    size_t end = validation_end(b, length);
    if (end) return measure_text(b, n, length, 0, end, e);
    error_set(e, ERR_INPUT, "the text has %zu tokens, too few to search a softmax scale at %llu", b->text.n,
              (unsigned long long)length);
    return NULL;
}

/* ---- tasks ---- */

static Random scene_random(const Bench *b, const EvalTask *task, uint64_t length, uint64_t scene) {
    uint64_t seed = b->o->seed * 1000003 + length;
    for (const char *p = task->name; *p; p++)
        seed = seed * 31 + (uint8_t)*p;
    Random r = random_seeded(seed * 1000003 + scene);
    random_u64(&r);
    return r;
}

static json_t *score_row(const TaskScore *t, double depth, bool has_depth) {
    double low, high, share = t->answers ? (double)t->answers_found / (double)t->answers : 0;
    wilson_interval(share, (double)t->trials, &low, &high);
    json_t *row = json_pack("{s:o, s:I, s:f, s:f, s:f}", "depth", has_depth ? json_real(depth) : json_null(),
                            "trials", (json_int_t)t->trials, "score", share, "low", low, "high", high);
    if (!t->ranked) return row;
    double first = (double)t->ranked_first / (double)t->ranked;
    wilson_interval(first, (double)t->ranked, &low, &high);
    json_object_update_new(row, json_pack("{s:f, s:f, s:f, s:f, s:I}", "first", first, "first_low", low,
                                          "first_high", high, "mean_rank", t->rank_sum / (double)t->ranked,
                                          "candidates", (json_int_t)10));
    return row;
}

enum { QUESTIONS = 5 }; /* about one scene */

/* A task that a length has no room for, or the wording no words, is left out there. */
static bool ask_until_done(const Bench *b, const SceneEvaluation *how, const EvalTask *task,
                           TaskScore *scores, Error *e) {
    for (uint64_t scene = 0; scores[0].trials < b->o->trials; scene++) {
        size_t left = b->o->trials - scores[0].trials;
        EvalTaskInput in = {.tokenizer = b->tokenizer,
                            .haystack = &b->haystack,
                            .wording = &b->wording,
                            .length = how->length,
                            .n_questions = left < QUESTIONS ? left : QUESTIONS};
        Random r = scene_random(b, task, how->length, scene);
        Scene made = {0};
        Error cannot = {0};
        bool can = task->make(&in, &r, &made, &cannot);
        bool ok = !can || evaluate_scene(how, &made, scores, e);
        scene_free(&made);
        if (!can) cmd_note("%s is left out: %s", task->name, cannot.message);
        if (!can || !ok) return ok;
    }
    return true;
}

json_t *measure_task(const Bench *b, Net *n, uint64_t length, const EvalTask *task, Error *e) {
    double depths[EVAL_MOST] = {0};
    size_t n_depths = task->has_depth ? b->o->n_depths : 1;
    for (size_t i = 0; i < n_depths; i++)
        depths[i] = n_depths > 1 ? (double)i / (double)(n_depths - 1) : 0.5;
    TaskScore scores[EVAL_MOST] = {0};
    json_t *rows = NULL;
    SceneEvaluation how = {.net = n,
                           .tokenizer = b->tokenizer,
                           .depths = depths,
                           .n_depths = n_depths,
                           .length = length,
                           .stop = &cmd_stop,
                           .on_answer = b->on_answer,
                           .context = b->answer_context};
    if (ask_until_done(b, &how, task, scores, e)) {
        rows = json_array();
        for (size_t i = 0; i < n_depths && scores[i].trials; i++)
            json_array_append_new(rows, score_row(&scores[i], depths[i], task->has_depth));
    }
    return rows;
}

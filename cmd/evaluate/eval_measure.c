/* The measurements themselves. Perplexity is computed by recal/perplexity.c, questions are made and asked by
 * recal/evaluate; what happens here is choosing the part of the text, seeding the questions, and turning
 * counts into rows with intervals. */
#include "cmd/evaluate/eval_measure.h"

#include <math.h>

#include "cmd/cmd.h"
#include "cmd/token_input.h"
#include "recal/evaluate/wilson_interval.h"

/* ---- inputs ---- */

enum { MAX_HAYSTACK_BYTES = 1 << 22 };

/* The text is tokenized only for perplexity, the haystack only for tasks; neither is opened for a subject
 * whose cells all lie in the state. */
bool eval_inputs_open(EvalInputs *in, Checkpoint *source, Error *e) {
    const EvalOptions *o = in->options;
    if (in->tokenizer) return true;
    in->tokenizer = tokenizer_open(source, e);
    return in->tokenizer &&
           (!o->perplexity ||
            perplexity_tokens(in->tokenizer, o->texts, o->n_texts, o->field, o->score == SCORE_HALF,
                              o->max_tokens, &in->text, &in->bos, e)) &&
           (!eval_options_has_tasks(o) || haystack_open(o->texts, o->n_texts, o->field, MAX_HAYSTACK_BYTES,
                                                        in->tokenizer, &in->haystack, e));
}

/* The next subject may have another tokenizer. */
void eval_inputs_close(EvalInputs *in) {
    haystack_close(&in->haystack);
    token_list_free(&in->text);
    in->text = (TokenList){0};
    tokenizer_close(in->tokenizer);
    in->tokenizer = NULL;
}

/* ---- perplexity ---- */

enum { MAX_CURVE_POINTS = 32 }; /* of a curve of loss by position */

/* The loss by position as at most MAX_CURVE_POINTS means over neighbouring positions. sums[j] is the loss in
 * nats at position j, summed over `windows`; positions before `first` are not scored. "to" is the last
 * position of a mean, counted from 1. */
static json_t *loss_curve(const double *sums, size_t windows, size_t first, size_t context) {
    json_t *list = json_array();
    /* The last position predicts a token outside the window, so it is not scored. */
    size_t scored = context - 1 - first, points = scored < MAX_CURVE_POINTS ? scored : MAX_CURVE_POINTS;
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

/* Perplexity of tokens [from, to) of the text, in windows of T tokens. */
static json_t *measure_range(const EvalInputs *in, Net *n, size_t T, size_t from, size_t to, Error *e) {
    Perplexity p;
    double *sums = xcalloc(T, sizeof *sums), low, high;
    json_t *row = NULL;
    if (perplexity_by_position(n, in->text.ids + from, to - from, T, in->options->score, in->bos, &cmd_stop,
                               sums, &p, e)) {
        perplexity_interval(&p, &low, &high);
        size_t first = in->options->score == SCORE_HALF ? T / 2 : 0;
        row = json_pack("{s:f, s:f, s:I, s:I, s:o}", "perplexity", exp(p.nll), "nll", p.nll, "tokens",
                        (json_int_t)p.tokens, "windows", (json_int_t)p.windows, "positions",
                        loss_curve(sums, p.windows, first, T));
        /* A single window has no spread, so no interval: its bounds are infinite and JSON has no infinity. */
        if (isfinite(high)) json_object_update_new(row, json_pack("{s:f, s:f}", "low", low, "high", high));
    }
    free(sums);
    return row;
}

/* How many tokens at the start of the text are set aside to search a softmax scale at this length: a quarter,
 * in whole windows and at least one. 0 if no scale is searched, or if the text is shorter than two windows,
 * so that nothing would be left to report. */
static size_t validation_tokens(const EvalInputs *in, uint64_t length) {
    size_t windows = in->text.n / length, part = windows / 4 ? windows / 4 : 1;
    return in->options->search_scale && windows > 1 ? part * length : 0;
}

/* Perplexity of the text behind the validation part, so that a searched scale is never judged on the tokens
 * that it was chosen by. */
json_t *eval_measure_perplexity(const EvalInputs *in, Net *n, uint64_t length, const EvalTask *task,
                                Error *e) {
    (void)task;
    return measure_range(in, n, length, validation_tokens(in, length), in->text.n, e);
}

/* Only called if a scale is searched; a text of a single window leaves nothing to validate on. */
json_t *eval_measure_validation(const EvalInputs *in, Net *n, uint64_t length, const EvalTask *task,
                                Error *e) {
    (void)task;
    size_t end = validation_tokens(in, length);
    if (end) return measure_range(in, n, length, 0, end, e);
    error_set(e, ERR_INPUT,
              "the text has %zu tokens, too few to search the softmax scale at a length of %llu", in->text.n,
              (unsigned long long)length);
    return NULL;
}

/* ---- tasks ---- */

/* The random numbers of one scene. They depend on seed, task, length and the scene's number alone, so every
 * model and every method is asked the same questions. */
static Random scene_random(const EvalInputs *in, const EvalTask *task, uint64_t length, uint64_t scene) {
    /* The parts are mixed by multiplication with primes; that two scenes get the same seed by chance is
     * harmless. */
    uint64_t seed = in->options->seed * 1000003 + length;
    for (const char *p = task->name; *p; p++)
        seed = seed * 31 + (uint8_t)*p;
    Random r = random_seeded(seed * 1000003 + scene);
    random_u64(&r); /* the first number after seeding mixes the seed's bits */
    return r;
}

/* The row of one depth, from the counts of its trials. Both shares get Wilson's 95 % interval. "first",
 * "mean_rank" and "candidates" are present if the task offers candidates. */
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

/* Questions about one scene. They share its prefill, which costs far more than a question. */
enum { QUESTIONS_PER_SCENE = 5 };

/* Makes scenes and asks their questions until every depth has its trials. If the task cannot be made (the
 * length is too short, or the wording lacks words for it) it is left out with a notice, which is no error. */
static bool ask_until_done(const EvalInputs *in, const SceneEvaluation *how, const EvalTask *task,
                           TaskScore *scores, Error *e) {
    for (uint64_t scene = 0; scores[0].trials < in->options->trials; scene++) {
        /* All depths get the same questions, so their numbers of trials rise together. The last scene has
         * fewer questions if fewer trials are left. */
        size_t left = in->options->trials - scores[0].trials;
        EvalTaskInput input = {.tokenizer = in->tokenizer,
                               .haystack = &in->haystack,
                               .wording = &in->wording,
                               .length = how->length,
                               .n_questions = left < QUESTIONS_PER_SCENE ? left : QUESTIONS_PER_SCENE};
        Random r = scene_random(in, task, how->length, scene);
        Scene made = {0};
        Error cannot = {0};
        bool can = task->make(&input, &r, &made, &cannot);
        bool ok = !can || evaluate_scene(how, &made, scores, e);
        scene_free(&made);
        if (!can) cmd_note("task %s is left out: %s", task->name, cannot.message);
        if (!can || !ok) return ok;
    }
    return true;
}

/* Depths run from 0 (the needle stands before the scene) to 1 (behind it). A task without a needle is
 * measured once, at a depth of 0.5 that means nothing. */
json_t *eval_measure_task(const EvalInputs *in, Net *n, uint64_t length, const EvalTask *task, Error *e) {
    double depths[EVAL_MAX_ITEMS] = {0};
    size_t n_depths = task->has_depth ? in->options->n_depths : 1;
    for (size_t i = 0; i < n_depths; i++)
        depths[i] = n_depths > 1 ? (double)i / (double)(n_depths - 1) : 0.5;
    TaskScore scores[EVAL_MAX_ITEMS] = {0};
    json_t *rows = NULL;
    /* The scores are collected per depth, and become rows once all scenes are done. */
    SceneEvaluation how = {.net = n,
                           .tokenizer = in->tokenizer,
                           .depths = depths,
                           .n_depths = n_depths,
                           .length = length,
                           .stop = &cmd_stop,
                           .on_answer = in->on_answer,
                           .context = in->answer_context};
    if (ask_until_done(in, &how, task, scores, e)) {
        rows = json_array();
        for (size_t i = 0; i < n_depths && scores[i].trials; i++)
            json_array_append_new(rows, score_row(&scores[i], depths[i], task->has_depth));
    }
    return rows;
}

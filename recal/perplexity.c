/* Perplexity over windows of a text, and its confidence interval; see perplexity.h. The text is cut into
 * windows of the context length that do not overlap, and each is run by itself from an empty KV cache
 * (inference.c). `derope ppl` and `derope eval` (cmd/evaluate/eval_measure.c) call it. With
 * SCORE_HALF only the second half of each window counts, as in llama.cpp's perplexity tool, so that every
 * scored token has at least half a window before it. */
#include "recal/perplexity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "recal/inference.h"
#include "recal/ops/losses.h"

/* Scores one window; the context of score_rows. */
typedef struct Scorer {
    Net *n;
    const int32_t *targets;   /* (T): the token after each position; -1 after the last */
    double nll;               /* sum over the scored positions, in nats */
    double *by_position;      /* (T): sums over windows; may be NULL */
    size_t scored;            /* positions scored so far */
    const volatile int *stop; /* may be NULL */
} Scorer;

/* A LogitSink: adds the negative log-likelihood of each row's target to the sums. `first` is the position of
 * the first row in the window. */
static bool score_rows(void *context, size_t first, size_t count, float *logits, Error *e) {
    Scorer *s = context;
    if (s->stop && *s->stop) return error_set(e, ERR_INTERRUPTED, "interrupted");
    float *nll = xmalloc(count * sizeof *nll);
    cross_entropy(s->n->pool, nll, logits, s->targets + first, 0, count, s->n->spec->vocab);
    for (size_t i = 0; i < count; i++)
        if (s->targets[first + i] >= 0) {
            s->nll += nll[i];
            if (s->by_position) s->by_position[first + i] += nll[i];
            s->scored++;
        }
    free(nll);
    return true;
}

/* The first position whose prediction counts. Position i predicts token i + 1, so the last one that counts is
 * T - 2. */
static size_t first_scored(size_t context, Score score) {
    return score == SCORE_HALF ? context / 2 : 0;
}

bool perplexity_by_position(Net *n, const int32_t *ids, size_t n_ids, size_t context, Score score,
                            int32_t bos, const volatile int *stop, double *by_position, Perplexity *out,
                            Error *e) {
    *out = (Perplexity){.context = context};
    if (context < 2) return error_set(e, ERR_USAGE, "a context of %zu tokens predicts nothing", context);
    size_t windows = n_ids / context, skip = first_scored(context, score);
    /* With two tokens the second half is the last position, whose target lies outside the window. */
    if (skip + 1 == context)
        return error_set(e, ERR_USAGE, "the second half of a context of %zu tokens predicts nothing",
                         context);
    if (!windows)
        return error_set(e, ERR_INPUT, "the text has %zu tokens, fewer than one window of %zu", n_ids,
                         context);
    KvCache *kv = kv_new(n, context, e);
    if (!kv) return false;
    int32_t *window = xcalloc(context, sizeof *window), *targets = xcalloc(context, sizeof *targets);
    double sum = 0, squares = 0;
    bool ok = true;
    for (size_t w = 0; ok && w < windows; w++) {
        /* Step 1: the window and its targets. */
        memcpy(window, ids + w * context, context * sizeof *window);
        memcpy(targets, window + 1, (context - 1) * sizeof *targets);
        targets[context - 1] = -1;
        /* llama.cpp replaces the first token of each window in the same way; it is not scored with
         * SCORE_HALF. */
        if (score == SCORE_HALF && bos >= 0) window[0] = bos;
        /* Step 2: its NLL, from an empty cache. */
        Scorer s = {.n = n, .targets = targets, .by_position = by_position, .stop = stop};
        kv_clear(kv);
        ok = net_run(n, kv, window, context, skip, score_rows, &s, e);
        if (!ok && e && e->code == ERR_INPUT) error_place(e, "window %zu of %zu tokens", w, context);
        /* A loss of NaN, or one so large that its exponential overflows, would make the whole mean
         * meaningless. */
        if (ok && !isfinite(exp(s.nll / (double)s.scored)))
            ok = error_set(e, ERR_FAILED, "window %zu of %zu tokens: its mean loss is %g", w, context,
                           s.nll / (double)s.scored);
        if (!ok) break;
        /* Step 3: sums over tokens for the mean, and over windows for its standard error. */
        out->nll += s.nll;
        out->tokens += s.scored;
        double mean = s.nll / (double)s.scored;
        sum += mean;
        squares += mean * mean;
    }
    out->windows = windows;
    if (ok) out->nll /= (double)out->tokens;
    /* The standard error of the mean over windows: the variance of the windows' means, over (windows - 1). */
    double mean = sum / (double)windows, variance = squares / (double)windows - mean * mean;
    out->stderr_nll = windows > 1 && variance > 0 ? sqrt(variance / (double)(windows - 1)) : 0;
    free(window);
    free(targets);
    kv_free(kv);
    return ok;
}

bool perplexity(Net *n, const int32_t *ids, size_t n_ids, size_t context, Score score, int32_t bos,
                const volatile int *stop, Perplexity *out, Error *e) {
    return perplexity_by_position(n, ids, n_ids, context, score, bos, stop, NULL, out, e);
}

void perplexity_interval(const Perplexity *p, double *low, double *high) {
    /* The 0.975 quantiles of Student's t with 1, 2, ... 20 degrees of freedom; beyond, 1.96 + 2.5 / df is
     * within 0.002. */
    static const double t[] = {12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                               2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086};
    size_t known = sizeof t / sizeof *t;
    /* A single window has no degree of freedom: the interval is then 0 to infinity. */
    double df = (double)p->windows - 1, half = HUGE_VAL;
    if (df >= 1) half = p->stderr_nll * (df <= (double)known ? t[(size_t)df - 1] : 1.96 + 2.5 / df);
    *low = exp(p->nll - half);
    *high = exp(p->nll + half);
}

/* The training loop: which windows of the text a step reads, running the step in parts, the learning rate's
 * schedule, and when a state is saved. See train.h. */
#include "recal/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "formats/clock.h"
#include "recal/optimizer.h"
#include "recal/random.h"
#include "recal/state.h"
#include "recal/train_batch.h"

enum {
    LOSS_POINTS = 200, /* about as many points of the loss curve are kept */
    MEAN_STEPS = 10,   /* first and last loss are means over as many steps */
};

/* lr * rise * (min + (1 - min) (1 + cos(pi * progress)) / 2): the rise is linear over the warmup and 1
 * afterwards, the cosine runs over all steps, warmup included. */
double train_lr(const TrainOptions *o, uint64_t i, uint64_t n) {
    uint64_t warmup = o->warmup ? o->warmup : n / 10 < 100 ? n / 10 : 100;
    double rise = i + 1 < warmup ? (double)(i + 1) / (double)warmup : 1;
    double progress = n > 1 ? (double)i / (double)n : 0;
    return o->lr * rise * (o->min_lr_ratio + (1 - o->min_lr_ratio) * 0.5 * (1 + cos(M_PI * progress)));
}

/* The order in which windows of the text are read, drawn anew for each epoch (each time through the text).
 * Window w is the T tokens from w * T on as inputs; their targets are one token further, so a window reads T
 * + 1 tokens. */
typedef struct WindowOrder {
    uint32_t *windows; /* (n): a permutation of 0 .. n - 1 for the current epoch */
    size_t n;          /* windows in the text */
    uint64_t epoch;    /* the epoch of the permutation; UINT64_MAX before the first */
    uint64_t seed;
} WindowOrder;

/* Fisher and Yates's shuffle. Its generator is seeded by seed and epoch alone, so that a resumed run finds
 * the same order without having seen the epochs before. */
static void shuffle(WindowOrder *o, uint64_t epoch) {
    Random r = random_seeded(o->seed * 0x9e3779b97f4a7c15u + epoch);
    for (size_t i = 0; i < o->n; i++)
        o->windows[i] = (uint32_t)i;
    for (size_t i = o->n; i > 1; i--) {
        size_t j = random_u64(&r) % i;
        uint32_t swap = o->windows[i - 1];
        o->windows[i - 1] = o->windows[j];
        o->windows[j] = swap;
    }
    o->epoch = epoch;
}

/* The i-th window that the run reads, counted from its beginning. */
static uint32_t window_at(WindowOrder *o, uint64_t i) {
    if (i / o->n != o->epoch) shuffle(o, i / o->n);
    return o->windows[i % o->n];
}

/* What the loop works with. */
typedef struct Loop {
    Net *n;             /* trained in place */
    const Net *teacher; /* NULL if the objective needs none */
    const int32_t *ids; /* the text */
    const TrainOptions *o;
    AdamW adam;
    float *grads;     /* laid out like the net's weights */
    int32_t *inputs;  /* (batch, T): of the current step */
    int32_t *targets; /* (batch, T): one token further */
    WindowOrder order;
    StateKey key;   /* identifies the run in its state file */
    uint64_t steps; /* optimizer steps of the whole run */
} Loop;

/* Fills inputs and targets of an optimizer step. */
static void fill_batch(Loop *l, uint64_t step) {
    size_t T = l->o->context;
    for (size_t b = 0; b < l->o->batch; b++) {
        const int32_t *from = l->ids + (size_t)window_at(&l->order, step * l->o->batch + b) * T;
        memcpy(l->inputs + b * T, from, T * sizeof *from);
        memcpy(l->targets + b * T, from + 1, T * sizeof *from);
    }
}

/* One optimizer step: gradients of all parts of the batch, added up, then AdamW. The mean loss goes to
 * *loss. */
static bool run_step(Loop *l, uint64_t step, double *loss, Error *e) {
    const TrainOptions *o = l->o;
    size_t T = o->context, parts = o->accumulate, rows = o->batch / parts;
    fill_batch(l, step);
    /* Step 1: the gradient of the batch's mean loss, which is the mean over its equal parts. */
    memset(l->grads, 0, l->n->n_weights * sizeof *l->grads);
    *loss = 0;
    for (size_t i = 0; i < parts; i++) {
        Batch b = {.ids = l->inputs + i * rows * T,
                   .targets = l->targets + i * rows * T,
                   .B = rows,
                   .T = T,
                   .objective = o->objective,
                   .teacher = l->teacher,
                   .grads = l->grads,
                   .grad_scale = 1.0f / (float)parts};
        double part;
        if (!net_train_batch(l->n, &b, &part, e)) return false;
        *loss += part / (double)parts;
    }
    /* Step 2: the weights. A gradient that is not finite changes nothing, and the error says so. */
    l->adam.lr = train_lr(o, step, l->steps);
    double norm = adamw_step(&l->adam, l->n, l->grads);
    return (isfinite(*loss) && isfinite(norm)) ||
           error_set(
               e, ERR_FAILED,
               "the loss is %g after %llu tokens, its gradient's norm %g; a lower learning rate may help",
               *loss, (unsigned long long)(step * o->batch * T), norm);
}

/* Takes a step's loss into the result: running means of the first and last steps, and the curve. */
static void note_loss(Loop *l, TrainResult *r, double loss) {
    uint64_t every = l->steps / LOSS_POINTS + 1;
    if (r->steps < MEAN_STEPS) r->first += (loss - r->first) / (double)(r->steps + 1);
    uint64_t tail = l->steps > MEAN_STEPS ? l->steps - MEAN_STEPS : 0;
    if (r->steps >= tail) r->last += (loss - r->last) / (double)(r->steps - tail + 1);
    if (r->steps % every == 0)
        json_array_append_new(r->losses, json_pack("[I, f]", (json_int_t)r->tokens, loss));
}

/* Saves the state if the options name a place for it. */
static bool save(Loop *l, const TrainResult *r, Error *e) {
    return !l->o->state_path || state_save(l->o->state_path, &l->key, l->n, &l->adam, r, e);
}

/* Steps until the budget is used up, from wherever `r` stands; saves from time to time, on a stop, and at the
 * end. */
static bool run(Loop *l, TrainResult *r, Error *e) {
    const TrainOptions *o = l->o;
    double start = clock_seconds(), before = r->seconds, saved = start;
    r->resumed = r->tokens;
    if (r->steps >= l->steps) return true; /* the state is that of a finished run */
    while (r->steps < l->steps) {
        double loss;
        if (!run_step(l, r->steps, &loss, e)) return false;
        note_loss(l, r, loss);
        r->steps++;
        r->tokens += (uint64_t)o->batch * o->context;
        /* After each step: report, stop if asked to, and save if it is time. */
        double time = clock_seconds();
        r->seconds = before + time - start;
        if (o->progress)
            o->progress(o->progress_context, r->tokens, l->steps * o->batch * o->context, loss, l->adam.lr,
                        (double)(r->tokens - r->resumed) / (time - start));
        if (o->stop && *o->stop) {
            if (!save(l, r, e)) return false;
            return error_set(e, ERR_INTERRUPTED, "interrupted after %llu tokens",
                             (unsigned long long)r->tokens);
        }
        if (time - saved > o->save_seconds) {
            if (!save(l, r, e)) return false;
            saved = time;
        }
    }
    return save(l, r, e);
}

bool train_run(Net *n, const Net *teacher, const int32_t *ids, size_t n_ids, const TrainOptions *o,
               TrainResult *r, Error *e) {
    *r = (TrainResult){.losses = json_array()};
    if (!train_check(o, e)) return false;
    /* A sequence of T inputs needs T + 1 tokens, since every target is the token after its input. */
    if (n_ids < (size_t)o->context + 1)
        return error_set(e, ERR_INPUT, "the training text has %zu tokens, one sequence takes %u", n_ids,
                         o->context + 1);
    /* The number of windows is (n_ids - 1) / T, because the last target is one token after the last input. */
    Loop l = {.n = n, .teacher = teacher, .ids = ids, .o = o};
    uint64_t per_step = (uint64_t)o->batch * o->context;
    size_t rows = (size_t)o->batch * o->context;
    l.steps = (o->tokens + per_step - 1) / per_step;
    if (o->state_path) l.key = state_key(n, teacher, ids, n_ids, o);
    l.order = (WindowOrder){.n = (n_ids - 1) / o->context, .seed = o->seed, .epoch = UINT64_MAX};
    l.order.windows = xcalloc(l.order.n, sizeof *l.order.windows);
    l.adam = (AdamW){
        .beta1 = o->beta1, .beta2 = o->beta2, .eps = 1e-8, .weight_decay = o->weight_decay, .clip = o->clip};
    l.inputs = xcalloc(rows, sizeof *l.inputs);
    l.targets = xcalloc(rows, sizeof *l.targets);
    /* The batch's activations are allocated by net_train_batch; what lasts for the whole run is allocated
     * here. */
    l.grads = big_alloc(n->n_weights, sizeof *l.grads, "gradients", e);
    bool ok = l.grads && adamw_init(&l.adam, n, e);
    if (ok && o->resume) ok = state_load(o->state_path, &l.key, n, &l.adam, r, e);
    ok = ok && run(&l, r, e);
    adamw_free(&l.adam);
    free(l.order.windows);
    free(l.inputs);
    free(l.targets);
    free(l.grads);
    return ok;
}

/* Gradients and two moments are as large as the weights; the teacher's weights too. */
uint64_t train_bytes(const ModelSpec *s, uint64_t weight_bytes, const TrainOptions *o) {
    uint64_t rows = o->batch / (o->accumulate ? o->accumulate : 1);
    return 3 * weight_bytes + (o->objective->needs_teacher ? weight_bytes : 0) +
           net_train_bytes(s, rows, o->context);
}

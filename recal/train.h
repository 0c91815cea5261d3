/* The recalibration loop: data -> batches -> AdamW, resumable. */
#ifndef DEROPE_RECAL_TRAIN_H
#define DEROPE_RECAL_TRAIN_H

#include "recal/net.h"

typedef enum Objective { OBJECTIVE_NEXT_TOKEN, OBJECTIVE_DISTILL } Objective;

typedef struct AdamW {
    double lr, beta1, beta2, eps, weight_decay, clip; /* clip: global gradient norm, 0 = off */
    uint64_t step;
    float *m, *v; /* n_weights each */
} AdamW;

bool adamw_init(AdamW *o, const Net *n, Error *e);
/* One step with the gradient in `grads` (clipped in place); returns the norm before clipping. Decoupled
 * weight decay, bias correction: as torch.optim.AdamW. */
double adamw_step(AdamW *o, Net *n, float *grads);
void adamw_free(AdamW *o);

typedef struct TrainOptions {
    Objective objective;
    uint64_t tokens;     /* budget */
    uint32_t context;    /* T */
    uint32_t batch;      /* sequences per optimiser step */
    uint32_t accumulate; /* batch is run in this many parts; 1 */
    double lr, min_lr_ratio, weight_decay, beta1, beta2, clip;
    uint32_t warmup; /* steps; then cosine to lr * min_lr_ratio */
    uint64_t seed;
    const char *state_path; /* where a resumable state is kept; NULL: nowhere */
    bool resume;
    uint32_t save_seconds; /* between states */
    const volatile int *stop;
    /* called after every step; may be NULL */
    void (*progress)(void *context, uint64_t tokens_done, uint64_t tokens, double loss, double lr,
                     double tokens_per_s);
    void *progress_context;
} TrainOptions;

typedef struct TrainResult {
    uint64_t tokens, steps;
    double seconds, first_loss, last_loss; /* means of the first and last 10 steps */
    json_t *losses;                        /* [[tokens, loss], ...], at most a few hundred points */
} TrainResult;

/* Trains in place. `teacher` for distillation, else NULL. `ids`: the packed training text. On a stop signal:
 * saves the state and fails with ERR_INTERRUPTED. */
bool train(Net *n, Net *teacher, const int32_t *ids, size_t n_ids, const TrainOptions *o, TrainResult *r,
           Error *e);

/* Puts the trained weights into the model, as tensors over Net.weights, encoded on export to each tensor's
 * original type (quantised weights become `quant_dtype`). */
bool train_return(const Net *n, Model *m, Error *e);

#endif

/* One batch through forward pass, loss and backward pass; train.c calls it for each part of an optimizer
 * step, and callers that want only the loss pass no gradients. Activations are allocated for each batch and
 * freed after it, which is cheap because net.c keeps large blocks inside the process. */
#include "recal/train_batch.h"

#include "recal/activations.h"
#include "recal/backward.h"
#include "recal/forward.h"
#include "recal/head_loss.h"

/* Distillation compares distributions over tokens, so both models must mean the same tokens. */
static bool same_vocabulary(const Net *n, const Net *teacher, Error *e) {
    if (n->spec->vocab == teacher->spec->vocab) return true;
    return error_set(e, ERR_INPUT, "the teacher's vocabulary has %u tokens, the model's %u",
                     teacher->spec->vocab, n->spec->vocab);
}

/* The teacher that the objective needs; NULL if it needs none. */
static const Net *teacher_of(const Batch *b) {
    return b->objective->needs_teacher ? b->teacher : NULL;
}

/* What the loops below rely on: every id and every target indexes a row of the embedding. */
static bool check(const Net *n, const Batch *b, Error *e) {
    if (b->objective->needs_teacher && !b->teacher)
        return error_set(e, ERR_USAGE, "the objective '%s' needs a teacher", b->objective->name);
    return tokens_known(n->spec, b->ids, b->B * b->T, 0, e) &&
           tokens_known(n->spec, b->targets, b->B * b->T, -1, e) &&
           (!teacher_of(b) || same_vocabulary(n, b->teacher, e));
}

bool net_train_batch(const Net *n, const Batch *b, double *loss, Error *e) {
    if (!check(n, b, e)) return false;
    const Net *teacher_net = teacher_of(b);
    ForwardPass p = {0}, teacher = {0};
    bool ok = forward_pass_new(&p, n, b->B, b->T, b->grads != NULL, e) &&
              (!teacher_net || forward_pass_new(&teacher, teacher_net, b->B, b->T, false, e));
    /* Step 1: forward. The teacher's pass keeps nothing but the final norm's output. */
    if (ok) {
        if (teacher_net) forward_pass_run(&teacher, b->ids);
        forward_pass_run(&p, b->ids);
        /* Step 2: the loss, and its gradient by the final norm's output. */
        ok = head_loss(&p, teacher_net ? &teacher : NULL, b->objective, b->targets, b->grads, b->grad_scale,
                       loss, e);
    }
    forward_pass_free(&teacher); /* its memory is free for the backward pass */
    /* Step 3: backward. */
    ok = ok && (!b->grads || backward_pass_run(&p, b->ids, b->grads, e));
    forward_pass_free(&p);
    return ok;
}

uint64_t net_train_bytes(const ModelSpec *s, size_t B, size_t T) {
    /* The teacher's pass is counted with the model's sizes: it is the same model before surgery. The parts do
     * not all exist at the same time, so this is an upper bound. */
    uint64_t parts[] = {forward_pass_bytes(s, B, T, true), forward_pass_bytes(s, B, T, false),
                        head_loss_bytes(s), backward_pass_bytes(s, B, T)};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        sum += parts[i];
    return sum < WORKSPACE_UNREACHABLE ? sum : WORKSPACE_UNREACHABLE;
}

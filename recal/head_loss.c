/* The head and the loss over blocks of rows; see head_loss.h. train_batch.c calls it between forward and
 * backward pass. All logits of a batch would take rows * vocabulary floats, several times the rest of the
 * activations, so a block's logits live only until its gradient has gone through the head. */
#include "recal/head_loss.h"

#include <string.h>

#include "recal/output_head.h"

/* A block has at most HEAD_ROWS rows and about MOST_LOGITS logits (64 MB), but at least 64 rows. Each block
 * reads the whole head matrix and its gradient once, so larger blocks need less memory bandwidth. */
enum { HEAD_ROWS = 512, MOST_LOGITS = 1 << 24 };

/* Rows of logits in one block: HEAD_ROWS, fewer for large vocabularies so that a block stays within
 * MOST_LOGITS floats, but at least 64, below which the products get slow. */
static size_t block_rows(const ModelSpec *s) {
    size_t rows = MOST_LOGITS / s->vocab / 16 * 16;
    return rows < 64 ? 64 : rows > HEAD_ROWS ? HEAD_ROWS : rows;
}

/* Arrays of one block. */
typedef struct HeadBuffers {
    float *logits;  /* (rows, vocabulary): logits, then their gradient */
    float *teacher; /* (rows, vocabulary): the teacher's logits; NULL without a teacher */
    float *
        capped; /* (rows, vocabulary): a copy of soft-capped logits for the gradient; NULL where not needed */
    float *dnormed; /* (rows, C): gradient of the head's input */
    Workspace workspace;
} HeadBuffers;

/* Counts or carves (workspace.h). */
static void lay_out(HeadBuffers *b, const ModelSpec *s, bool teacher, bool gradients) {
    Workspace *w = &b->workspace;
    size_t rows = block_rows(s);
    b->logits = workspace_floats(w, rows, s->vocab);
    b->teacher = workspace_floats(w, teacher ? rows : 0, s->vocab);
    b->capped = workspace_floats(w, s->logit_softcap > 0 && gradients ? rows : 0, s->vocab);
    b->dnormed = workspace_floats(w, rows, s->hidden_size);
}

/* How many positions have a target. The loss is the mean over these. */
static size_t scored_positions(const int32_t *targets, size_t N) {
    size_t scored = 0;
    for (size_t i = 0; i < N; i++)
        scored += targets[i] >= 0;
    return scored;
}

bool head_loss(ForwardPass *p, const ForwardPass *teacher, const Objective *objective, const int32_t *targets,
               float *grads, float grad_scale, double *loss, Error *e) {
    const Net *n = p->net;
    size_t C = n->spec->hidden_size, V = n->spec->vocab, block = block_rows(n->spec);
    size_t scored = scored_positions(targets, p->N);
    *loss = 0;
    if (!scored) {
        /* No position is scored, so the loss depends on no activation and all gradients are 0. */
        memset(p->normed, 0, p->N * C * sizeof *p->normed);
        return true;
    }
    HeadBuffers b = {0};
    lay_out(&b, n->spec, teacher != NULL, grads != NULL);
    if (!workspace_alloc(&b.workspace, "logits", e)) return false;
    lay_out(&b, n->spec, teacher != NULL, grads != NULL);
    float row_loss[HEAD_ROWS];
    for (size_t at = 0; at < p->N; at += block) {
        size_t rows = p->N - at < block ? p->N - at : block;
        float *normed = p->normed + at * C;
        /* Step 1: compute the logits of the model and of the teacher. */
        head_logits(n, b.logits, normed, rows);
        if (b.capped) memcpy(b.capped, b.logits, rows * V * sizeof *b.capped);
        if (teacher)
            head_logits(teacher->net, b.teacher, teacher->normed + at * teacher->net->spec->hidden_size,
                        rows);
        /* Step 2: the objective computes the loss of each row, and overwrites the logits with their gradient.
         */
        objective->loss(&(LossBlock){.pool = n->pool,
                                     .rows = rows,
                                     .vocab = V,
                                     .targets = targets + at,
                                     .logits = b.logits,
                                     .teacher = b.teacher,
                                     .scale = grads ? grad_scale / (float)scored : 0,
                                     .losses = row_loss});
        for (size_t i = 0; i < rows; i++)
            *loss += row_loss[i] / (double)scored;
        if (!grads) continue;
        /* Step 3: through the head. These rows of p->normed are not needed any more and take their
         * gradient. */
        head_backward(n, grads, b.dnormed, b.logits, b.capped, normed, rows);
        memcpy(normed, b.dnormed, rows * C * sizeof *normed);
    }
    workspace_free(&b.workspace);
    return true;
}

uint64_t head_loss_bytes(const ModelSpec *s) {
    HeadBuffers b = {0};
    lay_out(&b, s, true, true);
    return workspace_bytes(&b.workspace);
}

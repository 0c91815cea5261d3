/* Loss and gradients of a model on given tokens, or the losses of AdamW steps, for comparison with PyTorch.
 *   tool_gradients MODEL IDS OUT [TEACHER|-] [DROP LAYERS] [WINDOW LAYERS SIZE]
 * IDS holds int32 (B, T + 1) after two int32 B and T. OUT receives, per HF tensor name: name, newline, count
 * as u64, fp32 values; first of all the loss as "loss". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/file.h"
#include "recal/train_batch.h"
#include "surgery/model_open.h"
#include "surgery/passes/passes.h"

static void put(FILE *f, const char *name, const float *values, uint64_t n) {
    fprintf(f, "%s\n", name);
    fwrite(&n, sizeof n, 1, f);
    fwrite(values, sizeof *values, n, f);
}

static void fail(const Error *e) {
    fprintf(stderr, "%s\n", e->message);
    exit(1);
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    Error e = {0};
    Checkpoint *c = checkpoint_open(argv[1], &e);
    Model *m = c ? model_open(c, &e) : NULL;
    Buffer raw = {0};
    if (!m || !file_read(argv[2], 1 << 28, &raw, &e)) fail(&e);
    if (argc > 5 && !pass_apply(m, "drop_rope", json_pack("{s:s}", "layers", argv[5]), &e)) fail(&e);
    if (argc > 7 && !pass_apply(m, "sliding_window",
                                json_pack("{s:s, s:i}", "layers", argv[6], "size", atoi(argv[7])), &e))
        fail(&e);
    const int32_t *head = (int32_t *)raw.data;
    size_t B = (size_t)head[0], T = (size_t)head[1];
    int32_t *ids = xcalloc(B * T, sizeof *ids), *targets = xcalloc(B * T, sizeof *targets);
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < T; t++) {
            ids[b * T + t] = head[2 + b * (T + 1) + t];
            targets[b * T + t] = head[2 + b * (T + 1) + t + 1];
        }
    Net *n = net_open(m, 2, &e), *teacher = NULL;
    Checkpoint *tc = strcmp(argv[4], "-") ? checkpoint_open(argv[4], &e) : NULL;
    Model *tm = tc ? model_open(tc, &e) : NULL;
    if (tm) teacher = net_open(tm, 2, &e);
    if (!n || (strcmp(argv[4], "-") && !teacher)) fail(&e);
    float *grads = big_alloc(n->n_weights, sizeof *grads, "gradients", &e);
    Batch batch = {.ids = ids,
                   .targets = targets,
                   .B = B,
                   .T = T,
                   .objective = objective_by_name(teacher ? "distill" : "next-token"),
                   .teacher = teacher,
                   .grads = grads,
                   .grad_scale = 1};
    double loss;
    if (!net_train_batch(n, &batch, &loss, &e)) fail(&e);
    FILE *f = fopen(argv[3], "wb");
    if (!f) return 1;
    float as_float = (float)loss;
    put(f, "loss", &as_float, 1);
    for (size_t i = 0; i < n->n_params; i++) {
        char name[128];
        model_tensor_name(m, n->params[i].role, n->params[i].layer, FORMAT_HF, name);
        put(f, name, grads + n->params[i].offset, n->params[i].rows * n->params[i].cols);
    }
    return fclose(f) == 0 ? 0 : 1;
}

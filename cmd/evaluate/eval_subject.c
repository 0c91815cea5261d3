/* Subjects of an evaluation: what eval_grid.c measures. A subject gives a fresh model (its spec may be
 * changed by a method) and a net with the weights, on demand through callbacks. This file makes a subject of
 * a checkpoint on disk; `derope run` makes subjects of models in memory (declared in eval_subject.h). */
#include "cmd/evaluate/eval_subject.h"

#include <stdio.h>
#include <string.h>

#include "formats/checkpoint_open.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/text.h"
#include "recal/memory.h"
#include "surgery/manifest.h"
#include "surgery/model_open.h"

/* Cuts slashes at the end, folders in front, and the ending .gguf. */
void eval_subject_name(const char *path, char out[256]) {
    /* From the last slash on; path_length leaves out slashes at the end. */
    size_t n = path_length(path);
    size_t from = n;
    while (from > 0 && path[from - 1] != '/')
        from--;
    /* ".gguf" alone is a name and is not cut to nothing. */
    if (n - from > 5 && strncmp(path + n - 5, ".gguf", 5) == 0) n -= 5;
    snprintf(out, 256, "%.*s", n - from > 255 ? 255 : (int)(n - from), path + from);
}

/* Each call opens a new model over the same checkpoint: a method changes the spec of the one it is given. */
static Model *open_model(void *context, Error *e) {
    return model_open(((EvalCheckpoint *)context)->source, e);
}

/* The weights are loaded once, in fp32, for all methods and lengths; memory is checked first. */
static Net *open_net(void *context, Error *e) {
    EvalCheckpoint *c = context;
    if (!c->net && memory_check(net_weight_bytes(c->model), "the weights in fp32", e))
        c->net = net_open(c->model, c->threads, e);
    return c->net;
}

/* The key of a checkpoint is the hash of its files' hashes, which the manifest code already computes. */
static void hash_sources(const Model *m, char out[33]) {
    json_t *sources = manifest_sources(m);
    Buffer text = {0};
    json_print(sources, 0, &text);
    hash_bytes(text.data, text.size, out);
    buffer_free(&text);
    json_decref(sources);
}

/* The callbacks get the EvalCheckpoint itself as their context. */
bool eval_checkpoint_open(EvalCheckpoint *c, const char *path, int threads, Error *e) {
    Error ignored = {0};
    *c = (EvalCheckpoint){.source = checkpoint_open(path, e), .threads = threads};
    /* This model is only read: its tensors are the net's source. Those that methods change are opened by
     * open_model. */
    c->model = c->source ? model_open(c->source, e) : NULL;
    if (!c->model) return false;
    /* A checkpoint that derope did not write has no manifest, which is no error. */
    c->manifest = manifest_read(c->source, &ignored);
    c->subject = (EvalSubject){.name = c->name,
                               .path = path,
                               .source = c->source,
                               .manifest = c->manifest,
                               .under_methods = true,
                               .context = c,
                               .model = open_model,
                               .net = open_net};
    eval_subject_name(path, c->name);
    hash_sources(c->model, c->subject.key);
    return true;
}

/* In the reverse order of opening: the net borrows from the model, the model from the checkpoint. */
void eval_checkpoint_close(EvalCheckpoint *c) {
    json_decref(c->manifest);
    net_close(c->net);
    model_close(c->model);
    checkpoint_close(c->source);
}

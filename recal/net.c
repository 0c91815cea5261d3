/* A net: a model's weights in fp32, in one block of memory, ready to be run and trained. This file places
 * the parameters in the block, fills it from a checkpoint (net_open) or at random (net_random), and hands
 * trained weights back to the model (net_update_model). Training (train.c) and inference (inference.c) find
 * a parameter in the block with net_at; gradients and AdamW's moments are blocks of the same layout, so the
 * same offsets serve all of them. */
#include "recal/net.h"

#include <cblas.h>
#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>

#include "formats/buffer.h"
#include "formats/json.h"
#include "recal/random.h"
#include "recal/workspace.h"
#include "surgery/notices.h"
#include "surgery/quantized.h"

/* Appends a parameter if the model has it. `w` counts the block: a parameter's offset is what was counted
 * before it. */
static void add_param(Net *n, Workspace *w, TensorRole role, int layer) {
    uint64_t shape[3];
    uint32_t rank = role_shape(n->spec, spec_layer(n->spec, layer), role, shape);
    /* A rank of 0 says that the architecture or this layer has no such tensor. */
    if (!rank) return;
    size_t rows = 1, cols = shape[rank - 1];
    for (uint32_t i = 0; i + 1 < rank; i++)
        rows *= shape[i];
    /* The payload, and not w->used: there are no red zones inside the block of weights. */
    size_t offset = w->payload / sizeof(float);
    workspace_floats(w, rows, cols);
    /* Weight decay applies to matrices only: norms and biases would be pulled away from their working point
     * by it. */
    n->params[n->n_params++] = (Param32){.role = role,
                                         .layer = layer,
                                         .offset = offset,
                                         .rows = rows,
                                         .cols = cols,
                                         .decay = rank > 1 && !role_is_bias(role)};
    /* Layer -1 stands for tensors outside the layers (embedding, final norm, head), hence the + 1. */
    n->offsets[(size_t)(layer + 1) * ROLE_COUNT + role] = offset + 1;
}

/* A net with its parameters placed, without memory for the weights. NULL with an error if they would be
 * larger than an address can reach. The block has no red zones, because many loops go over it as one
 * array. */
static Net *lay_out(const ModelSpec *s, Error *e) {
    Net *n = xcalloc(1, sizeof *n);
    n->spec = s;
    n->params = xcalloc(((size_t)s->n_layers + 1) * ROLE_COUNT, sizeof *n->params);
    n->offsets = xcalloc(((size_t)s->n_layers + 1) * ROLE_COUNT, sizeof *n->offsets);
    /* QK-norms without a weight norm each head by itself, so the largest head_dim is enough for their
     * ones. */
    size_t most = 0;
    for (uint32_t i = 0; i < s->n_layers; i++)
        if (s->layers[i].head_dim > most) most = s->layers[i].head_dim;
    n->ones = xcalloc(most, sizeof *n->ones);
    /* QK-norms without a weight multiply by these; each norms one head. */
    for (size_t i = 0; i < most; i++)
        n->ones[i] = 1;
    /* A workspace that only counts yields the offsets; the order is that of layers, then of roles. */
    Workspace w = {0};
    for (int layer = -1; layer < (int)s->n_layers; layer++)
        for (int role = 0; role < ROLE_COUNT; role++)
            add_param(n, &w, (TensorRole)role, layer);
    n->n_weights = w.payload / sizeof(float);
    if (!w.overflow) return n;
    error_set(e, ERR_FAILED, "weights in fp32: the size is more than an address can reach");
    net_close(n);
    return NULL;
}

/* A net with zeroed weights and its threads. */
static Net *start(const Model *m, int n_threads, Error *e) {
    /* Tensors of such a checkpoint hold packed weights that tensor_read_f32 cannot decode. */
    if (m->quantized_config) {
        error_set(e, ERR_INPUT, "%s: has a quantization_config (%s), whose packed weights cannot be run",
                  m->source->path, quantized_kind(m->config));
        return NULL;
    }
    Net *n = lay_out(&m->spec, e);
    if (!n) return NULL;
    n->weights = big_alloc(n->n_weights, sizeof(float), "weights in fp32", e);
    if (!n->weights) {
        net_close(n);
        return NULL;
    }
    openblas_set_num_threads(1); /* the pool shares out the work; see gemm.h */
    /* Activations are allocated and freed with every batch. By default glibc would return such large blocks
     * to the system each time, and the page faults of taking them back cost more than some layers. */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    n->pool = pool_new(n_threads);
    return n;
}

/* A shallow copy; everything but the spec belongs to `n`. */
Net net_under(const Net *n, const ModelSpec *spec) {
    Net view = *n;
    view.spec = spec;
    return view;
}

Net *net_open(const Model *m, int n_threads, Error *e) {
    Net *n = start(m, n_threads, e);
    for (size_t i = 0; n && i < n->n_params; i++) {
        const Param32 *p = &n->params[i];
        const ModelTensor *t = model_tensor(m, p->role, p->layer);
        if (!t) error_set(e, ERR_INPUT, "%s: a tensor of layer %d is missing", m->source->path, p->layer);
        Tensor read = t ? t->tensor : (Tensor){0};
        /* Unit-offset norms multiply by 1 + weight. The net holds the sum, so that running them needs no
         * special case. */
        if (m->spec.unit_offset_norm && role_is_norm(p->role)) read.add += 1;
        if (t && tensor_read_f32(&read, n->weights + p->offset, e)) continue;
        net_close(n);
        return NULL;
    }
    return n;
}

Net *net_random(const Model *m, uint64_t seed, int n_threads, Error *e) {
    Net *n = start(m, n_threads, e);
    Random r = random_seeded(seed);
    double any_std = 0.02; /* transformers' default of initializer_range */
    json_get_f64(m->config, "initializer_range", &any_std);
    /* GPT-2's initialization: each layer adds two branches to the residual stream, so the matrices at the
     * end of a branch are scaled by 1 / sqrt(2 n_layers), which keeps the variance of the stream independent
     * of the depth. */
    double output_std = any_std / sqrt(2.0 * m->spec.n_layers);
    for (size_t i = 0; n && i < n->n_params; i++) {
        const Param32 *p = &n->params[i];
        float *w = n->weights + p->offset;
        bool norm = role_is_norm(p->role);
        bool output = p->role == ROLE_O || p->role == ROLE_DOWN || p->role == ROLE_SHARED_DOWN;
        double std = output ? output_std : any_std;
        for (size_t j = 0; j < p->rows * p->cols; j++)
            /* Matrices are normal, norms begin at 1, and biases and sinks at 0. */
            w[j] = p->decay ? (float)(std * random_normal(&r)) : norm ? 1.0f : 0.0f;
    }
    return n;
}

void net_close(Net *n) {
    if (!n) return;
    pool_free(n->pool);
    free(n->params);
    free(n->offsets);
    free(n->weights);
    free(n->ones);
    free(n);
}

/* Offsets are stored plus one, so that 0 can mean "absent". */
float *net_at(const Net *n, float *block, TensorRole role, int layer) {
    size_t at = n->offsets[(size_t)(layer + 1) * ROLE_COUNT + role];
    return at ? block + at - 1 : NULL;
}

uint64_t net_weight_bytes(const Model *m) {
    Net *n = lay_out(&m->spec, NULL);
    /* Called before anything is allocated, to check the memory that a net will need; lay_out fails only on
     * overflow. */
    uint64_t bytes = n ? n->n_weights * sizeof(float) : WORKSPACE_UNREACHABLE;
    net_close(n);
    return bytes;
}

bool tokens_known(const ModelSpec *s, const int32_t *ids, size_t n, int32_t lowest, Error *e) {
    for (size_t i = 0; i < n; i++)
        if (ids[i] < lowest || (ids[i] >= 0 && (uint32_t)ids[i] >= s->vocab))
            return error_set(e, ERR_INPUT, "token %zu is %d, the vocabulary has %u", i, ids[i], s->vocab);
    return true;
}

/* The tensors borrow the net's memory. They are read when the model is exported, in each tensor's own
 * type. */
void net_update_model(const Net *n, Model *m) {
    size_t as_q8 = 0;
    for (size_t i = 0; i < n->n_params; i++) {
        const Param32 *p = &n->params[i];
        const ModelTensor *there = model_tensor(m, p->role, p->layer);
        uint64_t shape[3];
        uint32_t rank = role_shape(n->spec, spec_layer(n->spec, p->layer), p->role, shape);
        char name[128];
        model_tensor_name(m, p->role, p->layer, FORMAT_HF, name);
        Tensor t = tensor_over(&m->arena, name, DTYPE_F32, rank, shape, n->weights + p->offset);
        /* The type that the tensor had, or one that can be encoded in its place. */
        DType before = there ? there->tensor.dtype : DTYPE_F32;
        t.dtype = dtype_written(before);
        as_q8 += t.dtype != before;
        if (m->spec.unit_offset_norm && role_is_norm(p->role)) t.add = -1; /* undoes the + 1 of net_open */
        t.status = TENSOR_CHANGED;
        model_set_tensor(m, p->role, p->layer, &t);
    }
    if (as_q8)
        notice_add(m->notices, "%zu trained tensors become q8_0: their own type cannot be written", as_q8);
}

#include "recal/net.h"

#include <cblas.h>
#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>

#include "formats/buffer.h"
#include "formats/json.h"
#include "recal/random.h"
#include "surgery/quantized.h"

static void add_param(Net *n, TensorRole role, int layer) {
    uint64_t shape[3];
    uint32_t rank = role_shape(n->spec, spec_layer(n->spec, layer), role, shape);
    if (!rank) return;
    bool bias = role_is_bias(role);
    size_t rows = 1, cols = shape[rank - 1];
    for (uint32_t i = 0; i + 1 < rank; i++)
        rows *= shape[i];
    n->params[n->n_params++] = (Param32){.role = role,
                                         .layer = layer,
                                         .offset = n->n_weights,
                                         .rows = rows,
                                         .cols = cols,
                                         .decay = rank > 1 && !bias};
    n->offsets[(size_t)(layer + 1) * ROLE_COUNT + role] = n->n_weights + 1;
    n->n_weights += (rows * cols + 15) / 16 * 16; /* each begins on a cache line */
}

static Net *lay_out(const ModelSpec *s) {
    Net *n = xcalloc(1, sizeof *n);
    n->spec = s;
    n->params = xcalloc(((size_t)s->n_layers + 1) * ROLE_COUNT, sizeof *n->params);
    n->offsets = xcalloc(((size_t)s->n_layers + 1) * ROLE_COUNT, sizeof *n->offsets);
    size_t most = 0;
    for (uint32_t i = 0; i < s->n_layers; i++)
        if (s->layers[i].head_dim > most) most = s->layers[i].head_dim;
    n->ones = xcalloc(most, sizeof *n->ones);
    for (size_t i = 0; i < most; i++)
        n->ones[i] = 1;
    for (int layer = -1; layer < (int)s->n_layers; layer++)
        for (int role = 0; role < ROLE_COUNT; role++)
            add_param(n, (TensorRole)role, layer);
    return n;
}

static Net *start(const Model *m, int n_threads, Error *e) {
    if (m->quantized_config) {
        error_set(e, ERR_INPUT, "%s: has a quantization_config (%s), whose packed weights cannot be run",
                  m->source->path, quantized_kind(m));
        return NULL;
    }
    Net *n = lay_out(&m->spec);
    n->weights = big_alloc(n->n_weights, sizeof(float), "weights in fp32", e);
    if (!n->weights) {
        net_close(n);
        return NULL;
    }
    openblas_set_num_threads(1); /* the pool shares out the work */
    /* activations come and go with every batch: the allocator keeps their pages */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    n->pool = pool_new(n_threads);
    return n;
}

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
    double any_std = 0.02;
    json_get_f64(m->config, "initializer_range", &any_std);
    double output_std = any_std / sqrt(2.0 * m->spec.n_layers);
    for (size_t i = 0; n && i < n->n_params; i++) {
        const Param32 *p = &n->params[i];
        float *w = n->weights + p->offset;
        bool norm = role_is_norm(p->role);
        bool output = p->role == ROLE_O || p->role == ROLE_DOWN || p->role == ROLE_SHARED_DOWN;
        double std = output ? output_std : any_std;
        for (size_t j = 0; j < p->rows * p->cols; j++)
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

float *net_at(const Net *n, float *block, TensorRole role, int layer) {
    size_t at = n->offsets[(size_t)(layer + 1) * ROLE_COUNT + role];
    return at ? block + at - 1 : NULL;
}

uint64_t net_weight_bytes(const Model *m) {
    Net *n = lay_out(&m->spec);
    uint64_t bytes = n->n_weights * sizeof(float);
    net_close(n);
    return bytes;
}

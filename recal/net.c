#include "recal/net.h"

#include <cblas.h>
#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>

#include "formats/buffer.h"
#include "formats/json.h"
#include "recal/random.h"

/* Shape of a role's parameter; rows 0: the model has none. Vectors are (1, n). */
static void param_shape(const ModelSpec *s, const LayerSpec *l, TensorRole role, size_t *rows, size_t *cols) {
    size_t w = s->width, q = l ? (size_t)l->n_heads * l->head_dim : 0,
           kv = l ? (size_t)l->n_kv_heads * l->head_dim : 0;
    size_t f = l ? l->ffn_dim : 0;
    *rows = 1;
    *cols = 0;
    switch (role) {
    case ROLE_EMBED:
        *rows = s->vocab, *cols = w;
        break;
    case ROLE_HEAD:
        *rows = s->vocab, *cols = s->tied_head ? 0 : w;
        break;
    case ROLE_FINAL_NORM:
    case ROLE_ATTN_NORM:
    case ROLE_FFN_NORM:
        *cols = w;
        break;
    case ROLE_Q:
        *rows = q, *cols = w;
        break;
    case ROLE_K:
    case ROLE_V:
        *rows = kv, *cols = w;
        break;
    case ROLE_O:
        *rows = w, *cols = q;
        break;
    case ROLE_GATE:
    case ROLE_UP:
        *rows = f, *cols = w;
        break;
    case ROLE_DOWN:
        *rows = w, *cols = f;
        break;
    case ROLE_Q_BIAS:
        *cols = l->q_bias ? q : 0;
        break;
    case ROLE_K_BIAS:
        *cols = l->k_bias ? kv : 0;
        break;
    case ROLE_V_BIAS:
        *cols = l->v_bias ? kv : 0;
        break;
    case ROLE_O_BIAS:
        *cols = l->o_bias ? w : 0;
        break;
    case ROLE_GATE_BIAS:
    case ROLE_UP_BIAS:
        *cols = l->mlp_bias ? f : 0;
        break;
    case ROLE_DOWN_BIAS:
        *cols = l->mlp_bias ? w : 0;
        break;
    case ROLE_Q_NORM:
        *cols = l->qk_norm == QK_NORM_HEAD ? l->head_dim : l->qk_norm == QK_NORM_FULL ? q : 0;
        break;
    case ROLE_K_NORM:
        *cols = l->qk_norm == QK_NORM_HEAD ? l->head_dim : l->qk_norm == QK_NORM_FULL ? kv : 0;
        break;
    case ROLE_SINKS:
        *cols = l->sinks ? l->n_heads : 0;
        break;
    default:
        break;
    }
    if (*cols == 0) *rows = 0;
}

static const TensorRole outer_roles[] = {ROLE_EMBED, ROLE_FINAL_NORM, ROLE_HEAD};
static const TensorRole layer_roles[] = {
    ROLE_ATTN_NORM, ROLE_Q,      ROLE_K,         ROLE_V,       ROLE_O,        ROLE_Q_BIAS,   ROLE_K_BIAS,
    ROLE_V_BIAS,    ROLE_O_BIAS, ROLE_Q_NORM,    ROLE_K_NORM,  ROLE_SINKS,    ROLE_FFN_NORM, ROLE_GATE,
    ROLE_UP,        ROLE_DOWN,   ROLE_GATE_BIAS, ROLE_UP_BIAS, ROLE_DOWN_BIAS};

static void add_param(Net *n, TensorRole role, int layer) {
    size_t rows, cols;
    param_shape(n->spec, layer >= 0 ? &n->spec->layers[layer] : NULL, role, &rows, &cols);
    if (!rows) return;
    n->params[n->n_params++] = (Param32){
        .role = role, .layer = layer, .offset = n->n_weights, .rows = rows, .cols = cols, .decay = rows > 1};
    n->offsets[(size_t)(layer + 1) * ROLE_COUNT + role] = n->n_weights + 1;
    n->n_weights += (rows * cols + 15) / 16 * 16; /* each begins on a cache line */
}

static Net *lay_out(const ModelSpec *s) {
    Net *n = xcalloc(1, sizeof *n);
    n->spec = s;
    n->params = xcalloc(((size_t)s->n_layers + 1) * ROLE_COUNT, sizeof *n->params);
    n->offsets = xcalloc(((size_t)s->n_layers + 1) * ROLE_COUNT, sizeof *n->offsets);
    for (size_t r = 0; r < sizeof outer_roles / sizeof *outer_roles; r++)
        add_param(n, outer_roles[r], -1);
    for (uint32_t i = 0; i < s->n_layers; i++)
        for (size_t r = 0; r < sizeof layer_roles / sizeof *layer_roles; r++)
            add_param(n, layer_roles[r], (int)i);
    return n;
}

static Net *start(const Model *m, int n_threads, Error *e) {
    if (m->quantized_config) {
        error_set(e, ERR_INPUT, "%s: has a quantization_config, whose packed weights cannot be run",
                  m->source->path);
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
        if (t && tensor_read_f32(&t->tensor, n->weights + p->offset, e)) continue;
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
        bool norm = p->role == ROLE_ATTN_NORM || p->role == ROLE_FFN_NORM || p->role == ROLE_FINAL_NORM ||
                    p->role == ROLE_Q_NORM || p->role == ROLE_K_NORM;
        double std = p->role == ROLE_O || p->role == ROLE_DOWN ? output_std : any_std;
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

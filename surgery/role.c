/* The shapes and properties of tensor roles. The shapes are read off the spec alone, so the reader
 * (model_bind.c), the exporter and the trainer in recal/ agree on them without asking which family a model is
 * of. role.h has the shapes as a table; the functions below compute them, one for each group of roles:
 * outside the layers, attention, MLP. */
#include "surgery/role.h"

/* Each of the functions below sets a shape and returns its rank, or 0 where the model has no such tensor. A
 * matrix is [rows, columns]; its rows are the outputs of the projection. */
static uint32_t matrix(uint64_t shape[3], uint64_t rows, uint64_t cols) {
    shape[0] = rows;
    shape[1] = cols;
    return 2;
}

/* A vector of n elements. `there` says whether this model has it, because most vectors (biases, norms) depend
 * on a flag of the spec. */
static uint32_t vector(uint64_t shape[3], bool there, uint64_t n) {
    shape[0] = n;
    shape[1] = 1;
    return there ? 1 : 0;
}

/* Roles outside the layers. A tied model has no output matrix of its own: the embedding is used twice. */
static uint32_t outer_shape(const ModelSpec *s, TensorRole role, uint64_t shape[3]) {
    switch (role) {
    case ROLE_EMBED:
        return matrix(shape, s->vocab, s->hidden_size);
    case ROLE_HEAD:
        return s->tied_head ? 0 : matrix(shape, s->vocab, s->hidden_size);
    case ROLE_HEAD_BIAS:
        return vector(shape, s->head_bias, s->vocab);
    case ROLE_FINAL_NORM:
        return vector(shape, true, s->hidden_size);
    case ROLE_FINAL_NORM_BIAS:
        return vector(shape, s->norm_bias, s->hidden_size);
    default:
        return 0;
    }
}

/* A norm on queries or keys: `head` elements where each head is normed by itself, `all` elements where all
 * heads are normed together. QK_NORM_UNIT (Llama 4) has no weight and so no tensor. */
static uint32_t norm_weight(uint64_t shape[3], QkNorm norm, uint64_t head, uint64_t all) {
    return vector(shape, norm == QK_NORM_HEAD || norm == QK_NORM_FULL, norm == QK_NORM_FULL ? all : head);
}

/* Roles of attention. With grouped-query attention there are fewer key/value heads than query heads, so k and
 * v have fewer rows than q. Below, q and kv are the outputs of all heads together. */
static uint32_t attention_shape(const ModelSpec *s, const LayerSpec *l, TensorRole role, uint64_t shape[3]) {
    /* Rows of q, rows of k or v, and the width of the residual stream. */
    uint64_t q = (uint64_t)l->n_heads * l->head_dim, kv = (uint64_t)l->n_kv_heads * l->head_dim,
             w = s->hidden_size;
    switch (role) {
    case ROLE_ATTN_NORM:
        return vector(shape, !l->no_pre_norms, w);
    case ROLE_ATTN_NORM_BIAS:
        return vector(shape, !l->no_pre_norms && s->norm_bias, w);
    case ROLE_Q:
        return matrix(shape, q, w);
    case ROLE_K:
    case ROLE_V:
        return matrix(shape, kv, w);
    case ROLE_O:
        return matrix(shape, w, q);
    case ROLE_Q_BIAS:
        return vector(shape, l->q_bias, q);
    case ROLE_K_BIAS:
        return vector(shape, l->k_bias, kv);
    case ROLE_V_BIAS:
        return vector(shape, l->v_bias, kv);
    case ROLE_O_BIAS:
        return vector(shape, l->o_bias, w);
    case ROLE_Q_NORM:
        return norm_weight(shape, l->q_norm, l->head_dim, q);
    case ROLE_K_NORM:
        return norm_weight(shape, l->k_norm, l->head_dim, kv);
    case ROLE_SINKS:
        return vector(shape, l->sinks, l->n_heads);
    case ROLE_ATTN_POST_NORM:
        return vector(shape, l->post_norms, w);
    default:
        return 0;
    }
}

/* Puts the number of experts in front of the shape of an MLP's tensor: [f, d] becomes [E, f, d], and a bias
 * [f] becomes [E, f]. A plain MLP keeps its shape. */
static uint32_t times_experts(const LayerSpec *l, uint64_t shape[3], uint32_t rank) {
    /* A rank of 0 is a tensor that the model does not have, with or without experts. */
    if (!l->n_experts || !rank) return rank;
    if (rank == 2) shape[2] = shape[1];
    shape[1] = shape[0];
    shape[0] = l->n_experts;
    return rank + 1;
}

/* Roles that every expert has, in the shape of one expert. An MLP without a gate computes down(act(up(x))).
 */
static uint32_t mlp_shape(const ModelSpec *s, const LayerSpec *l, TensorRole role, uint64_t shape[3]) {
    /* Columns between up and down, and the width of the residual stream. */
    uint64_t f = l->ffn_dim, w = s->hidden_size;
    switch (role) {
    case ROLE_GATE:
        return l->no_gate ? 0 : matrix(shape, f, w);
    case ROLE_UP:
        return matrix(shape, f, w);
    case ROLE_DOWN:
        return matrix(shape, w, f);
    case ROLE_GATE_BIAS:
        return vector(shape, l->mlp_bias && !l->no_gate, f);
    case ROLE_UP_BIAS:
        return vector(shape, l->mlp_bias, f);
    case ROLE_DOWN_BIAS:
        return vector(shape, l->mlp_bias, w);
    default:
        return 0;
    }
}

/* Roles around the MLP, and the MLP itself. The shared expert of Llama 4 has the size of the others, but
 * there is one of it, so its matrices are not stacked. */
static uint32_t ffn_shape(const ModelSpec *s, const LayerSpec *l, TensorRole role, uint64_t shape[3]) {
    uint64_t w = s->hidden_size;
    /* Parallel layers with one norm for both use attention's. */
    bool normed = !l->no_pre_norms && l->residual_layout != RESIDUAL_PARALLEL_SHARED_NORM;
    switch (role) {
    case ROLE_FFN_NORM:
        return vector(shape, normed, w);
    case ROLE_FFN_NORM_BIAS:
        return vector(shape, normed && s->norm_bias, w);
    case ROLE_ROUTER:
        return l->n_experts ? matrix(shape, l->n_experts, w) : 0;
    case ROLE_ROUTER_BIAS:
        return vector(shape, l->router_bias, l->n_experts);
    case ROLE_SHARED_GATE:
    case ROLE_SHARED_UP:
        return l->shared_expert ? matrix(shape, l->ffn_dim, w) : 0;
    case ROLE_SHARED_DOWN:
        return l->shared_expert ? matrix(shape, w, l->ffn_dim) : 0;
    case ROLE_FFN_POST_NORM:
        return vector(shape, l->post_norms, w);
    default:
        return times_experts(l, shape, mlp_shape(s, l, role, shape));
    }
}

/* Attention is asked first; a rank of 0 there means that the role belongs to the MLP or that the model does
 * not have it. */
uint32_t role_shape(const ModelSpec *s, const LayerSpec *l, TensorRole role, uint64_t shape[3]) {
    if (!l) return outer_shape(s, role, shape);
    uint32_t rank = attention_shape(s, l, role, shape);
    return rank ? rank : ffn_shape(s, l, role, shape);
}

/* The enum lists these roles one after the other (role.h), so a range is enough. */
bool role_is_mlp(TensorRole role) {
    return role >= ROLE_GATE && role <= ROLE_DOWN_BIAS;
}

/* The two groups of projections are ranges of the enum. Biases of norms do not count. */
bool role_is_bias(TensorRole role) {
    return (role >= ROLE_Q_BIAS && role <= ROLE_O_BIAS) || role == ROLE_ROUTER_BIAS ||
           (role >= ROLE_GATE_BIAS && role <= ROLE_DOWN_BIAS);
}

/* Biases of LayerNorms are left out: what is asked for is the factor that multiplies, to which a unit offset
 * or a scale can be applied. */
bool role_is_norm(TensorRole role) {
    switch (role) {
    case ROLE_FINAL_NORM:
    case ROLE_ATTN_NORM:
    case ROLE_Q_NORM:
    case ROLE_K_NORM:
    case ROLE_ATTN_POST_NORM:
    case ROLE_FFN_NORM:
    case ROLE_FFN_POST_NORM:
        return true;
    default:
        return false;
    }
}

/* A norm divides by the root mean square of its input, so a factor in q_proj before it would be cancelled;
 * the weight of the norm takes the factor instead. */
bool role_takes_scale(const LayerSpec *l, TensorRole role) {
    return l->q_norm != QK_NORM_NONE ? role == ROLE_Q_NORM : role == ROLE_Q || role == ROLE_Q_BIAS;
}

/* RoPE turns queries and keys; their biases are added before the rotation, so their elements are ordered like
 * the rows. */
bool role_is_rotated(TensorRole role) {
    return role == ROLE_Q || role == ROLE_K || role == ROLE_Q_BIAS || role == ROLE_K_BIAS;
}

/* The names appear in error messages only. They are not part of any file format. */
const char *role_name(TensorRole role) {
    static const char *const names[ROLE_COUNT] = {
        [ROLE_EMBED] = "embed",
        [ROLE_HEAD] = "head",
        [ROLE_HEAD_BIAS] = "head_bias",
        [ROLE_FINAL_NORM] = "final_norm",
        [ROLE_FINAL_NORM_BIAS] = "final_norm_bias",
        [ROLE_ATTN_NORM] = "attn_norm",
        [ROLE_ATTN_NORM_BIAS] = "attn_norm_bias",
        [ROLE_Q] = "q",
        [ROLE_K] = "k",
        [ROLE_V] = "v",
        [ROLE_O] = "o",
        [ROLE_Q_BIAS] = "q_bias",
        [ROLE_K_BIAS] = "k_bias",
        [ROLE_V_BIAS] = "v_bias",
        [ROLE_O_BIAS] = "o_bias",
        [ROLE_Q_NORM] = "q_norm",
        [ROLE_K_NORM] = "k_norm",
        [ROLE_SINKS] = "sinks",
        [ROLE_ATTN_POST_NORM] = "attn_post_norm",
        [ROLE_FFN_NORM] = "ffn_norm",
        [ROLE_FFN_NORM_BIAS] = "ffn_norm_bias",
        [ROLE_ROUTER] = "router",
        [ROLE_ROUTER_BIAS] = "router_bias",
        [ROLE_GATE] = "gate",
        [ROLE_UP] = "up",
        [ROLE_DOWN] = "down",
        [ROLE_GATE_BIAS] = "gate_bias",
        [ROLE_UP_BIAS] = "up_bias",
        [ROLE_DOWN_BIAS] = "down_bias",
        [ROLE_SHARED_GATE] = "shared_gate",
        [ROLE_SHARED_UP] = "shared_up",
        [ROLE_SHARED_DOWN] = "shared_down",
        [ROLE_FFN_POST_NORM] = "ffn_post_norm",
        [ROLE_HEAD_COPY] = "head_copy",
        [ROLE_OTHER] = "other",
    };
    return names[role];
}

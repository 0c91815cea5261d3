/* Fused tensors: several projections stored as one matrix. fused_part describes the rows of one role as a
 * view of the whole (model_bind.c calls it when a checkpoint is read), and fused_join describes the whole as
 * a view of its parts (export_tensors.c, when one is written). Both rest on whole_row, which maps row i of a
 * role to its row in the fused tensor; fused.h names the orders and the models that have them. */
#include "surgery/fused.h"

#include <string.h>

#include "formats/tensor_views.h"

/* The two ways to fuse the MLP; the others fuse attention. */
static bool is_gate_up(Fused how) {
    return how == FUSED_GATE_UP || how == FUSED_GATE_UP_PAIRS;
}

/* The order within a set is that of the rows in FUSED_QKV and FUSED_GATE_UP. Biases are fused in the same way
 * as the weights that they belong to. */
size_t fused_roles(Fused how, TensorRole role, TensorRole roles[FUSED_MOST]) {
    static const TensorRole sets[][FUSED_MOST] = {{ROLE_Q, ROLE_K, ROLE_V},
                                                  {ROLE_Q_BIAS, ROLE_K_BIAS, ROLE_V_BIAS},
                                                  {ROLE_GATE, ROLE_UP, ROLE_OTHER},
                                                  {ROLE_GATE_BIAS, ROLE_UP_BIAS, ROLE_OTHER}};
    size_t first = is_gate_up(how) ? 2 : 0, n = is_gate_up(how) ? 2 : 3;
    const TensorRole *set = sets[first + role_is_bias(role)];
    memcpy(roles, set, n * sizeof *roles);
    return n;
}

/* The rows that one role has in the fused tensor, which is the number of its outputs; of one expert where
 * experts are stacked. */
static uint64_t role_rows(const LayerSpec *l, TensorRole role) {
    switch (role) {
    case ROLE_Q:
    case ROLE_Q_BIAS:
        return (uint64_t)l->n_heads * l->head_dim;
    case ROLE_GATE:
    case ROLE_UP:
    case ROLE_GATE_BIAS:
    case ROLE_UP_BIAS:
        return l->ffn_dim;
    default:
        return (uint64_t)l->n_kv_heads * l->head_dim;
    }
}

/* gate and up have ffn_dim rows each. Attention has n_heads query heads, and n_kv_heads heads of k and as
 * many of v. */
uint64_t fused_rows(const LayerSpec *l, Fused how) {
    if (is_gate_up(how)) return 2 * (uint64_t)l->ffn_dim;
    return ((uint64_t)l->n_heads + 2 * (uint64_t)l->n_kv_heads) * l->head_dim;
}

/* The row of the fused tensor in which row i of a role lies. For stacked experts i counts through all
 * experts, and so does the result. */
static uint64_t whole_row(const LayerSpec *l, Fused how, TensorRole role, uint64_t i) {
    uint64_t d = l->head_dim, q = l->n_heads * d, kv = l->n_kv_heads * d;
    uint64_t group = l->n_heads / l->n_kv_heads;
    bool is_q = role == ROLE_Q || role == ROLE_Q_BIAS, is_k = role == ROLE_K || role == ROLE_K_BIAS,
         is_up = role == ROLE_UP || role == ROLE_UP_BIAS;
    /* Experts follow each other in the part as in the whole, so row i counts through all of them. */
    if (how == FUSED_GATE_UP_PAIRS) return 2 * i + is_up;
    if (how == FUSED_GATE_UP) return i + (i / l->ffn_dim + is_up) * l->ffn_dim;
    if (how == FUSED_QKV) return is_q ? i : is_k ? q + i : q + kv + i;
    /* Groups: each has `group` query heads, a key head and a value head, of d rows each. */
    uint64_t head = i / d, in_head = i % d;
    if (is_q) return (head / group * (group + 2) + head % group) * d + in_head;
    return (head * (group + 2) + group + !is_k) * d + in_head;
}

/* The stored rows of a role or of a whole: `rows` for each expert where experts are stacked. */
static uint64_t all_rows(const LayerSpec *l, TensorRole role, uint64_t rows) {
    return role_is_mlp(role) && l->n_experts ? rows * l->n_experts : rows;
}

/* The dimension of a shape that counts rows: experts are before it where they are stacked. */
static uint32_t rows_dimension(const LayerSpec *l, TensorRole role) {
    return role_is_mlp(role) && l->n_experts ? 1 : 0;
}

/* Turns the elements of a bias into rows of one element, because a view can reorder rows but not the elements
 * of a row. Weights stay as they are. */
static bool split(Arena *a, TensorRole role, Tensor *t, Error *e) {
    return !role_is_bias(role) || tensor_split_elements(a, t, e);
}

/* The stored row that a tensor serves as its row i. It may be a view with an order of its own already. */
static uint32_t stored_row(const Tensor *t, uint64_t i) {
    return t->row_index ? t->row_index[i] : (uint32_t)i;
}

/* The part shares the stored bytes of the whole; only its list of rows is its own. */
bool fused_part(Arena *a, const LayerSpec *l, Fused how, TensorRole role, const Tensor *whole, Tensor *part,
                Error *e) {
    *part = *whole;
    if (!split(a, role, part, e)) return false;
    uint64_t n = all_rows(l, role, role_rows(l, role));
    uint32_t *index = arena_alloc(a, n * sizeof *index);
    for (uint64_t i = 0; i < n; i++)
        index[i] = stored_row(whole, whole_row(l, how, role, i));
    part->row_index = index;
    part->n_rows = n;
    part->shape[rows_dimension(l, role)] = role_rows(l, role);
    return true;
}

/* True if two tensors are views of the same stored rows: parts of one fused tensor. */
static bool same_bytes(const Tensor *a, const Tensor *b) {
    return a->n_parts == 1 && b->n_parts == 1 && part_same(a->parts, b->parts);
}

/* A tensor has one type and one row length. Fails where the members of a fused tensor differ in either. */
static bool agree(const Tensor *a, const Tensor *b, Error *e) {
    if (a->dtype == b->dtype && a->row_elems == b->row_elems) return true;
    return error_set(e, ERR_FAILED,
                     "tensors '%s' and '%s' are of types %s and %s; the target has them in one tensor, which "
                     "has one type",
                     a->name, b->name, dtype_info(a->dtype)->name, dtype_info(b->dtype)->name);
}

/* The number of rows that lie in the file behind a tensor, of all its parts together. It may be larger than
 * n_rows for a view of some of the rows. */
static uint64_t stored_rows(const Tensor *t) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < t->n_parts; i++)
        n += t->parts[i].n_rows;
    return n;
}

/* Lists the stored parts of all members one behind the other. Members that are views of the same storage
 * (they were taken from one tensor) share it in the list too. Sets base[j] to the row, counted in this list,
 * at which the storage of member j begins. */
static void join_parts(Arena *a, const Tensor *members, size_t n, Tensor *whole, uint64_t *base) {
    uint32_t most = 0, n_parts = 0;
    for (size_t j = 0; j < n; j++)
        most += members[j].n_parts;
    TensorPart *parts = arena_alloc(a, most * sizeof *parts);
    uint64_t rows = 0;
    for (size_t j = 0; j < n; j++) {
        size_t same = 0;
        while (same < j && !same_bytes(&members[same], &members[j]))
            same++;
        base[j] = same < j ? base[same] : rows;
        if (same < j) continue;
        memcpy(parts + n_parts, members[j].parts, members[j].n_parts * sizeof *parts);
        n_parts += members[j].n_parts;
        rows += stored_rows(&members[j]);
    }
    whole->parts = parts;
    whole->n_parts = n_parts;
}

/* If nothing was changed since the whole was taken apart, the result is again the stored tensor with its rows
 * in their order, so that the writer can copy the bytes and the output stays identical to the source. */
bool fused_join(Arena *a, const LayerSpec *l, Fused how, const TensorRole *roles, const Tensor *parts,
                size_t n, Tensor *whole, Error *e) {
    Tensor members[FUSED_MOST] = {0};
    uint64_t base[FUSED_MOST], total = all_rows(l, *roles, fused_rows(l, how));
    bool scaled = false, alike = true;
    /* 1. Elements of biases become rows; types and lengths have to agree. */
    for (size_t j = 0; j < n; j++) {
        members[j] = parts[j];
        if (!split(a, roles[j], &members[j], e) || !agree(&members[0], &members[j], e)) return false;
        alike &= members[j].storage_dtype == members[0].storage_dtype && members[j].add == members[0].add;
    }
    /* 2. One tensor has one storage type and one number that is added. Where the members differ, they are
     * wrapped, so that what they serve is what is stored. Scales may differ: there is one for each row then.
     */
    for (size_t j = 0; j < n; j++) {
        if (!alike) members[j] = tensor_of_view(a, &members[j]);
        scaled |= members[j].scale != members[0].scale;
    }
    /* 3. The whole has the type of the members and rows of all of them. */
    *whole = members[0];
    whole->n_rows = total;
    whole->shape[rows_dimension(l, *roles)] = fused_rows(l, how);
    join_parts(a, members, n, whole, base);
    /* 4. Every row of every member gets its place. If that is the order of the storage, as it is for a tensor
     * that was only taken apart, no index is kept, and the bytes can be copied. */
    uint32_t *index = arena_alloc(a, total * sizeof *index);
    float *scales = scaled ? arena_alloc(a, total * sizeof *scales) : NULL;
    bool in_order = stored_rows(whole) == total;
    for (size_t j = 0; j < n; j++) {
        const Tensor *t = &members[j];
        tensor_raise_status(whole, t->status);
        for (uint64_t i = 0; i < t->n_rows; i++) {
            uint64_t at = whole_row(l, how, roles[j], i);
            index[at] = (uint32_t)base[j] + stored_row(t, i);
            in_order &= index[at] == at;
            if (scales) scales[at] = t->scale;
        }
    }
    whole->row_index = in_order ? NULL : index;
    whole->row_scale = scales;
    if (scales) whole->scale = 1;
    return true;
}

/* How one tensor of the model becomes one of the output. A ModelTensor is in the layout that all models share
 * (model.h); here it gets the type, row order, shape and name of the carrier's architecture, which is
 * model_bind.c in reverse. Every step changes the description of the tensor only; the writer applies it when
 * it reads rows. export.c calls export_add_tensor for each tensor in the order of the source. */
#include "surgery/export_tensors.h"

#include <string.h>

#include "formats/tensor_views.h"
#include "surgery/carriers/carriers.h"
#include "surgery/export_scale.h"
#include "surgery/notices.h"
#include "surgery/rotary_rows.h"

/* x->tensors is a copy of the model's table, index by index, so the position in one is the position in the
 * other. */
const ModelTensor *export_find(const Export *x, TensorRole role, int layer) {
    const ModelTensor *t = model_tensor(x->m, role, layer);
    return t ? &x->tensors[t - x->m->tensors] : NULL;
}

/* ---- types ---- */

/* For a GGUF: changes the type of norms, biases, sinks and routers to F32. llama.cpp multiplies F32
 * activations only by F32 vectors, and its converter writes routers as F32. Matrices of F64, which it cannot
 * multiply by, become F32 too. The original type is recorded
 * under DEROPE_DTYPES, so that a folder that is made of the GGUF later has the original type. */
static void widen_vector(Export *x, TensorRole role, Tensor *t) {
    bool matrix = t->rank > 1 && !role_is_bias(role) && role != ROLE_ROUTER;
    if (t->dtype == DTYPE_F32 || (matrix && t->dtype != DTYPE_F64) || !dtype_info(t->dtype)->decode) return;
    /* A vector that --dtype would cast becomes F32 instead of the requested type. No original type is
     * recorded for it, because the user asked for another one. */
    bool cast = t->dtype != t->storage_dtype && t->dtype != t->exact_dtype;
    if (!cast && dtype_widens(t->dtype, DTYPE_F32))
        json_object_set_new(x->dtypes, t->name, json_string(dtype_info(t->dtype)->name));
    else if (!cast)
        notice_add(x->report->notices,
                   "tensor '%s' is rounded from %s to f32, the only type that llama.cpp reads there", t->name,
                   dtype_info(t->dtype)->name);
    t->dtype = DTYPE_F32;
}

/* The type that a tensor has in safetensors. Types that exist in GGUF only are decoded. */
DType export_hf_dtype(DType t) {
    if (dtype_info(t)->safetensors) return t;
    return t == DTYPE_MXFP4 ? DTYPE_BF16 : DTYPE_F32; /* BF16 holds every value of MXFP4 exactly */
}

/* Gives a tensor its type in a folder, and records whether blocks were decoded, for the report. */
static void to_hf_dtype(Export *x, Tensor *t) {
    DType to = export_hf_dtype(t->dtype);
    if (to != t->dtype && to == DTYPE_F32) x->report->dequantized = true;
    t->dtype = to;
}

/* The type of the first matrix, and whether any matrix changes its type on writing. config.json's torch_dtype
 * and general.file_type are derived from these. */
MatrixTypes matrix_types(const Checkpoint *c) {
    MatrixTypes types = {.first = DTYPE_F32};
    bool found = false;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const Tensor *t = &c->tensors[i];
        if (t->rank != 2) continue;
        if (!found) types.first = t->dtype;
        types.cast |= t->dtype != t->storage_dtype;
        found = true;
    }
    return types;
}

/* ---- names ---- */

/* The pattern of a row in the naming of a format; "" if the format has no such tensor. */
static const char *row_name(const TensorName *row, Format format) {
    return format == FORMAT_GGUF ? row->gguf : row->hf;
}

/* The row of the table by which carrier `c` names a tensor, or NULL. Among the family's own rows the one that
 * the tensor was read by is taken, because there may be two names for one role. */
static const TensorName *carrier_row(const Model *m, const Carrier *c, TensorRole role, int layer) {
    const ModelTensor *there = model_tensor(m, role, layer);
    if (!c->tensors && there && there->row) return there->row;
    const TensorName *row = c->tensors ? c->tensors : m->family->tensors;
    const LayerSpec *l = spec_layer(&m->spec, layer);
    for (; row->hf; row++) /* with needs_router, the model's MLP is written as the only expert */
        if (row->role == role && (row_fits(row, l) || (c->needs_router && row->experts))) return row;
    return NULL;
}

const TensorName *export_row(const Export *x, TensorRole role, int layer) {
    return carrier_row(x->m, x->carrier, role, layer);
}

/* Whether an output of carrier `c` has attention sinks. */
bool export_writes_sinks(const Model *m, const Carrier *c) {
    if (c->needs_sinks) return true;
    if (!model_tensor(m, ROLE_SINKS, 0)) return false;
    /* A sink of -1000 or less contributes exp(-1000) = 0 to the softmax denominator, so leaving it out
     * changes no result. Architectures of other families have no tensor for sinks, so such neutral sinks are
     * written only by the family's own carrier. */
    return !m->neutral_sinks || strcmp(c->name, "own") == 0;
}

/* Some architectures of llama.cpp do not fall back on the embedding where output.weight is missing. */
bool export_repeats_head(const Export *x) {
    bool own = !x->carrier->tensors,
         wanted = x->carrier->needs_head || (own && (x->m->family->gguf.quirks & GGUF_NEEDS_HEAD));
    return x->out->format == FORMAT_GGUF && wanted && x->m->spec.tied_head &&
           model_tensor(x->m, ROLE_EMBED, -1);
}

/* What matrix_types would say of an HF output of the same model by carrier `hf`. It is needed while a GGUF is
 * written, for the config.json that travels in it. */
MatrixTypes matrix_types_in_hf(const Export *x, const Carrier *hf) {
    MatrixTypes types = {.first = DTYPE_F32};
    bool found = false, from_gguf = x->m->source->format == FORMAT_GGUF;
    for (size_t i = 0; i < x->m->n_tensors; i++) {
        const ModelTensor *t = &x->tensors[i];
        if (t->role == ROLE_OTHER && from_gguf)
            continue; /* it has no Hugging Face name, so an HF output does not have it */
        const TensorName *row = t->role == ROLE_OTHER ? NULL : carrier_row(x->m, hf, t->role, t->layer);
        /* A stack of experts that an HF output stores as one tensor for each expert loses its first
         * dimension. */
        bool apart = row && strstr(row->hf, "%e"), stacked = t->tensor.rank > (role_is_bias(t->role) ? 1 : 2);
        if (t->tensor.rank - (apart && stacked ? 1 : 0) != 2) continue;
        DType to = export_hf_dtype(t->tensor.dtype);
        if (!found) types.first = to;
        types.cast |= to != t->tensor.storage_dtype;
        found = true;
    }
    return types;
}

/* ---- one tensor ---- */

/* All changes that a tensor needs before it gets its name. They are applied in the order of the list. */
static bool prepare(Export *x, TensorRole role, int layer, Tensor *t) {
    bool gguf = x->out->format == FORMAT_GGUF;
    /* 1. Multiply queries by the part of the softmax scale for which the output has no key. */
    export_scale_queries(x, role, layer, t);
    /* 2. A unit-offset RMSNorm multiplies by 1 + w. llama.cpp's norms multiply by the stored weight, so a
     * GGUF stores 1 + w. */
    if (gguf && x->m->spec.unit_offset_norm && role_is_norm(role)) t->add += 1;
    /* 3. Choose a type that the file format has and that the runtime accepts for this role. */
    if (gguf)
        widen_vector(x, role, t);
    else
        to_hf_dtype(x, t);
    /* 4. In the model, RoPE pairs row i of a head with row i + head_dim / 2. If the output's architecture
     * pairs rows 2i and 2i + 1, permute the rows. */
    if (role_is_rotated(role) && carrier_is_interleaved(x->carrier, x->m) &&
        !rotary_rows_permute(&x->out->arena, t, role, &x->m->spec.layers[layer], true, x->e))
        return false;
    /* 5. Apply the carrier's own change. */
    return !x->carrier->adapt || x->carrier->adapt(x->m, &x->out->arena, role, layer, t, x->e);
}

/* Adds a stack of experts [experts, ...] as one tensor for each expert; a plain MLP counts as the only
 * expert. */
static void add_each_expert(Export *x, const TensorName *row, int layer, const Tensor *all) {
    bool stacked = all->rank > (role_is_bias(row->role) ? 1 : 2);
    uint64_t n = stacked ? all->shape[0] : 1, rows = all->n_rows / n;
    for (uint64_t i = 0; i < n; i++) {
        char name[128];
        Tensor t = tensor_slice(&x->out->arena, all, i * rows, rows);
        tensor_name(row, layer, (int)i, x->out->format, name);
        t.name = name;
        if (stacked) memmove(t.shape, t.shape + 1, --t.rank * sizeof *t.shape);
        checkpoint_add_tensor(x->out, &t);
    }
}

/* Adds a prepared tensor under the name, and in the shape, that `row` gives it. */
static bool add_named(Export *x, const TensorName *row, int layer, Tensor t) {
    bool gguf = x->out->format == FORMAT_GGUF;
    char name[128];
    if (strstr(row_name(row, x->out->format), "%e")) {
        add_each_expert(x, row, layer, &t);
        return true;
    }
    /* The row is for stacked experts, but the tensor is a plain MLP's: add the dimension of experts. */
    if (row->experts && t.rank < (role_is_bias(row->role) ? 2u : 3u)) {
        memmove(t.shape + 1, t.shape, t.rank++ * sizeof *t.shape);
        t.shape[0] = 1;
    }
    Tensor whole = t;
    if (row->hf_transposed && !gguf &&
        !tensor_transposed(&x->out->arena, &x->out->transpose_cache, &t, &whole, x->e))
        return false;
    tensor_name(row, layer, -1, x->out->format, name);
    whole.name = name;
    checkpoint_add_tensor(x->out, &whole);
    return true;
}

/* Adds the fused tensor that contains the row's role together with others (q, k and v, or gate and up). */
static bool add_fused(Export *x, const TensorName *row, Fused how, int layer) {
    TensorRole roles[FUSED_MOST];
    Tensor parts[FUSED_MOST], whole;
    size_t n = fused_roles(how, row->role, roles);
    if (roles[0] != row->role) return true; /* it was added together with the first role */
    for (size_t i = 0; i < n; i++) {
        const ModelTensor *t = export_find(x, roles[i], layer);
        if (!t)
            return error_set(x->e, ERR_FAILED, "tensor '%s' needs a part that the model does not have",
                             row->hf);
        parts[i] = t->tensor;
        if (!prepare(x, roles[i], layer, &parts[i])) return false;
    }
    /* The parts of a fused tensor need the same type. If the type of one part was changed, change all. */
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; parts[i].dtype != parts[i].storage_dtype && j < n; j++)
            parts[j].dtype = parts[i].dtype;
    return fused_join(&x->out->arena, &x->m->spec.layers[layer], how, roles, parts, n, &whole, x->e) &&
           add_named(x, row, layer, whole);
}

/* `t` need not be the model's own tensor of that role: export_added.c adds tensors that the model does not
 * have. */
bool export_add_tensor(Export *x, TensorRole role, int layer, Tensor t) {
    const TensorName *row = export_row(x, role, layer);
    if (!row || !*row_name(row, x->out->format))
        return error_set(x->e, ERR_FAILED, "the carrier %s has no place for tensor '%s'", x->carrier->name,
                         t.name);
    Fused fused = x->out->format == FORMAT_GGUF ? row->gguf_fused : row->hf_fused;
    if (fused) return add_fused(x, row, fused, layer);
    return prepare(x, role, layer, &t) && add_named(x, row, layer, t);
}

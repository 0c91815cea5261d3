/* The tensors of an output: what the carrier calls them, how it lays them out, what it has beside the model's
 * own. */
#include "formats/meta.h"
#include "formats/tensor_views.h"
#include "surgery/export.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "surgery/carriers/carriers.h"
#include "surgery/derope_keys.h"
#include "surgery/model_traits.h"
#include "surgery/quantized.h"
#include "surgery/rope_frequencies.h"

/* A constant vector, as tensor over the output's own memory. */
static Tensor constant_vector(Export *x, const char *name, uint64_t n, float value) {
    float *v = arena_alloc(&x->out->arena, n * sizeof *v);
    for (uint64_t i = 0; i < n; i++)
        v[i] = value;
    Tensor t = tensor_over(&x->out->arena, name, DTYPE_F32, 1, &n, v);
    t.status = TENSOR_NEW;
    return t;
}

static bool is_float(DType t) {
    return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F64;
}

/* The softmax scale that the output's architecture has or its configuration says. */
static double stated_scale(const Export *x, const LayerSpec *l) {
    const Family *f = x->m->family;
    bool own = !x->carrier->tensors; /* an architecture of the family's own */
    if (x->carrier->holds_scale) return l->softmax_scale;
    if (own && x->out->format == FORMAT_GGUF && f->gguf.softmax_scale)
        return f->gguf.softmax_scale(&x->m->spec);
    if (own && f->hf.write_softmax_scale)
        return f->hf.softmax_scale ? f->hf.softmax_scale(x->m) : l->softmax_scale;
    return 1 / sqrt(l->head_dim);
}

/* What it does not say, q_proj takes, or the norm behind it: scores are linear in q. */
static double folded_scale(const Export *x, int layer) {
    const LayerSpec *l = &x->m->spec.layers[layer];
    double by = l->softmax_scale / stated_scale(x, l);
    return fabs(by - 1) < 1e-7 ? 1 : by;
}

static void fold_scale(Export *x, TensorRole role, int layer, Tensor *t) {
    if (layer < 0 || !role_takes_scale(&x->m->spec.layers[layer], role)) return;
    double f = folded_scale(x, layer);
    if (f == 1) return;
    double scale = t->scale * f,
           add = t->add * f + (role == ROLE_Q_NORM && x->m->spec.unit_offset_norm ? f - 1 : 0);
    bool undone = fabs(scale - 1) < 1e-6; /* by what it was read with */
    t->scale = undone ? 1 : (float)scale;
    t->add = (float)(undone ? round(add) : add);
    if (undone) return;
    t->dtype = dtype_written(t->dtype);
}

/* Packed weights take no scale. */
bool export_check_scale(const Export *x) {
    for (uint32_t i = 0; x->m->quantized_config && i < x->m->spec.n_layers; i++)
        if (folded_scale(x, (int)i) != 1)
            return error_set(
                x->e, ERR_INPUT,
                "%s: the carrier %s has no key for the softmax scale, which would have to go into "
                "q_proj, but the source has a quantization_config (%s; dequantise it first)",
                x->m->source->path, x->carrier->name, quantized_kind(x->m));
    return true;
}

/* llama.cpp multiplies F32 activations by F32 vectors only; and its converter keeps routers so. */
static void widen_vector(Export *x, TensorRole role, Tensor *t) {
    bool matrix = t->rank > 1 && !role_is_bias(role) && role != ROLE_ROUTER;
    if (matrix || !is_float(t->dtype) || t->dtype == DTYPE_F32) return;
    bool cast = t->dtype != t->storage_dtype && t->dtype != t->exact_dtype; /* it is not rounded after all */
    if (!cast && dtype_widens(t->dtype, DTYPE_F32))
        json_object_set_new(x->dtypes, t->name, json_string(dtype_info(t->dtype)->name));
    else if (!cast)
        model_notice(x->m, "tensor '%s' is rounded from %s to f32, the only type that llama.cpp reads there",
                     t->name, dtype_info(t->dtype)->name);
    t->dtype = DTYPE_F32;
}

static bool to_carrier_layout(Export *x, TensorRole role, int layer, Tensor *t) {
    if (!role_is_rotated(role) || !carrier_is_interleaved(x->carrier, x->m)) return true;
    return model_permute_rows(x->m, t, role, &x->m->spec.layers[layer], true, x->e);
}

/* A safetensors file cannot hold ggml's blocks. BF16 holds every value of MXFP4. */
static void to_hf_dtype(Export *x, Tensor *t) {
    if (dtype_info(t->dtype)->safetensors) return;
    t->dtype = t->dtype == DTYPE_MXFP4 ? DTYPE_BF16 : DTYPE_F32;
    x->m->dequantised |= t->dtype == DTYPE_F32;
}

/* The row by which the carrier names a tensor: the one it came by, if the names are the same family's. */
static const TensorName *row_of(const Export *x, TensorRole role, int layer) {
    const ModelTensor *there = model_tensor(x->m, role, layer);
    if (!x->carrier->tensors && there && there->row) return there->row;
    const TensorName *row = x->carrier->tensors ? x->carrier->tensors : x->m->family->tensors;
    const LayerSpec *l = spec_layer(&x->m->spec, layer);
    for (; row->hf; row++) /* a plain MLP goes where one expert is */
        if (row->role == role && (row_fits(row, l) || (x->carrier->needs_router && row->experts))) return row;
    return NULL;
}

static bool prepare_tensor(Export *x, TensorRole role, int layer, Tensor *t) {
    fold_scale(x, role, layer, t);
    if (x->out->format == FORMAT_GGUF && x->m->spec.unit_offset_norm && role_is_norm(role)) t->add += 1;
    if (x->out->format == FORMAT_GGUF)
        widen_vector(x, role, t);
    else
        to_hf_dtype(x, t);
    return to_carrier_layout(x, role, layer, t) &&
           (!x->carrier->adapt || x->carrier->adapt(x->m, &x->out->arena, role, layer, t, x->e));
}

/* One expert's tensor after the other. */
static void add_each(Export *x, const TensorName *row, int layer, const Tensor *all) {
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

/* In the shape and under the name that the target has. */
static bool add_whole(Export *x, const TensorName *row, int layer, Tensor t) {
    bool gguf = x->out->format == FORMAT_GGUF;
    char name[128];
    if (strstr(gguf ? row->gguf : row->hf, "%e")) {
        add_each(x, row, layer, &t);
        return true;
    }
    if (row->experts && t.rank < (role_is_bias(row->role) ? 2u : 3u)) { /* a plain MLP is one expert */
        memmove(t.shape + 1, t.shape, t.rank++ * sizeof *t.shape);
        t.shape[0] = 1;
    }
    Tensor whole = t;
    if (row->hf_transposed && !gguf &&
        !tensor_transposed(&x->out->arena, &x->m->transpose_cache, &t, &whole, x->e))
        return false;
    tensor_name(row, layer, -1, x->out->format, name);
    whole.name = name;
    checkpoint_add_tensor(x->out, &whole);
    return true;
}

/* All that lie in one tensor there, when the first of them comes. */
static bool add_fused(Export *x, const TensorName *row, Fused how, int layer) {
    TensorRole role = row->role;
    TensorRole roles[FUSED_MOST];
    Tensor parts[FUSED_MOST], whole;
    size_t n = fused_roles(how, role, roles);
    if (roles[0] != role) return true;
    for (size_t i = 0; i < n; i++) {
        const ModelTensor *t = model_tensor(x->m, roles[i], layer);
        if (!t)
            return error_set(x->e, ERR_FAILED, "tensor '%s' needs a part that the model does not have",
                             row->hf);
        parts[i] = t->tensor;
        if (!prepare_tensor(x, roles[i], layer, &parts[i])) return false;
    }
    /* what one of them had to become, all become */
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; parts[i].dtype != parts[i].storage_dtype && j < n; j++)
            parts[j].dtype = parts[i].dtype;
    if (!fused_join(&x->out->arena, &x->m->spec.layers[layer], how, roles, parts, n, &whole, x->e))
        return false;
    return add_whole(x, row, layer, whole);
}

static bool add_tensor(Export *x, TensorRole role, int layer, Tensor t) {
    bool gguf = x->out->format == FORMAT_GGUF;
    const TensorName *row = row_of(x, role, layer);
    if (!row || !*(gguf ? row->gguf : row->hf))
        return error_set(x->e, ERR_FAILED, "the carrier %s has no place for tensor '%s'", x->carrier->name,
                         t.name);
    Fused fused = gguf ? row->gguf_fused : row->hf_fused;
    if (fused) return add_fused(x, row, fused, layer);
    return prepare_tensor(x, role, layer, &t) && add_whole(x, row, layer, t);
}

/* llama.cpp refuses files with tensors it does not ask for, so small ones travel in keys. */
static bool carry_in_key(Export *x, const Tensor *t) {
    enum { LIMIT = 1 << 20 };
    uint64_t n = tensor_bytes(t);
    const char *dtype = dtype_info(t->dtype)->safetensors;
    if (n > LIMIT || !dtype) {
        model_notice(x->m, "tensor '%s' is left out: llama.cpp would refuse it", t->name);
        return true;
    }
    uint8_t *bytes = xmalloc(n);
    bool ok = tensor_read_rows(t, 0, t->n_rows, bytes, x->e);
    char key[300];
    snprintf(key, sizeof key, DEROPE_TENSOR_PREFIX "%.250s", t->name);
    if (ok) meta_set_array(x->out, key, META_U8, bytes, n);
    free(bytes);
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    json_object_set_new(x->carried, t->name, json_pack("{s:s, s:o}", "dtype", dtype, "shape", shape));
    return ok;
}

static bool add_other(Export *x, const Tensor *t) {
    bool from_gguf = x->m->source->format == FORMAT_GGUF, to_gguf = x->out->format == FORMAT_GGUF;
    if (strcmp(t->name, "rope_freqs.weight") == 0 || strncmp(t->name, "rope_factors_", 13) == 0)
        return true; /* rebuilt from the spec */
    if (from_gguf && !to_gguf) {
        model_notice(x->m, "tensor '%s' is left out: it has no HF name", t->name);
        return true;
    }
    if (!from_gguf && to_gguf) return carry_in_key(x, t);
    Tensor other = *t;
    if (!to_gguf && t->quantization) to_hf_dtype(x, &other);
    checkpoint_add_tensor(x->out, &other);
    return true;
}

/* What a GGUF carried for us in keys comes back as tensors. */
static bool restore_carried(Export *x) {
    size_t n;
    const char *text =
        x->m->source->format == FORMAT_GGUF ? meta_string(x->m->source, DEROPE_TENSORS, &n) : NULL;
    if (!text || x->out->format == FORMAT_GGUF) return true;
    json_t *list = json_parse(DEROPE_TENSORS, text, n, x->e), *info;
    if (!list) return false;
    const char *name;
    json_object_foreach(list, name, info) {
        char key[300];
        snprintf(key, sizeof key, DEROPE_TENSOR_PREFIX "%.250s", name);
        const MetaEntry *m = meta_find(x->m->source, key);
        uint64_t shape[TENSOR_MAX_RANK], elems = 1, bytes;
        uint32_t rank = (uint32_t)json_array_size(json_object_get(info, "shape"));
        DType dtype;
        bool sane = m && rank <= TENSOR_MAX_RANK &&
                    dtype_from_safetensors(
                        json_get_string(info, "dtype") ? json_get_string(info, "dtype") : "", &dtype);
        for (uint32_t i = 0; sane && i < rank; i++) {
            shape[i] = (uint64_t)json_integer_value(json_array_get(json_object_get(info, "shape"), i));
            sane = mul_u64(elems, shape[i], &elems);
        }
        if (!sane || !dtype_bytes(dtype, elems, &bytes) || bytes != m->size ||
            checkpoint_find(x->out, name)) {
            model_notice(x->m, "key '%s' does not hold a further tensor", key);
            continue;
        }
        Tensor t = tensor_over(&x->out->arena, name, dtype, rank, shape, m->bytes);
        checkpoint_add_tensor(x->out, &t);
    }
    json_decref(list);
    return true;
}

static void add_table(Export *x, const char *name, const double *values, uint64_t n) {
    float *v = arena_alloc(&x->out->arena, n * sizeof *v);
    for (uint64_t i = 0; i < n; i++)
        v[i] = (float)values[i];
    Tensor t = tensor_over(&x->out->arena, name, DTYPE_F32, 1, &n, v);
    t.status = TENSOR_NEW;
    checkpoint_add_tensor(x->out, &t);
}

/* Llama 3's bands as llama.cpp wants them: a divisor per frequency. */
static void add_rope_divisors(Export *x) {
    const LayerSpec *l = NULL;
    if (!model_has_one_rotation(x->m, &l) || !l || l->scaling.kind != ROPE_SCALING_LLAMA3) return;
    const Tensor *there = checkpoint_find(x->m->source, "rope_freqs.weight");
    if (there && rope_scaling_equal(&l->scaling, &x->m->source_spec.layers[0].scaling)) {
        checkpoint_add_tensor(x->out, there);
        return;
    }
    uint64_t n = l->rotary_dim / 2;
    double scaled[4096], plain[4096];
    LayerSpec unscaled = *l;
    unscaled.scaling = (RopeScaling){0};
    rope_frequencies(&x->m->spec, l, 0, scaled);
    rope_frequencies(&x->m->spec, &unscaled, 0, plain);
    for (uint64_t i = 0; i < n; i++)
        plain[i] /= scaled[i];
    add_table(x, "rope_freqs.weight", plain, n);
}

static void add_longrope_factors(Export *x) {
    const LayerSpec *l = NULL;
    if (!model_has_one_rotation(x->m, &l) || !l || l->scaling.kind != ROPE_SCALING_LONGROPE) return;
    add_table(x, "rope_factors_long.weight", l->scaling.long_factors, l->scaling.n_factors);
    add_table(x, "rope_factors_short.weight", l->scaling.short_factors, l->scaling.n_factors);
}

static bool add_carrier_tensors(Export *x, int layer) {
    const LayerSpec *l = &x->m->spec.layers[layer];
    char name[128];
    if (x->carrier->needs_sinks && !l->sinks) {
        model_tensor_name(x->m, ROLE_SINKS, layer, FORMAT_HF, name);
        if (!add_tensor(x, ROLE_SINKS, layer, constant_vector(x, name, l->n_heads, -1e4f))) return false;
    }
    if (x->carrier->needs_router && !l->n_experts) {
        uint64_t n = x->m->spec.hidden_size;
        Tensor router = constant_vector(x, "router", n, 0);
        router.rank = 2;
        router.shape[0] = 1;
        router.shape[1] = n;
        if (!add_tensor(x, ROLE_ROUTER, layer, router)) return false;
    }
    bool biased = l->q_bias || l->k_bias || l->v_bias;
    if (x->out->format == FORMAT_HF && biased && !l->o_bias && carrier_needs_o_bias(x->carrier, x->m)) {
        model_tensor_name(x->m, ROLE_O_BIAS, layer, FORMAT_HF, name);
        if (!add_tensor(x, ROLE_O_BIAS, layer, constant_vector(x, name, x->m->spec.hidden_size, 0)))
            return false;
    }
    return true;
}

static bool add_tied_head(Export *x) {
    const ModelTensor *embed = model_tensor(x->m, ROLE_EMBED, -1);
    bool wanted =
        x->out->format == FORMAT_GGUF &&
        (x->carrier->needs_head || (!x->carrier->tensors && (x->m->family->gguf.quirks & GGUF_NEEDS_HEAD)));
    if (!wanted || !x->m->spec.tied_head || !embed) return true;
    return add_tensor(x, ROLE_HEAD, -1, embed->tensor);
}

/* Rounded a second time: each type once. */
static void note_rewritten(const Export *x) {
    size_t n[DTYPE_COUNT] = {0};
    const Tensor *first[DTYPE_COUNT];
    for (size_t i = 0; i < x->out->n_tensors; i++) {
        const Tensor *t = &x->out->tensors[i];
        bool same_type = t->dtype == t->storage_dtype && dtype_info(t->dtype)->block_elems > 1;
        bool scaled = t->status == TENSOR_CHANGED || t->scale != 1 || t->add != 0 || t->row_scale;
        if (!scaled || !(same_type || tensor_type_replaced(t))) continue;
        if (n[t->storage_dtype]++ == 0) first[t->storage_dtype] = t;
    }
    for (int d = 0; d < DTYPE_COUNT; d++) {
        const char *name = dtype_info((DType)d)->name;
        if (n[d] && tensor_type_replaced(first[d]))
            model_notice(x->m, "%zu tensors (first '%s') change and are written as %s: %s cannot be encoded",
                         n[d], first[d]->name, dtype_info(first[d]->dtype)->name, name);
        else if (n[d])
            model_notice(x->m, "%zu tensors (first '%s') change and are written back as %s", n[d],
                         first[d]->name, name);
    }
}

/* Sinks that do nothing stay behind where the architecture has none. */
static bool leaves_sinks(const Export *x) {
    return x->m->neutral_sinks && !x->carrier->needs_sinks && strcmp(x->carrier->name, "own") != 0;
}

bool export_tensors(Export *x) {
    if (x->out->format == FORMAT_GGUF) add_rope_divisors(x);
    if (x->out->format == FORMAT_GGUF) add_longrope_factors(x);
    for (size_t i = 0; i < x->m->n_tensors; i++) {
        const ModelTensor *t = &x->m->tensors[i];
        if (t->role == ROLE_SINKS && leaves_sinks(x)) continue;
        if (x->packed && t->tensor.quantization) continue;
        if (!(t->role == ROLE_OTHER ? add_other(x, &t->tensor) : add_tensor(x, t->role, t->layer, t->tensor)))
            return false;
    }
    for (uint32_t i = 0; i < x->m->spec.n_layers; i++)
        if (!add_carrier_tensors(x, (int)i)) return false;
    if (x->packed) quantized_carry(x->m, x->out);
    if (!add_tied_head(x) || !restore_carried(x)) return false;
    note_rewritten(x);
    return true;
}

bool export_keeps_packed(const Export *x, const ExportOptions *o) {
    const Model *m = x->m;
    if (!m->view || o->format != FORMAT_HF || o->has_dtype || o->plain || x->carrier->adapt ||
        x->carrier->repeats_kv || !quantized_untouched(m))
        return false;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const ModelTensor *t = &m->tensors[i];
        char name[128] = "";
        if (!t->tensor.quantization || t->role == ROLE_OTHER) continue;
        const TensorName *row = row_of(x, t->role, t->layer);
        if (row) tensor_name(row, t->layer, 0, FORMAT_HF, name);
        bool scaled = t->layer >= 0 && role_takes_scale(&m->spec.layers[t->layer], t->role) &&
                      folded_scale(x, t->layer) != 1;
        if (scaled || strcmp(name, t->origin->name) != 0) return false;
    }
    return true;
}

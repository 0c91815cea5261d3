/* Model -> checkpoint of a format: the carrier says which configuration and layout it wants. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/containers.h"
#include "formats/json.h"
#include "surgery/carrier.h"
#include "surgery/derope_keys.h"
#include "surgery/family.h"
#include "surgery/gguf_keys.h"
#include "surgery/pass.h"
#include "surgery/quantized.h"
#include "surgery/tokenizer_meta.h"

typedef struct Export {
    Model *m;
    const Carrier *carrier;
    Checkpoint *out;
    json_t *dtypes;  /* GGUF: what was widened */
    json_t *carried; /* GGUF: tensors that travel in keys */
    bool packed;     /* HF: packed weights go on as the source has them */
    Error *e;
} Export;

/* ---- tensors ---- */

/* A constant vector, as tensor over the output's own memory. */
static Tensor constant_vector(Export *x, const char *name, uint64_t n, float value) {
    float *v = arena_alloc(&x->out->arena, n * sizeof *v);
    for (uint64_t i = 0; i < n; i++)
        v[i] = value;
    Tensor t = tensor_over(&x->out->arena, name, DTYPE_F32, 1, &n, v);
    t.is_new = true;
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
    if (own && x->out->format == FORMAT_GGUF && f->gguf_softmax_scale)
        return f->gguf_softmax_scale(&x->m->spec);
    if (own && f->write_softmax_scale)
        return f->config_softmax_scale ? f->config_softmax_scale(x->m) : l->softmax_scale;
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
           add = t->add * f + (role == ROLE_Q_NORM && x->m->spec.norm_of_one ? f - 1 : 0);
    bool undone = fabs(scale - 1) < 1e-6; /* by what it was read with */
    t->scale = undone ? 1 : (float)scale;
    t->add = (float)(undone ? round(add) : add);
    if (undone) return;
    if (!dtype_info(t->dtype)->encode) {
        t->dtype = DTYPE_Q8_0;
        t->replaced = true;
    }
}

/* Packed weights take no scale. */
static bool check_scale(const Export *x) {
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
    bool cast = t->dtype != t->stored && !t->restored; /* it is not rounded after all */
    if (!cast && dtype_widens(t->dtype, DTYPE_F32))
        json_object_set_new(x->dtypes, t->name, json_string(dtype_info(t->dtype)->name));
    else if (!cast)
        model_notice(x->m, "tensor '%s' is rounded from %s to f32, the only type that llama.cpp reads there",
                     t->name, dtype_info(t->dtype)->name);
    t->dtype = DTYPE_F32;
    t->restored = false;
}

static bool to_carrier_layout(Export *x, TensorRole role, int layer, Tensor *t) {
    if (!role_is_rotated(role) || !x->carrier->interleaved || !x->carrier->interleaved(x->m)) return true;
    return model_permute_rows(x->m, t, role, &x->m->spec.layers[layer], true, x->e);
}

/* A safetensors file cannot hold ggml's blocks. BF16 holds every value of MXFP4. */
static void to_hf_dtype(Export *x, Tensor *t) {
    if (dtype_info(t->dtype)->safetensors) return;
    t->dtype = t->dtype == DTYPE_MXFP4 ? DTYPE_BF16 : DTYPE_F32;
    t->replaced = false;
    x->m->dequantised |= t->dtype == DTYPE_F32;
}

/* The row by which the carrier names a tensor: the one it came by, if the names are the same family's. */
static const TensorName *row_of(const Export *x, TensorRole role, int layer) {
    const ModelTensor *there = model_tensor(x->m, role, layer);
    if (!x->carrier->tensors && there && there->row) return there->row;
    const TensorName *row = x->carrier->tensors ? x->carrier->tensors : x->m->family->tensors;
    const LayerSpec *l = layer >= 0 ? &x->m->spec.layers[layer] : NULL;
    for (; row->hf; row++) /* a plain MLP goes where one expert is */
        if (row->role == role && (row_fits(row, l) || (x->carrier->needs_router && row->experts))) return row;
    return NULL;
}

static bool prepare_tensor(Export *x, TensorRole role, int layer, Tensor *t) {
    fold_scale(x, role, layer, t);
    if (x->out->format == FORMAT_GGUF && x->m->spec.norm_of_one && role_is_norm(role)) t->add += 1;
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
        !tensor_transposed(&x->out->arena, &x->m->transposer, &t, &whole, x->e))
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
        for (size_t j = 0; parts[i].dtype != parts[i].stored && j < n; j++) {
            parts[j].dtype = parts[i].dtype;
            parts[j].replaced = parts[i].replaced;
        }
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
    if (!to_gguf && t->packed) to_hf_dtype(x, &other);
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
    t.is_new = true;
    checkpoint_add_tensor(x->out, &t);
}

/* Llama 3's bands as llama.cpp wants them: a divisor per frequency. */
static void add_rope_divisors(Export *x) {
    const LayerSpec *l = NULL;
    if (!one_rotation(x->m, &l) || !l || l->scaling.kind != ROPE_SCALING_LLAMA3) return;
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
    if (!one_rotation(x->m, &l) || !l || l->scaling.kind != ROPE_SCALING_LONGROPE) return;
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
        uint64_t n = x->m->spec.width;
        Tensor router = constant_vector(x, "router", n, 0);
        router.rank = 2;
        router.shape[0] = 1;
        router.shape[1] = n;
        if (!add_tensor(x, ROLE_ROUTER, layer, router)) return false;
    }
    bool biased = l->q_bias || l->k_bias || l->v_bias;
    if (x->out->format == FORMAT_HF && biased && !l->o_bias && x->carrier->needs_o_bias(x->m)) {
        model_tensor_name(x->m, ROLE_O_BIAS, layer, FORMAT_HF, name);
        if (!add_tensor(x, ROLE_O_BIAS, layer, constant_vector(x, name, x->m->spec.width, 0))) return false;
    }
    return true;
}

static bool add_tied_head(Export *x) {
    const ModelTensor *embed = model_tensor(x->m, ROLE_EMBED, -1);
    bool wanted = x->out->format == FORMAT_GGUF &&
                  (x->carrier->needs_head || (!x->carrier->tensors && x->m->family->gguf_needs_head));
    if (!wanted || !x->m->spec.tied_head || !embed) return true;
    return add_tensor(x, ROLE_HEAD, -1, embed->tensor);
}

/* Rounded a second time: each type once. */
static void note_rewritten(const Export *x) {
    size_t n[DTYPE_COUNT] = {0};
    const Tensor *first[DTYPE_COUNT];
    for (size_t i = 0; i < x->out->n_tensors; i++) {
        const Tensor *t = &x->out->tensors[i];
        bool same_type = t->dtype == t->stored && dtype_info(t->dtype)->block_elems > 1;
        bool scaled = t->changed || t->scale != 1 || t->add != 0 || t->row_scale;
        if (!scaled || !(same_type || t->replaced)) continue;
        if (n[t->stored]++ == 0) first[t->stored] = t;
    }
    for (int d = 0; d < DTYPE_COUNT; d++) {
        const char *name = dtype_info((DType)d)->name;
        if (n[d] && first[d]->replaced)
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

static bool add_tensors(Export *x) {
    if (x->out->format == FORMAT_GGUF) add_rope_divisors(x);
    if (x->out->format == FORMAT_GGUF) add_longrope_factors(x);
    for (size_t i = 0; i < x->m->n_tensors; i++) {
        const ModelTensor *t = &x->m->tensors[i];
        if (t->role == ROLE_SINKS && leaves_sinks(x)) continue;
        if (x->packed && t->tensor.packed) continue;
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

/* ---- HF configuration ---- */

/* A GGUF holds 1e-5f; a person wrote 1e-05. */
static double shortest_double(float f) {
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, f);
        if (strtof(text, NULL) == f) break;
    }
    return strtod(text, NULL);
}

/* The settings every family shares, for sources that have no config.json. */
static json_t *fresh_config(const Model *m) {
    const ModelSpec *s = &m->spec;
    const LayerSpec *l = &s->layers[0];
    json_t *c = json_object();
    json_object_set_new(c, "architectures", json_array());
    const Family *f = m->family;
    json_object_set_new(c, "model_type", json_string(f->name));
    json_object_set_new(c, "vocab_size", json_integer(s->vocab));
    json_object_set_new(c, "hidden_size", json_integer(s->width));
    json_object_set_new(c, config_key(f, "intermediate_size"), json_integer(l->ffn_dim));
    json_object_set_new(c, "num_hidden_layers", json_integer(s->n_layers));
    json_object_set_new(c, "num_attention_heads", json_integer(l->n_heads));
    json_object_set_new(c, config_key(f, "num_key_value_heads"), json_integer(l->n_kv_heads));
    json_object_set_new(c, "head_dim", json_integer(l->head_dim));
    static const char *const acts[] = {"silu", "gelu", "gelu_pytorch_tanh", "silu"};
    json_object_set_new(c, config_key(f, "hidden_act"), json_string(acts[l->activation]));
    json_object_set_new(c, "max_position_embeddings", json_integer(s->context));
    json_object_set_new(c, config_key(f, s->norm == NORM_LAYER ? "layer_norm_eps" : "rms_norm_eps"),
                        json_real(shortest_double((float)s->norm_eps)));
    json_object_set_new(c, "attention_bias", json_boolean(l->q_bias || l->o_bias));
    json_object_set_new(c, "mlp_bias", json_boolean(l->mlp_bias));
    json_object_set_new(c, "tie_word_embeddings", json_boolean(s->tied_head));
    tokenizer_ids_to_config(m->source, c);
    json_object_set_new(c, "use_cache", json_true());
    return c;
}

static const char *torch_dtype(const Checkpoint *c) {
    for (size_t i = 0; i < c->n_tensors; i++) {
        const Tensor *t = &c->tensors[i];
        if (t->rank == 2)
            return t->dtype == DTYPE_BF16 ? "bfloat16" : t->dtype == DTYPE_F16 ? "float16" : "float32";
    }
    return "float32";
}

/* True if a matrix is written in another type than it was read in. */
static bool was_cast(const Checkpoint *c) {
    for (size_t i = 0; i < c->n_tensors; i++)
        if (c->tensors[i].rank == 2 && c->tensors[i].dtype != c->tensors[i].stored) return true;
    return false;
}

/* What the source says of its type, right or wrong, holds until the matrices are of another. */
static void state_dtype(const Export *x, json_t *config) {
    const char *key = json_object_get(config, "dtype") ? "dtype" : "torch_dtype", *now = torch_dtype(x->out);
    bool anew = !x->m->config || x->m->config_only;
    if (anew || was_cast(x->out) || strcmp(now, torch_dtype(x->m->source)) != 0)
        json_object_set_new(config, key, json_string(now));
}

static void state_context(const Model *m, json_t *config, const char *key) {
    const json_t *there = json_object_get(config, key);
    if (m->new_context && json_integer_value(there) != (json_int_t)m->new_context)
        json_object_set_new(config, key, json_integer((json_int_t)m->new_context));
}

static void set_json_file(Checkpoint *out, const char *name, const json_t *value) {
    Buffer text = {0};
    json_print(value, 2, &text);
    buffer_byte(&text, '\n');
    checkpoint_set_file(out, name, text.data, text.size);
    buffer_free(&text);
}

/* Verbatim bytes where nothing changed, so that a person's diff shows only what did. */
static void set_if_changed(Export *x, const char *name, const json_t *before, const json_t *after) {
    const SideFile *there = checkpoint_file(x->out, name);
    if (!there || !before || !json_equal((json_t *)before, (json_t *)after))
        set_json_file(x->out, name, after);
}

static bool write_config(Export *x) {
    Model *m = x->m;
    json_t *config = m->config ? json_deep_copy(m->config) : fresh_config(m);
    bool ok = x->carrier->configure(m, config, x->out, x->e);
    json_object_del(config, "auto_map");
    if (m->view && !x->packed) json_object_del(config, "quantization_config");
    state_context(m, config, "max_position_embeddings");
    state_dtype(x, config);
    if (ok) set_if_changed(x, "config.json", m->config, config);
    json_decref(config);
    return ok;
}

/* ---- side files ---- */

static bool is_code(const char *name) {
    size_t n = strlen(name);
    return n > 3 && strcmp(name + n - 3, ".py") == 0;
}

static bool ours(const char *name) {
    return strcmp(name, MANIFEST_FILE) == 0;
}

/* tokenizer_config.json: the context length it states, and custom code. */
static bool patch_tokenizer_config(Export *x) {
    json_t *before = checkpoint_json(x->out, "tokenizer_config.json", x->e);
    if (!before) return x->e->code == ERR_NONE;
    json_t *after = json_deep_copy(before);
    if (json_object_del(after, "auto_map") == 0 && checkpoint_file(x->out, "tokenizer.json"))
        json_object_set_new(after, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    state_context(x->m, after, "model_max_length");
    set_if_changed(x, "tokenizer_config.json", before, after);
    json_decref(before);
    json_decref(after);
    return true;
}

/* What JSON and GGUF take as a name. */
static bool is_utf8(const char *name) {
    json_t *text = json_string(name);
    bool ok = text != NULL;
    json_decref(text);
    return ok;
}

static void copy_side_files(Export *x) {
    const Checkpoint *c = x->m->source;
    for (size_t i = 0; i < c->n_files; i++) {
        if (is_code(c->files[i].name))
            model_notice(x->m, "%s is left out: stock runtimes need no code", c->files[i].name);
        else if (!is_utf8(c->files[i].name))
            model_notice(x->m, "file %zu of the source is left out: its name is not UTF-8", i + 1);
        else if (!ours(c->files[i].name))
            checkpoint_add_file(x->out, c->files[i].name, c->files[i].bytes, c->files[i].size);
    }
}

/* A plain name beside the weights, and none of theirs: a key's name is whatever its file says. */
static bool may_be_restored(const char *name) {
    return *name && *name != '.' && !strchr(name, '/') && !is_code(name) && !ours(name) &&
           !hf_is_weights(name);
}

/* Files that travelled in a GGUF's keys. */
static void restore_side_files(Export *x) {
    const Checkpoint *c = x->m->source;
    size_t n, prefix = strlen(DEROPE_FILE_PREFIX);
    const char *config = meta_string(c, DEROPE_CONFIG, &n);
    if (config) checkpoint_set_file(x->out, "config.json", config, n);
    for (size_t i = 0; i < c->n_meta; i++) {
        const MetaEntry *m = &c->meta[i];
        const char *name = m->key + prefix;
        if (strncmp(m->key, DEROPE_FILE_PREFIX, prefix) != 0 || !may_be_restored(name)) continue;
        if (m->type == META_STRING)
            checkpoint_add_file(x->out, name, m->bytes + sizeof(uint64_t), m->size - sizeof(uint64_t));
        else if (m->type == META_ARRAY && m->elem_type == META_U8)
            checkpoint_add_file(x->out, name, m->bytes, m->size);
    }
}

static bool finish_hf(Export *x) {
    const Checkpoint *c = x->m->source;
    if (c->format == FORMAT_GGUF) {
        size_t n;
        restore_side_files(x);
        const char *text = meta_string(c, DEROPE_ST_METADATA, &n);
        if (text && !(x->out->st_metadata = json_parse(DEROPE_ST_METADATA, text, n, x->e))) return false;
        bool has = checkpoint_file(x->out, "tokenizer.json") || checkpoint_file(x->out, "tokenizer.model");
        if (!has && !tokenizer_from_gguf(c, x->m, x->out, x->e)) return false;
        if (!meta_find(c, DEROPE_CONFIG)) gguf_keys_keep(c, x->out); /* else it was a folder before */
    } else {
        copy_side_files(x);
        x->out->st_metadata = json_incref(c->st_metadata);
    }
    return write_config(x) && patch_tokenizer_config(x);
}

/* ---- GGUF metadata ---- */

static bool is_of_arch(const char *key, const char *arch) {
    size_t n = strlen(arch);
    return strncmp(key, arch, n) == 0 && key[n] == '.';
}

/* The source's keys in their order, <old arch>.* renamed; those it had under the new name are dropped. */
static void copy_meta(Export *x, const char *arch) {
    const Checkpoint *c = x->m->source;
    const char *old = meta_string(c, "general.architecture", NULL);
    bool same = strcmp(old, arch) == 0;
    for (size_t i = 0; i < c->n_meta; i++) {
        MetaEntry m = c->meta[i];
        if (strcmp(m.key, DEROPE_MANIFEST) == 0 || strcmp(m.key, DEROPE_DTYPES) == 0) continue;
        if (!same && is_of_arch(m.key, arch)) continue;
        if (!same && is_of_arch(m.key, old))
            m.key = arena_printf(&x->out->arena, "%s%.200s", arch, m.key + strlen(old));
        meta_append(x->out, &m);
    }
    if (!same) meta_set_string(x->out, "general.architecture", arch, strlen(arch));
}

static void set_number(Checkpoint *out, const char *arch, const char *suffix, uint64_t v) {
    char key[128];
    uint64_t there;
    snprintf(key, sizeof key, "%s.%s", arch, suffix);
    if (!meta_u64(out, key, &there) || there != v) meta_set_u32(out, key, (uint32_t)v);
}

static void set_common_meta(Export *x, const char *arch) {
    const ModelSpec *s = &x->m->spec;
    const LayerSpec *l = &s->layers[0];
    char key[128];
    double there;
    set_number(x->out, arch, "block_count", s->n_layers);
    set_number(x->out, arch, "context_length", x->m->new_context ? x->m->new_context : s->context);
    set_number(x->out, arch, "embedding_length", s->width);
    set_number(x->out, arch, "feed_forward_length", l->ffn_dim);
    if (l->n_experts) {
        set_number(x->out, arch, "expert_count", l->n_experts);
        set_number(x->out, arch, "expert_used_count", l->n_experts_used);
        if (x->m->family->gguf_expert_ffn) set_number(x->out, arch, "expert_feed_forward_length", l->ffn_dim);
    }
    set_number(x->out, arch, "attention.head_count", l->n_heads);
    set_number(x->out, arch, "attention.head_count_kv", l->n_kv_heads);
    if (l->head_dim * l->n_heads != s->width ||
        meta_find(x->out, arch_key(key, x->out, "attention.key_length"))) {
        set_number(x->out, arch, "attention.key_length", l->head_dim);
        set_number(x->out, arch, "attention.value_length", l->head_dim);
    }
    snprintf(key, sizeof key, "%s.attention.%s", arch,
             s->norm == NORM_LAYER ? "layer_norm_epsilon" : "layer_norm_rms_epsilon");
    if (!meta_f64(x->out, key, &there) || (float)there != (float)s->norm_eps)
        meta_set_f32(x->out, key, (float)s->norm_eps);
    set_number(x->out, arch, "vocab_size", s->vocab);
}

/* llama.cpp's file type number, which it only prints. */
static uint32_t file_type(const Checkpoint *c) {
    static const struct {
        DType dtype;
        uint32_t type;
    } types[] = {{DTYPE_F32, 0},     {DTYPE_F16, 1},     {DTYPE_Q4_0, 2},  {DTYPE_Q4_1, 3},
                 {DTYPE_Q8_0, 7},    {DTYPE_Q5_0, 8},    {DTYPE_Q5_1, 9},  {DTYPE_Q2_K, 10},
                 {DTYPE_Q3_K, 11},   {DTYPE_Q4_K, 14},   {DTYPE_Q5_K, 16}, {DTYPE_Q6_K, 18},
                 {DTYPE_IQ4_NL, 25}, {DTYPE_IQ4_XS, 30}, {DTYPE_BF16, 32}};
    for (size_t i = 0; i < c->n_tensors; i++)
        for (size_t j = 0; c->tensors[i].rank == 2 && j < sizeof types / sizeof *types; j++)
            if (c->tensors[i].dtype == types[j].dtype) return types[j].type;
    return 0;
}

/* The last part of the source's path: all the name that a folder has. */
static void set_name(Checkpoint *out, const char *path) {
    char whole[PATH_MAX];
    const char *name = realpath(path, whole) ? strrchr(whole, '/') + 1 : path;
    json_t *text = json_text(name);
    meta_set_string(out, "general.name", json_string_value(text), json_string_length(text));
    json_decref(text);
}

static void embed_json(Export *x, const char *key, const json_t *value) {
    if (json_object_size(value) == 0) return;
    Buffer text = {0};
    json_print(value, 0, &text);
    meta_set_string(x->out, key, (const char *)text.data, text.size);
    buffer_free(&text);
}

/* Text can be a string: the gguf package makes an object of every element of an array, and a tokenizer.json
 * has millions of bytes. */
static void set_file_key(Checkpoint *out, const char *key, const SideFile *f) {
    bool plain = f->size && !memchr(f->bytes, 0, f->size);
    json_t *text = plain ? json_stringn((const char *)f->bytes, f->size) : NULL; /* NULL: not UTF-8 */
    if (text)
        meta_set_string(out, key, (const char *)f->bytes, f->size);
    else
        meta_set_array(out, key, META_U8, f->bytes, f->size);
    json_decref(text);
}

/* The configuration an HF output of the same model would have: it makes the way back exact. */
static bool embed_config(Export *x) {
    ExportOptions o = {.format = FORMAT_HF, .plain = true};
    Error reason = {0};
    Checkpoint *hf = model_export(x->m, &o, NULL, &reason);
    if (!hf) {
        model_notice(x->m, "no config.json travels in this GGUF: %s", reason.message);
        meta_remove(x->out, DEROPE_CONFIG); /* the source's is no longer true */
        return true;
    }
    /* It would ask for attention sinks that are not here, or for fewer key/value heads than are; the GGUF's
     * own keys say all that it does. */
    char name[128], here[128];
    model_tensor_name(x->m, ROLE_SINKS, 0, FORMAT_HF, name);
    model_tensor_name(x->m, ROLE_SINKS, 0, FORMAT_GGUF, here);
    const LayerSpec *l = &x->m->spec.layers[0];
    bool asks_more = (checkpoint_find(hf, name) && !checkpoint_find(x->out, here)) ||
                     (x->carrier->repeats_kv && l->n_kv_heads != l->n_heads);
    if (asks_more) meta_remove(x->out, DEROPE_CONFIG);
    for (size_t i = 0; i < hf->n_files; i++) {
        const SideFile *f = &hf->files[i];
        char key[300];
        snprintf(key, sizeof key, DEROPE_FILE_PREFIX "%.250s", f->name);
        if (strcmp(f->name, "config.json") != 0)
            set_file_key(x->out, key, f);
        else if (!asks_more)
            meta_set_string(x->out, DEROPE_CONFIG, (const char *)f->bytes, f->size);
    }
    checkpoint_close(hf);
    return true;
}

static bool finish_gguf(Export *x) {
    const Checkpoint *c = x->m->source;
    const char *arch = x->carrier->arch(x->m);
    bool from_gguf = c->format == FORMAT_GGUF;
    x->out->alignment = c->alignment;
    if (from_gguf) {
        copy_meta(x, arch);
        set_common_meta(x, arch);
    } else {
        meta_set_string(x->out, "general.architecture", arch, strlen(arch));
        if (!gguf_keys_return(c, arch, x->out, x->e)) return false;
        if (!meta_find(x->out, "general.type")) meta_set_string(x->out, "general.type", "model", 5);
        if (!meta_find(x->out, "general.name")) set_name(x->out, c->path);
        set_common_meta(x, arch);
    }
    if (!x->carrier->configure(x->m, NULL, x->out, x->e)) return false;
    if (!from_gguf || was_cast(x->out)) {
        meta_set_u32(x->out, "general.file_type", file_type(x->out));
        meta_set_u32(x->out, "general.quantization_version", 2);
    }
    if (!from_gguf && !meta_find(x->out, "tokenizer.ggml.model")) {
        if (!tokenizer_to_gguf(c, x->m, x->out, x->e)) return false;
    }
    if (!from_gguf || meta_find(c, DEROPE_CONFIG)) {
        if (!embed_config(x)) return false;
    }
    embed_json(x, DEROPE_DTYPES, x->dtypes);
    embed_json(x, DEROPE_TENSORS, x->carried);
    if (!from_gguf && c->st_metadata) embed_json(x, DEROPE_ST_METADATA, c->st_metadata);
    return true;
}

/* ---- the whole ---- */

/* Where HF's own form of packed weights can be kept, it is: nothing changed them, or their names. */
static bool keeps_packed(const Export *x, const ExportOptions *o) {
    const Model *m = x->m;
    if (!m->view || o->format != FORMAT_HF || o->has_dtype || o->plain || x->carrier->adapt ||
        x->carrier->repeats_kv || !quantized_untouched(m))
        return false;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const ModelTensor *t = &m->tensors[i];
        char name[128] = "";
        if (!t->tensor.packed || t->role == ROLE_OTHER) continue;
        const TensorName *row = row_of(x, t->role, t->layer);
        if (row) tensor_name(row, t->layer, 0, FORMAT_HF, name);
        bool scaled = t->layer >= 0 && role_takes_scale(&m->spec.layers[t->layer], t->role) &&
                      folded_scale(x, t->layer) != 1;
        if (scaled || strcmp(name, t->origin->name) != 0) return false;
    }
    return true;
}

static bool refuse_quantized(const Model *m, const ExportOptions *o, Error *e) {
    if (!m->quantized_config || (o->format == FORMAT_HF && !o->has_dtype)) return true;
    return error_set(
        e, ERR_INPUT,
        "%s: has a quantization_config (%s); its weights can be carried within HF, not converted (dequantise "
        "it first)",
        m->source->path, quantized_kind(m));
}

Checkpoint *model_export(Model *m, const ExportOptions *o, const Carrier **carrier, Error *e) {
    Error reason = {0};
    if (!e) e = &reason;
    const Carrier *c = carrier_pick(m, o->format, o->carrier, NULL, e);
    if (!c || !refuse_quantized(m, o, e)) return NULL;
    if (carrier) *carrier = c;
    if (o->has_dtype && !model_cast(m, o->dtype, e)) return NULL;
    Export x = {.m = m, .carrier = c, .out = checkpoint_new(o->format), .e = e};
    x.dtypes = json_object();
    x.carried = json_object();
    x.out->path = m->source->path;
    x.packed = keeps_packed(&x, o);
    bool ok =
        check_scale(&x) && add_tensors(&x) && (o->format == FORMAT_GGUF ? finish_gguf(&x) : finish_hf(&x));
    json_decref(x.dtypes);
    json_decref(x.carried);
    if (ok) return x.out;
    checkpoint_close(x.out);
    return NULL;
}

#include "surgery/model.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "formats/tensor_views.h"
#include "surgery/arch_keys.h"
#include "surgery/derope_keys.h"
#include "surgery/families/families.h"
#include "surgery/quantized.h"
#include "surgery/spec_config.h"
#include "surgery/spec_gguf.h"

/* ---- names ---- */

static void fill_hole(char text[128], const char *hole, const char *value) {
    char whole[128];
    const char *at = strstr(text, hole);
    if (!at) return;
    snprintf(whole, sizeof whole, "%.*s%s%s", (int)(at - text), text, value, at + strlen(hole));
    memcpy(text, whole, sizeof whole);
}

void tensor_name(const TensorName *row, int layer, int expert, Format format, char out[128]) {
    char number[16];
    snprintf(out, 128, "%s", format == FORMAT_GGUF ? row->gguf : row->hf);
    snprintf(number, sizeof number, "%d", layer);
    fill_hole(out, "%d", number);
    snprintf(number, sizeof number, expert < 0 ? "*" : "%d", expert);
    fill_hole(out, "%e", number);
}

/* Each expert has a tensor of its own. */
static bool by_expert(const Model *m, const TensorName *row) {
    return strstr(m->source->format == FORMAT_GGUF ? row->gguf : row->hf, "%e") != NULL;
}

static bool in_layers(const TensorName *n) {
    return strstr(n->hf, "%d") != NULL;
}

ModelTensor *model_tensor(const Model *m, TensorRole role, int layer) {
    uint32_t slot = m->role_index[(size_t)(layer + 1) * ROLE_COUNT + role];
    return slot ? &m->tensors[slot - 1] : NULL;
}

void model_tensor_name(const Model *m, TensorRole role, int layer, Format format, char out[128]) {
    const ModelTensor *there = model_tensor(m, role, layer);
    const TensorName *row = there ? there->row : NULL;
    out[0] = 0;
    for (const TensorName *n = m->family->tensors; n->hf && !row; n++)
        if (n->role == role && row_fits(n, spec_layer(&m->spec, layer))) row = n;
    if (row) tensor_name(row, layer, -1, format, out);
}

/* ---- table ---- */

static ModelTensor *append_tensor(Model *m, const ModelTensor *t) {
    if (m->n_tensors == m->tensor_capacity) {
        m->tensor_capacity = m->tensor_capacity ? 2 * m->tensor_capacity : 64;
        m->tensors = xrealloc(m->tensors, m->tensor_capacity * sizeof *m->tensors);
    }
    m->tensors[m->n_tensors] = *t;
    if (t->role != ROLE_OTHER)
        m->role_index[(size_t)(t->layer + 1) * ROLE_COUNT + t->role] = (uint32_t)m->n_tensors + 1;
    return &m->tensors[m->n_tensors++];
}

ModelTensor *model_set_tensor(Model *m, TensorRole role, int layer, const Tensor *t) {
    ModelTensor *there = model_tensor(m, role, layer);
    char name[128] = "";
    model_tensor_name(m, role, layer, FORMAT_HF, name);
    Tensor named = *t;
    named.name = arena_strdup(&m->arena, name);
    if (there) {
        there->tensor = named;
        return there;
    }
    named.status = TENSOR_NEW;
    return append_tensor(m, &(ModelTensor){.role = role, .layer = layer, .tensor = named});
}

void model_notice(Model *m, const char *fmt, ...) {
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_array_append_new(m->notices, json_text(text)); /* it may be cut within a character */
}

/* ---- rows of q and k: interleaved pairs against halves ---- */

/* Row r of a head is dimension pair r/2 in an interleaved file, r mod (d/2) in halves. `index[i]` is where
 * served row i lies in the other order. Only the rotated dimensions are reordered. */
bool model_permute_rows(Model *m, Tensor *t, TensorRole role, const LayerSpec *l, bool to_interleaved,
                        Error *e) {
    uint32_t n_heads = role == ROLE_Q || role == ROLE_Q_BIAS ? l->n_heads : l->n_kv_heads;
    uint32_t head_dim = l->head_dim, half = head_dim / 2;
    if (!tensor_split_rows(&m->arena, t, e)) return false;
    if (t->n_rows != (uint64_t)n_heads * head_dim) return true;
    uint32_t *index = xcalloc(t->n_rows, sizeof *index);
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < half; i++) {
            uint32_t base = h * head_dim;
            if (to_interleaved) {
                index[base + 2 * i] = base + i;
                index[base + 2 * i + 1] = base + half + i;
            } else {
                index[base + i] = base + 2 * i;
                index[base + half + i] = base + 2 * i + 1;
            }
        }
    tensor_permute(&m->arena, t, index);
    free(index);
    return true;
}

/* ---- shapes ---- */

/* ---- binding ---- */

static bool *bias_flag(LayerSpec *l, TensorRole role) {
    switch (role) {
    case ROLE_Q_BIAS:
        return &l->q_bias;
    case ROLE_K_BIAS:
        return &l->k_bias;
    case ROLE_V_BIAS:
        return &l->v_bias;
    case ROLE_O_BIAS:
        return &l->o_bias;
    case ROLE_ROUTER_BIAS:
        return &l->router_bias;
    default:
        return &l->mlp_bias;
    }
}

/* What the configuration asks for; a GGUF says of biases that there are any by having the tensors. */
static bool has_role(const Model *m, TensorRole role, int layer) {
    uint64_t shape[3];
    return role_shape(&m->spec, spec_layer(&m->spec, layer), role, shape) != 0;
}

static void forget_biases(ModelSpec *s) {
    for (uint32_t i = 0; i < s->n_layers; i++)
        for (int role = 0; role < ROLE_COUNT; role++)
            if (role_is_bias((TensorRole)role)) *bias_flag(&s->layers[i], (TensorRole)role) = false;
}

/* The type a tensor had before a GGUF widened it. */
static void restore_dtype(const json_t *dtypes, Tensor *t) {
    const char *name = json_get_string(dtypes, t->name);
    DType before;
    if (!name || !dtype_from_name(name, &before) || !dtype_widens(before, t->dtype)) return;
    t->dtype = t->exact_dtype = before;
}

/* Plain weights lie as the row says; blocks (mxfp4) always lie along the rows that are multiplied. */
static bool lies_transposed(const Model *m, const TensorName *row, const Tensor *t) {
    return row->hf_transposed && m->source->format != FORMAT_GGUF &&
           dtype_info(t->storage_dtype)->block_elems == 1;
}

static bool shape_agrees(const Model *m, const TensorName *row, Fused fused, int layer, const Tensor *t,
                         Error *e) {
    uint64_t want[3];
    const LayerSpec *l = spec_layer(&m->spec, layer);
    uint32_t rank = role_shape(&m->spec, l, row->role, want);
    if (fused) want[role_is_mlp(row->role) && l->n_experts ? 1 : 0] = fused_rows(l, fused);
    if (lies_transposed(m, row, t)) {
        uint64_t rows = want[rank - 2];
        want[rank - 2] = want[rank - 1];
        want[rank - 1] = rows;
    }
    if (t->rank == rank && memcmp(t->shape, want, rank * sizeof *want) == 0) return true;
    char found[SHAPE_TEXT], expected[SHAPE_TEXT];
    shape_text(t->rank, t->shape, found);
    shape_text(rank, want, expected);
    return error_set(e, ERR_INPUT, "%s: tensor '%s': shape %s, the configuration says %s", m->source->path,
                     t->name, found, expected);
}

/* Rows of one role, in halves where the file interleaves; what a GGUF's architecture has no key for undone:
 * Gemma's norms are one more there, and queries have the softmax scale in them. */
static bool in_our_layout(Model *m, const TensorName *row, Fused fused, int layer, Tensor *t, Error *e) {
    bool gguf = m->source->format == FORMAT_GGUF;
    const LayerSpec *l = spec_layer(&m->spec, layer);
    Tensor whole = *t;
    if (lies_transposed(m, row, t) && !tensor_transposed(&m->arena, &m->transpose_cache, t, &whole, e))
        return false;
    *t = whole;
    if (fused && !fused_part(&m->arena, l, fused, row->role, &whole, t, e)) return false;
    if (m->interleaved && role_is_rotated(row->role) && !model_permute_rows(m, t, row->role, l, false, e))
        return false;
    if (gguf && m->spec.unit_offset_norm && role_is_norm(row->role)) t->add = -1;
    if (l && m->unfold && role_takes_scale(l, row->role)) t->scale = (float)m->unfold[layer];
    return true;
}

/* The tensor that a row names; `expert` matters where each has one of its own. */
static const Tensor *find_by_row(const Model *m, const TensorName *row, int layer, int expert) {
    char name[128];
    tensor_name(row, layer, expert, m->source->format, name);
    return checkpoint_find(m->weights, name);
}

/* Another row of the family names this role, and that tensor is there. */
static bool has_other_name(const Model *m, const TensorName *row, int layer) {
    const LayerSpec *l = spec_layer(&m->spec, layer);
    for (const TensorName *other = m->family->tensors; other->hf; other++)
        if (other != row && other->role == row->role && row_fits(other, l) && find_by_row(m, other, layer, 0))
            return true;
    return false;
}

static bool missing(const Model *m, const TensorName *row, int layer, int expert, Error *e) {
    char name[128];
    tensor_name(row, layer, expert, m->source->format, name);
    return error_set(e, ERR_INPUT, "%s: tensor '%s' is missing", m->source->path, name);
}

/* The tensor by a row, or each expert's, is spoken for. */
static void mark_bound(const Model *m, const TensorName *row, int layer, bool *bound) {
    uint32_t n = by_expert(m, row) ? m->spec.layers[layer].n_experts : 1;
    for (uint32_t i = 0; i < n; i++)
        bound[find_by_row(m, row, layer, (int)i) - m->weights->tensors] = true;
}

/* The tensors of all experts as one. */
static bool stack_experts(Model *m, const TensorName *row, int layer, Tensor *out, Error *e) {
    uint32_t n = m->spec.layers[layer].n_experts;
    const Tensor **each = xcalloc(n, sizeof *each);
    bool ok = true;
    for (uint32_t i = 0; ok && i < n; i++) {
        each[i] = find_by_row(m, row, layer, (int)i);
        ok = each[i] || missing(m, row, layer, (int)i, e);
    }
    ok = ok && (tensor_stack(&m->arena, each, n, out, e) || error_place(e, "%s", m->source->path));
    free(each);
    return ok;
}

static bool bind_one(Model *m, const TensorName *row, int layer, const json_t *dtypes, bool *bound,
                     Error *e) {
    bool gguf = m->source->format == FORMAT_GGUF;
    Fused fused = gguf ? row->gguf_fused : row->hf_fused;
    if (!row_fits(row, spec_layer(&m->spec, layer))) return true;
    const Tensor *origin = find_by_row(m, row, layer, 0);
    if (origin && gguf && role_is_bias(row->role)) *bias_flag(&m->spec.layers[layer], row->role) = true;
    if (!has_role(m, row->role, layer)) { /* stock runtimes would pass over it, known name or not */
        /* sinks in a GGUF are a carrier's neutral ones; DroPE saves norms that it does not use */
        if (origin) bound[origin - m->weights->tensors] |= gguf || role_is_norm(row->role);
        return true;
    }
    if (model_tensor(m, row->role, layer) || (!origin && has_other_name(m, row, layer))) return true;
    if (!origin) /* a quantization_config names and packs weights in ways of its own */
        return m->quantized_config || missing(m, row, layer, 0, e);
    ModelTensor t = {.role = row->role, .layer = layer, .row = row, .tensor = *origin, .origin = origin};
    if ((by_expert(m, row) && !stack_experts(m, row, layer, &t.tensor, e)) ||
        !shape_agrees(m, row, fused, layer, &t.tensor, e))
        return m->quantized_config; /* packed: carried as it is */
    mark_bound(m, row, layer, bound);
    char hf[128];
    if (!in_our_layout(m, row, fused, layer, &t.tensor, e)) return error_place(e, "%s", m->source->path);
    tensor_name(row, layer, -1, FORMAT_HF, hf);
    t.tensor.name = arena_strdup(&m->arena, hf);
    restore_dtype(dtypes, &t.tensor);
    append_tensor(m, &t);
    return true;
}

static bool harmless(const Model *m, const char *name) {
    static const char *const known[] = {"rotary_emb.inv_freq", "masked_bias", "rope_freqs.weight",
                                        "rope_factors_long.weight", "rope_factors_short.weight"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(name, known[i])) return true;
    return m->spec.tied_head && strcmp(name, "lm_head.weight") == 0;
}

/* The number that stands where a pattern has `hole`, if `name` is made by the pattern; -1 if not. */
static long number_at(const char *name, const char *pattern, const char *hole) {
    long found = -1;
    while (*pattern) {
        if (pattern[0] == '%') {
            char *rest;
            long n = strtol(name, &rest, 10);
            if (rest == name) return -1;
            if (strncmp(pattern, hole, 2) == 0) found = n;
            name = rest;
            pattern += 2;
        } else if (*pattern++ != *name++) {
            return -1;
        }
    }
    return *name ? -1 : found;
}

/* A tensor of a layer or expert beyond the number that the configuration gives: one of the two is wrong. */
static bool check_beyond(const Model *m, const char *name, Error *e) {
    for (const TensorName *row = m->family->tensors; row->hf; row++) {
        const char *pattern = m->source->format == FORMAT_GGUF ? row->gguf : row->hf;
        long layer = number_at(name, pattern, "%d"), expert = number_at(name, pattern, "%e");
        if (layer >= (long)m->spec.n_layers)
            return error_set(e, ERR_INPUT, "%s: tensor '%s' is of layer %ld, but %u layers are claimed",
                             m->source->path, name, layer, m->spec.n_layers);
        if (layer >= 0 && expert >= 0 && expert >= (long)m->spec.layers[layer].n_experts)
            return error_set(e, ERR_INPUT, "%s: tensor '%s' is of expert %ld, but %u experts are claimed",
                             m->source->path, name, expert, m->spec.layers[layer].n_experts);
    }
    return true;
}

/* The tensors that no row names. */
static bool bind_others(Model *m, const bool *bound, Error *e) {
    const Checkpoint *c = m->weights;
    size_t n = 0;
    const char *first = NULL;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const Tensor *t = &c->tensors[i];
        if (bound[i]) continue;
        if (!check_beyond(m, t->name, e)) return false;
        append_tensor(m, &(ModelTensor){.role = ROLE_OTHER, .layer = -1, .tensor = *t, .origin = t});
        if (harmless(m, t->name)) continue;
        if (n++ == 0) first = t->name;
    }
    if (m->quantized_config)
        model_notice(m,
                     "the source has a quantization_config (%s): its weights are carried as they are, only "
                     "metadata can change",
                     quantized_kind(m));
    else if (n == 1)
        model_notice(m, "tensor '%s' is not one of the family %s; it is carried as it is", first,
                     m->family->name);
    else if (n > 1)
        model_notice(m, "%zu tensors (first '%s') are not of the family %s; they are carried as they are", n,
                     first, m->family->name);
    return true;
}

/* exp of them is 0 in fp32, whatever the scores. */
static bool sinks_are_neutral(const Model *m) {
    enum { NEUTRAL = -1000 };
    bool neutral = m->spec.layers[0].sinks;
    for (size_t i = 0; neutral && i < m->n_tensors; i++) {
        const Tensor *t = &m->tensors[i].tensor;
        if (m->tensors[i].role != ROLE_SINKS) continue;
        uint64_t n = tensor_elems(t);
        float *values = xcalloc(n, sizeof *values);
        neutral = tensor_read_f32(t, values, NULL);
        for (uint64_t j = 0; neutral && j < n; j++)
            neutral = values[j] <= NEUTRAL;
        free(values);
    }
    return neutral;
}

/* A tensor that the configuration asks for and the family has no name for. */
static bool check_named(const Model *m, Error *e) {
    for (int layer = -1; layer < 1; layer++)
        for (int role = 0; role < ROLE_COUNT; role++) {
            const TensorName *row = m->family->tensors;
            while (row->hf && (row->role != (TensorRole)role || !row_fits(row, spec_layer(&m->spec, layer))))
                row++;
            if (has_role(m, (TensorRole)role, layer) && !row->hf)
                return error_set(e, ERR_INPUT,
                                 "%s: the configuration asks for %s, which the family %s does not have",
                                 m->source->path, role_name((TensorRole)role), m->family->name);
        }
    return true;
}

/* An MLP has all of its biases or none. */
static bool check_mlp_biases(const Model *m, int layer, Error *e) {
    char name[128];
    for (int role = ROLE_GATE_BIAS; role <= ROLE_DOWN_BIAS; role++) {
        if (!has_role(m, (TensorRole)role, layer) || model_tensor(m, (TensorRole)role, layer)) continue;
        model_tensor_name(m, (TensorRole)role, layer, m->source->format, name);
        return error_set(e, ERR_INPUT, "%s: tensor '%s' is missing, but other biases of the MLP are there",
                         m->source->path, name);
    }
    return true;
}

/* A GGUF says of every layer apart whether it has biases; architectures have them in all or in none. */
static bool check_biases(const Model *m, Error *e) {
    for (uint32_t i = 0; i < m->spec.n_layers && !m->quantized_config; i++)
        if (!check_mlp_biases(m, (int)i, e)) return false;
    for (uint32_t i = 1; i < m->spec.n_layers; i++)
        for (int role = 0; role < ROLE_COUNT; role++)
            if (role_is_bias((TensorRole)role) &&
                has_role(m, (TensorRole)role, (int)i) != has_role(m, (TensorRole)role, 0))
                return error_set(e, ERR_INPUT, "%s: layers 0 and %u: only one of them has %s",
                                 m->source->path, i, role_name((TensorRole)role));
    return true;
}

static int by_origin(const void *a, const void *b) {
    const ModelTensor *x = a, *y = b;
    if (x->origin == y->origin) return (int)x->role - (int)y->role;
    return x->origin < y->origin ? -1 : 1;
}

/* Tensors in the order of the source, those no row names among them. */
static bool bind_tensors(Model *m, const json_t *dtypes, Error *e) {
    const Checkpoint *c = m->weights;
    bool *bound = xcalloc(c->n_tensors, sizeof *bound);
    bool ok = true;
    for (const TensorName *row = m->family->tensors; ok && row->hf; row++) {
        if (!in_layers(row))
            ok = bind_one(m, row, -1, dtypes, bound, e);
        else
            for (uint32_t i = 0; ok && i < m->spec.n_layers; i++)
                ok = bind_one(m, row, (int)i, dtypes, bound, e);
    }
    ok = ok && check_named(m, e) && check_biases(m, e) && bind_others(m, bound, e);
    free(bound);
    if (!ok) return false;
    qsort(m->tensors, m->n_tensors, sizeof *m->tensors, by_origin);
    for (size_t i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].role != ROLE_OTHER)
            m->role_index[(size_t)(m->tensors[i].layer + 1) * ROLE_COUNT + m->tensors[i].role] =
                (uint32_t)i + 1;
    return true;
}

/* ---- opening ---- */

static bool nearly(double a, double b) {
    return fabs(a - b) <= 1e-6 * fabs(a);
}

/* A window no shorter than the context hides nothing. */
static uint32_t window_within(const LayerSpec *l, uint32_t context) {
    return l->window >= context ? 0 : l->window;
}

static bool same_layers(const ModelSpec *a, const ModelSpec *b) {
    if (a->n_layers != b->n_layers) return false;
    for (uint32_t i = 0; i < a->n_layers; i++) {
        const LayerSpec *x = &a->layers[i], *y = &b->layers[i];
        if (x->position != y->position || window_within(x, a->context) != window_within(y, a->context))
            return false;
        /* a carrier's one expert may stand for a plain MLP */
        if (x->n_experts && y->n_experts && x->top_k != y->top_k) return false;
        if (x->position != POSITION_NOPE &&
            (!nearly(x->rope_base, y->rope_base) || x->rotary_dim != y->rotary_dim ||
             x->scaling.kind != y->scaling.kind || !nearly(x->scaling.factor, y->scaling.factor)))
            return false;
    }
    return true;
}

/* Where config.json holds the softmax scale and llama.cpp's architecture has one of its own, what the two
 * differ by lies in the queries. Otherwise the tensors go with what the keys say. */
static void follow_softmax_scale(Model *m, uint32_t layer, double keys) {
    double *ours = &m->spec.layers[layer].softmax_scale;
    if (nearly(*ours, keys)) return;
    if (!m->family->hf.write_softmax_scale || !m->family->gguf.softmax_scale) {
        *ours = keys;
        return;
    }
    if (!m->unfold) {
        m->unfold = arena_alloc(&m->arena, m->spec.n_layers * sizeof *m->unfold);
        for (uint32_t i = 0; i < m->spec.n_layers; i++)
            m->unfold[i] = 1;
    }
    m->unfold[layer] = keys / *ours;
}

static bool has_experts(const Checkpoint *c) {
    uint64_t n;
    return arch_get_u64(c, "expert_count", &n) && n > 0;
}

/* A GGUF of ours holds the config.json of the same model. What llama.cpp runs are the GGUF's own keys: where
 * somebody changed those since, they hold; and their softmax scale is the one that the tensors go with. */
static void follow_keys(Model *m, const char *arch) {
    Model keys = {.source = m->source, .family = family_by_gguf_arch(arch, has_experts(m->source))};
    if (spec_from_gguf(&keys, m->source, NULL)) {
        bool same = same_layers(&m->spec, &keys.spec);
        if (!same) {
            model_notice(m, "the GGUF's keys say otherwise than its %s; the keys are followed",
                         DEROPE_CONFIG);
            json_decref(m->config);
            m->config = NULL;
            m->family = keys.family;
            LayerSpec *layers = arena_alloc(&m->arena, keys.spec.n_layers * sizeof *layers);
            memcpy(layers, keys.spec.layers, keys.spec.n_layers * sizeof *layers);
            m->spec = keys.spec;
            m->spec.layers = layers;
        }
        for (uint32_t i = 0; same && i < m->spec.n_layers; i++)
            follow_softmax_scale(m, i, keys.spec.layers[i].softmax_scale);
    }
    arena_free(&keys.arena);
}

static bool read_gguf(Model *m, Error *e) {
    const Checkpoint *c = m->source;
    const char *arch = meta_string(c, "general.architecture", NULL);
    if (!arch) return error_set(e, ERR_INPUT, "%s: key 'general.architecture' is missing", c->path);
    m->family = family_by_gguf_arch(arch, has_experts(c));
    if (!m->family)
        return error_set(e, ERR_INPUT, "%s: architecture '%.60s' is not one derope knows", c->path, arch);
    m->interleaved = (m->family->gguf.quirks & GGUF_INTERLEAVED_ROPE) != 0;
    size_t n;
    const char *text = meta_string(c, DEROPE_CONFIG, &n);
    if (!text) return spec_from_gguf(m, c, e);
    m->config = json_parse(DEROPE_CONFIG, text, n, e);
    if (!m->config) return error_place(e, "%s", c->path);
    const char *type = json_get_string(m->config, "model_type");
    const Family *f = type ? family_by_model_type(type) : NULL;
    if (!f) return error_set(e, ERR_INPUT, "%s: %s: unknown model_type", c->path, DEROPE_CONFIG);
    if (!family_has_arch(f, arch) && f->tensors != m->family->tensors) { /* it goes with other tensors */
        json_decref(m->config);
        m->config = NULL;
        return spec_from_gguf(m, c, e);
    }
    m->family = f;
    if (!spec_from_config(m, m->config, e)) return error_place(e, "%s", c->path);
    follow_keys(m, arch);
    return true;
}

static bool read_hf(Model *m, Error *e) {
    const Checkpoint *c = m->source;
    m->config = checkpoint_json(c, CONFIG_FILE, e);
    if (!m->config)
        return e->code ? false
                       : error_set(e, ERR_INPUT, "%s: has no config.json, so its architecture is unknown",
                                   c->path);
    const char *type = json_get_string(m->config, "model_type");
    m->family = type ? family_by_model_type(type) : NULL;
    if (!m->family)
        return error_set(e, ERR_INPUT, "%s: config.json: model_type '%.60s' is not one derope knows", c->path,
                         type ? type : "(none)");
    m->interleaved = (m->family->hf.quirks & HF_INTERLEAVED_ROPE) != 0;
    return spec_from_config(m, m->config, e) || error_place(e, "%s", c->path);
}

/* Checked before any table is made: a layer count that no tensors back is a lie. */
static bool check_layer_count(const Model *m, Error *e) {
    if (m->config_only || m->spec.n_layers <= m->source->n_tensors) return true;
    return error_set(e, ERR_INPUT, "%s: %u layers are claimed, but there are only %zu tensors",
                     m->source->path, m->spec.n_layers, m->source->n_tensors);
}

static Model *open_model(Checkpoint *source, bool config_only, Error *e) {
    Model *m = xcalloc(1, sizeof *m);
    Error reason = {0};
    if (!e) e = &reason;
    m->source = source;
    m->config_only = config_only;
    m->passes = json_array();
    m->notices = json_array();
    if (source->left_out) model_notice(m, "left out, being no tensors: %s", source->left_out);
    bool ok = source->format == FORMAT_GGUF ? read_gguf(m, e) : read_hf(m, e);
    ok = ok && quantized_open(m, e) && check_layer_count(m, e);
    if (ok && !config_only) {
        m->role_index = xcalloc(((size_t)m->spec.n_layers + 1) * ROLE_COUNT, sizeof *m->role_index);
        json_t *dtypes = NULL;
        size_t n;
        const char *text = source->format == FORMAT_GGUF ? meta_string(source, DEROPE_DTYPES, &n) : NULL;
        if (text) ok = (dtypes = json_parse(DEROPE_DTYPES, text, n, e)) != NULL;
        if (source->format == FORMAT_GGUF) forget_biases(&m->spec);
        ok = ok && bind_tensors(m, dtypes, e);
        m->neutral_sinks = ok && sinks_are_neutral(m);
        json_decref(dtypes);
    }
    if (!ok) {
        model_close(m);
        return NULL;
    }
    m->source_spec = m->spec;
    m->source_spec.layers = arena_alloc(&m->arena, m->spec.n_layers * sizeof *m->spec.layers);
    memcpy(m->source_spec.layers, m->spec.layers, m->spec.n_layers * sizeof *m->spec.layers);
    return m;
}

Model *model_open(Checkpoint *source, Error *e) {
    return open_model(source, false, e);
}

Model *model_open_config(Checkpoint *source, Error *e) {
    Model *m = open_model(source, true, e);
    if (m) m->role_index = xcalloc(((size_t)m->spec.n_layers + 1) * ROLE_COUNT, sizeof *m->role_index);
    return m;
}

void model_close(Model *m) {
    if (!m) return;
    checkpoint_close(m->view);
    json_decref(m->config);
    json_decref(m->passes);
    json_decref(m->notices);
    free(m->tensors);
    free(m->role_index);
    transpose_cache_free(&m->transpose_cache);
    arena_free(&m->arena);
    free(m);
}

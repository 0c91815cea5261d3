/* Binding: from the tensors of a checkpoint to the roles of a model. For each row of the family's table
 * (family.h) and each layer the tensor of that name is looked up, checked against the shape that role_shape
 * computes from the spec, and described in the layout that all models share (model.h). Called by model_open.c
 * once the spec is known; afterwards passes, export and recal/ ask for tensors by role only.
 *
 * No weight is read or copied here, apart from the attention sinks. All changes of layout are views
 * (formats/tensor_views.h) that are applied when somebody reads rows. */
#include "surgery/model_bind.h"

#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "formats/meta.h"
#include "formats/tensor_views.h"
#include "formats/text.h"
#include "surgery/derope_keys.h"
#include "surgery/family.h"
#include "surgery/notices.h"
#include "surgery/quantized.h"
#include "surgery/rotary_rows.h"
#include "surgery/tied_head.h"

/* ---- names in the file ---- */

enum { NAME_TEXT = 160 }; /* room for a name of the family, which has less than 128 bytes, and a prefix */

/* A way in which HF files write the names of a family. */
typedef struct NameStyle {
    const char *base; /* in place of the first part of the family's names ("model.") */
    const char *head; /* in front of names without that part */
    bool wrapped;     /* only multimodal models have such names */
} NameStyle;

/* In the order in which they are looked for: names without their first part are how the model below the head
 * is saved by itself (LlamaModel); then come the names of multimodal models in transformers 4, in
 * transformers 5, and of Idefics 3. */
static const NameStyle styles[] = {
    {"", "", false},
    {"language_model.model.", "language_model.", true},
    {"model.language_model.", "", true},
    {"model.text_model.", "", true},
    {"language_model.", "", true},
};

/* The row of the token embedding, which every family has. */
static const TensorName *embedding_row(const Model *m) {
    const TensorName *row = m->family->tensors;
    while (row->role != ROLE_EMBED)
        row++;
    return row;
}

/* The length of the first part of the family's names, "model." in most of them. */
static size_t base_length(const Model *m) {
    return strcspn(embedding_row(m)->hf, ".") + 1;
}

/* Writes one of the family's names, or a pattern with "%d" and "%e", in the way of the file. */
static void in_file(const Model *m, const char *name, char out[NAME_TEXT]) {
    size_t base = base_length(m);
    if (!m->name_base)
        snprintf(out, NAME_TEXT, "%s", name);
    else if (strncmp(name, embedding_row(m)->hf, base) == 0)
        snprintf(out, NAME_TEXT, "%s%s", m->name_base, name + base);
    else
        snprintf(out, NAME_TEXT, "%s%s", m->name_head, name);
}

/* Decides by the embedding how the file writes names. Where none of the ways fits, the family's names stay,
 * and the error about the first missing tensor says what is there instead. */
static void find_name_style(Model *m) {
    const char *embedding = embedding_row(m)->hf;
    if (m->source->format == FORMAT_GGUF || checkpoint_find(m->weights, embedding)) return;
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++) {
        if (styles[i].wrapped && !m->wrapper) continue;
        char name[NAME_TEXT];
        snprintf(name, sizeof name, "%s%s", styles[i].base, embedding + base_length(m));
        if (!checkpoint_find(m->weights, name)) continue;
        m->name_base = styles[i].base;
        m->name_head = styles[i].head;
        return;
    }
}

/* ---- rows of the family's table ---- */

/* The pattern of a row in the naming of the source's container. */
static const char *row_name(const Model *m, const TensorName *row) {
    return m->source->format == FORMAT_GGUF ? row->gguf : row->hf;
}

/* True if each expert has a tensor of its own under this name. */
static bool by_expert(const Model *m, const TensorName *row) {
    return strstr(row_name(m, row), "%e") != NULL;
}

/* The pattern of a layer's tensor has "%d", the place of the layer's number; the embedding, the final norm
 * and the head have none. */
static bool in_layers(const TensorName *row) {
    return strstr(row->hf, "%d") != NULL;
}

/* The tensor that a row names, or NULL. `expert` is used only if the pattern has "%e", which means that every
 * expert has a tensor of its own. */
static const Tensor *find_by_row(const Model *m, const TensorName *row, int layer, int expert) {
    char name[128], there[NAME_TEXT];
    tensor_name(row, layer, expert, m->source->format, name);
    in_file(m, name, there);
    return checkpoint_find(m->weights, there);
}

/* True if another row of the family names the same role and its tensor is there. Some families have two rows
 * for one role; a missing tensor is an error only if the file has neither. */
static bool has_other_name(const Model *m, const TensorName *row, int layer) {
    const LayerSpec *l = spec_layer(&m->spec, layer);
    for (const TensorName *other = m->family->tensors; other->hf; other++)
        if (other != row && other->role == row->role && row_fits(other, l) && find_by_row(m, other, layer, 0))
            return true;
    return false;
}

/* The tensor whose name is the one given with something in front of it, or NULL. */
static const Tensor *find_with_prefix(const Model *m, const char *name) {
    for (size_t i = 0; i < m->weights->n_tensors; i++)
        if (text_ends_with(m->weights->tensors[i].name, name)) return &m->weights->tensors[i];
    return NULL;
}

/* Sets the error for a tensor that the spec asks for. Returns false. Programs that wrap a model for training
 * (DataParallel, torch.compile, PEFT) leave their prefix in the names of files that were saved without
 * unwrapping it. */
static bool missing(const Model *m, const TensorName *row, int layer, int expert, Error *e) {
    char name[128], there[NAME_TEXT];
    tensor_name(row, layer, expert, m->source->format, name);
    in_file(m, name, there);
    const Tensor *other = find_with_prefix(m, there);
    if (!other) return error_set(e, ERR_INPUT, "%s: tensor '%s' is missing", m->source->path, there);
    return error_set(e, ERR_INPUT,
                     "%s: tensor '%s' is missing, but there is '%.120s': remove '%.*s' from the start of the "
                     "names, which a program that wraps models left there",
                     m->source->path, there, other->name, (int)(strlen(other->name) - strlen(there)),
                     other->name);
}

/* ---- biases ---- */

/* The flag of the spec that says whether a layer has this bias. The three biases of the MLP share one flag,
 * because no architecture has only some of them; check_mlp_biases checks that. */
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

/* Whether the spec asks for a tensor of this role in this layer. */
static bool has_role(const Model *m, TensorRole role, int layer) {
    uint64_t shape[3];
    return role_shape(&m->spec, spec_layer(&m->spec, layer), role, shape) != 0;
}

/* Clears the bias flags of all layers. A GGUF has no keys that say whether projections have biases, so
 * bind_one sets each flag again when it finds the tensor. */
static void forget_biases(ModelSpec *s) {
    for (uint32_t i = 0; i < s->n_layers; i++)
        for (int role = 0; role < ROLE_COUNT; role++)
            if (role_is_bias((TensorRole)role)) *bias_flag(&s->layers[i], (TensorRole)role) = false;
}

/* ---- one tensor ---- */

/* Gives a tensor the type that it had before export widened it to F32 for llama.cpp. `dtypes` comes from the
 * key DEROPE_DTYPES; a name in it that does not fit the stored type is ignored. */
static void restore_dtype(const json_t *dtypes, Tensor *t) {
    const char *name = json_get_string(dtypes, t->name);
    DType before;
    if (!name || !dtype_from_name(name, &before) || !dtype_widens(before, t->dtype)) return;
    t->dtype = t->exact_dtype = before;
}

/* Whether the file has columns where the model has rows, as GPT-OSS and Llama 4 store their experts. Weights
 * in blocks (mxfp4) are along rows in any file, because they are multiplied along rows. */
static bool lies_transposed(const Model *m, const TensorName *row, const Tensor *t) {
    return row->hf_transposed && m->source->format != FORMAT_GGUF &&
           dtype_info(t->storage_dtype)->block_elems == 1;
}

/* Compares the tensor's shape with the one that role_shape computes. A fused tensor has the rows of all its
 * parts together, and a transposed one has the last two dimensions exchanged. Sets an error with both shapes
 * if they differ. */
static bool shape_agrees(const Model *m, const TensorName *row, Fused fused, int layer, const Tensor *t,
                         Error *e) {
    uint64_t want[3];
    const LayerSpec *l = spec_layer(&m->spec, layer);
    uint32_t rank = role_shape(&m->spec, l, row->role, want);
    if (fused && l) want[role_is_mlp(row->role) && l->n_experts ? 1 : 0] = fused_rows(l, fused);
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

/* Changes a tensor from the file's layout to the one that all models share. No byte is moved: each step
 * changes the description of the tensor. */
static bool in_our_layout(Model *m, const TensorName *row, Fused fused, int layer, Tensor *t, Error *e) {
    bool gguf = m->source->format == FORMAT_GGUF;
    const LayerSpec *l = spec_layer(&m->spec, layer);
    Tensor whole = *t;
    /* 1. Exchange rows and columns where the file has them the other way round. */
    if (lies_transposed(m, row, t) && !tensor_transposed(&m->arena, &m->transpose_cache, t, &whole, e))
        return false;
    *t = whole;
    /* 2. Take the rows of this role out of a fused tensor. */
    if (fused && !fused_part(&m->arena, l, fused, row->role, &whole, t, e)) return false;
    /* 3. Put rotated rows in halves: pair i of a head is rows i and i + head_dim/2. */
    if (m->interleaved && role_is_rotated(row->role) &&
        !rotary_rows_permute(&m->arena, t, row->role, l, false, e))
        return false;
    /* 4. llama.cpp's norms multiply by w where Gemma's multiply by 1 + w, so a GGUF has 1 + w. */
    if (gguf && m->spec.unit_offset_norm && role_is_norm(row->role)) t->add = -1;
    /* 5. Undo the factor that the export multiplied into the queries because the GGUF's architecture has no
     * key for the softmax scale (Model.unfold). */
    if (l && m->unfold && role_takes_scale(l, row->role)) t->scale = (float)m->unfold[layer];
    return true;
}

/* Marks the row's tensors, one or one for each expert, as bound, so that bind_others does not carry them a
 * second time. */
static void mark_bound(const Model *m, const TensorName *row, int layer, bool *bound) {
    uint32_t n = by_expert(m, row) ? m->spec.layers[layer].n_experts : 1;
    for (uint32_t i = 0; i < n; i++)
        bound[find_by_row(m, row, layer, (int)i) - m->weights->tensors] = true;
}

/* Makes one tensor [experts, ...] of tensors that the file has for each expert. The result is a view whose
 * parts are the stored tensors; nothing is read. Fails if one of them is missing or tensor_stack cannot join
 * them. */
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

/* Refuses a weight that is stored as integers or bits: they are codes whose meaning nothing states, because a
 * quantization_config would have been read before (quantized.c). */
static bool check_type(const Model *m, const Tensor *t, Error *e) {
    if (dtype_is_float(t->storage_dtype)) return true;
    return error_set(
        e, ERR_INPUT,
        "%s: tensor '%s' is a weight, but is stored as %s, which no quantization_config explains; "
        "save the model without quantization, or with its quantization_config",
        m->source->path, t->name, dtype_info(t->storage_dtype)->name);
}

/* True if all attention sinks in a tensor are -1000 or less. A sink is a logit in the softmax's denominator;
 * exp(-1000) is 0 in fp32, so these change no result. */
static bool is_neutral(const Tensor *sinks) {
    enum { NEUTRAL = -1000 };
    uint64_t n = tensor_elems(sinks);
    float *values = xcalloc(n, sizeof *values);
    bool neutral = tensor_read_f32(sinks, values, NULL);
    for (uint64_t j = 0; neutral && j < n; j++)
        neutral = values[j] <= NEUTRAL;
    free(values);
    return neutral;
}

/* Binds the tensor of one row in one layer (-1: outside the layers), if the spec asks for it and no other row
 * has bound it yet. Sets bound[i] for the tensors of the checkpoint that are taken. */
static bool bind_one(Model *m, const TensorName *row, int layer, const json_t *dtypes, bool *bound,
                     Error *e) {
    bool gguf = m->source->format == FORMAT_GGUF;
    Fused fused = gguf ? row->gguf_fused : row->hf_fused;
    if (!row_fits(row, spec_layer(&m->spec, layer))) return true;
    const Tensor *origin = find_by_row(m, row, layer, 0);
    /* 1. A GGUF's biases are in the spec because they are in the file. */
    if (origin && gguf && role_is_bias(row->role)) *bias_flag(&m->spec.layers[layer], row->role) = true;
    /* 2. A tensor that the spec does not ask for is left to bind_others. Two kinds are dropped: what the
     * carrier of a GGUF of ours added, and norms that DroPE's code saves but does not use. */
    if (!has_role(m, row->role, layer)) {
        if (origin && gguf && m->config && row->role == ROLE_SINKS && !is_neutral(origin))
            return error_set(e, ERR_INPUT, "%s: tensor '%s' has sinks, of which its %s says nothing",
                             m->source->path, origin->name, DEROPE_CONFIG);
        if (origin) bound[origin - m->weights->tensors] |= gguf ? m->config != NULL : role_is_norm(row->role);
        return true;
    }
    /* 3. It may be bound by another name, or be about to be. */
    if (model_tensor(m, row->role, layer) || (!origin && has_other_name(m, row, layer))) return true;
    /* 4. It has to be there with its shape. Where a quantization_config packs weights in a way that is not
     * read, they have other names and shapes, and are carried as they are. */
    if (!origin) return m->quantized_config || missing(m, row, layer, 0, e);
    ModelTensor t = {.role = row->role, .layer = layer, .row = row, .tensor = *origin, .origin = origin};
    if (!m->quantized_config && !check_type(m, origin, e)) return false;
    if ((by_expert(m, row) && !stack_experts(m, row, layer, &t.tensor, e)) ||
        !shape_agrees(m, row, fused, layer, &t.tensor, e))
        return m->quantized_config;
    /* 5. It becomes a tensor of the model. */
    mark_bound(m, row, layer, bound);
    char hf[128];
    if (!in_our_layout(m, row, fused, layer, &t.tensor, e)) return error_place(e, "%s", m->source->path);
    tensor_name(row, layer, -1, FORMAT_HF, hf);
    t.tensor.name = arena_strdup(&m->arena, hf);
    restore_dtype(dtypes, &t.tensor);
    model_append_tensor(m, &t);
    return true;
}

/* ---- the head of a tied model ---- */

/* Decides what the output matrix is that the file of a tied model has: a copy of the embedding, which is kept
 * as such, or a matrix of its own, which unties the model (tied_head.h). A GGUF gets such a copy where its
 * architecture demands one (export_added.c); it is not kept. */
static bool settle_head(Model *m, bool *bound, Error *e) {
    TiedHead t = tied_head_find(m->family, m->weights);
    bool same = false;
    if (!m->spec.tied_head || !t.head || m->quantized_config) return true;
    if (!tied_head_is_copy(&t, &same, e)) return error_place(e, "%s", m->source->path);
    if (!same) {
        m->spec.tied_head = false;
        notice_add(
            m->notices,
            "the configuration ties the output matrix to the embedding, but tensor '%s' differs from it; "
            "it is the output matrix, as in transformers 5 and llama.cpp",
            t.head->name);
        return true;
    }
    bound[t.head - m->weights->tensors] = true;
    if (m->source->format != FORMAT_GGUF)
        model_append_tensor(
            m, &(ModelTensor){.role = ROLE_HEAD_COPY, .layer = -1, .tensor = *t.head, .origin = t.head});
    return true;
}

/* ---- tensors without a role ---- */

/* Tensors that many files contain and that need no notice: rotary frequencies, tables and mask constants hold
 * what the configuration or the keys say anyway. */
static bool harmless(const char *name) {
    static const char *const known[] = {"rotary_emb.inv_freq", "masked_bias", "rope_freqs.weight",
                                        "rope_factors_long.weight", "rope_factors_short.weight"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(name, known[i])) return true;
    return false;
}

/* number_at("model.layers.7.mlp.up_proj.weight", "model.layers.%d.mlp.up_proj.weight", "%d") is 7; -1 where
 * the name was not made by the pattern. */
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

/* Refuses a tensor that belongs to a layer or an expert beyond the stated number. A tensor of layer 12 in a
 * model of 12 layers means that the configuration or the file is wrong, and carrying it silently would make a
 * wrong model. */
static bool check_beyond(const Model *m, const char *name, Error *e) {
    for (const TensorName *row = m->family->tensors; row->hf; row++) {
        char pattern[NAME_TEXT];
        in_file(m, row_name(m, row), pattern);
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

/* Whether a tensor is a table of rotary divisors that the architecture reads; the spec has what it says. */
static bool is_rope_table(const Model *m, const char *name) {
    uint32_t scalings = m->family->gguf.rope_scalings;
    if (strcmp(name, "rope_freqs.weight") == 0) return scalings >> ROPE_SCALING_LLAMA3 & 1;
    return strncmp(name, "rope_factors_", 13) == 0 && scalings >> ROPE_SCALING_LONGROPE & 1;
}

/* Refuses a tensor of a GGUF that the architecture does not have. llama.cpp would compute something with it
 * that derope does not know, or, as with most names, not load the file. */
static bool check_gguf_knows(const Model *m, const char *name, Error *e) {
    if (m->source->format != FORMAT_GGUF || is_rope_table(m, name)) return true;
    return error_set(
        e, ERR_INPUT,
        "%s: tensor '%s' is not one that architecture '%s' has here: derope does not know what it "
        "does, and llama.cpp does not load a file with tensors that it does not know",
        m->source->path, name, m->family->gguf.arch);
}

/* Keeps the tensors that no row bound as ROLE_OTHER, so that an export can copy them, and appends one notice
 * about all of them. Those of a multimodal model are left out, because outputs are text models. A notice for
 * each would fill the screen for checkpoints with a vision tower, for example. */
static bool bind_others(Model *m, const bool *bound, Error *e) {
    const Checkpoint *c = m->weights;
    size_t n = 0;
    const char *first = NULL;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const Tensor *t = &c->tensors[i];
        if (bound[i]) continue;
        if (!check_beyond(m, t->name, e) || !check_gguf_knows(m, t->name, e)) return false;
        if (m->wrapper) {
            if (n++ == 0) first = t->name;
            continue;
        }
        model_append_tensor(m, &(ModelTensor){.role = ROLE_OTHER, .layer = -1, .tensor = *t, .origin = t});
        if (harmless(t->name)) continue;
        if (n++ == 0) first = t->name;
    }
    if (m->wrapper)
        notice_add(m->notices,
                   "the source is a multimodal model (%s): its text model is opened, as %s; other "
                   "tensors, which are left out: %zu (first '%s')",
                   m->wrapper, m->family->hf.model_type, n, first ? first : "none");
    if (m->quantized_config)
        notice_add(m->notices,
                   "the source has a quantization_config (%s): its weights are carried as they are, only "
                   "metadata can change",
                   quantized_kind(m->config));
    else if (m->wrapper)
        return true;
    else if (n == 1)
        notice_add(m->notices, "tensor '%s' is not one of the family %s; it is carried as it is", first,
                   m->family->name);
    else if (n > 1)
        notice_add(m->notices,
                   "%zu tensors (first '%s') are not of the family %s; they are carried as they are", n,
                   first, m->family->name);
    return true;
}

/* True if the model has attention sinks and all are neutral. A carrier whose architecture demands sinks added
 * them in an earlier export. */
static bool sinks_are_neutral(const Model *m) {
    bool neutral = m->spec.layers[0].sinks;
    for (size_t i = 0; neutral && i < m->n_tensors; i++)
        if (m->tensors[i].role == ROLE_SINKS) neutral = is_neutral(&m->tensors[i].tensor);
    return neutral;
}

/* ---- checks of the whole ---- */

/* Refuses a spec that asks for a role (a bias, QK-norms) for which the family has no name: the file is then
 * not what its configuration says. Layers agree in this, so layer 0 stands for all. */
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

/* Checks that an MLP has all of its biases or none, because the spec has one flag for them. */
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

/* Checks that all layers have the same biases. In a GGUF biases are found tensor by tensor, and no
 * architecture has them in some layers only. */
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

/* For qsort: the order of the source, which keeps outputs in the order of their inputs. Parts of one fused
 * tensor have the same origin and are ordered by role. */
static int by_origin(const void *a, const void *b) {
    const ModelTensor *x = a, *y = b;
    if (x->origin == y->origin) return (int)x->role - (int)y->role;
    return x->origin < y->origin ? -1 : 1;
}

/* The steps: index, bind every row in every layer, check what was found, keep the rest, and sort. The index
 * by role is made twice: empty before the first look-up, and again after sorting has moved the tensors. */
bool model_bind(Model *m, const json_t *dtypes, Error *e) {
    const Checkpoint *c = m->weights;
    bool *bound = xcalloc(c->n_tensors, sizeof *bound); /* tensors of `c` that have a role */
    bool ok = true;
    model_index_tensors(m);
    find_name_style(m);
    if (m->source->format == FORMAT_GGUF) forget_biases(&m->spec);
    ok = settle_head(m, bound, e);
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
    model_index_tensors(m);
    m->neutral_sinks = sinks_are_neutral(m);
    return true;
}

/* Opening a model: from a checkpoint to a Model with a spec and bound tensors. The steps are: find the family
 * by model_type or general.architecture, read the spec (spec_config.c, spec_gguf.c), look through a
 * quantization_config (quantized.c), bind the tensors (model_bind.c), and keep a copy of the spec as it was
 * read.
 *
 * A GGUF that derope made of a folder has two descriptions of one model, its own keys and the folder's
 * config.json in a key. config.json says more, but runtimes follow the keys, so most of this file decides
 * between the two. */
#include "surgery/model_open.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "surgery/arch_check.h"
#include "surgery/arch_keys.h"
#include "surgery/config_amend.h"
#include "surgery/derope_keys.h"
#include "surgery/families/families.h"
#include "surgery/model_bind.h"
#include "surgery/notices.h"
#include "surgery/quantized.h"
#include "surgery/spec_config.h"
#include "surgery/spec_gguf.h"

/* ---- a GGUF's keys against the config.json that it carries ---- */

/* True if two numbers are equal up to rounding: a GGUF has floats where a config.json has decimal numbers. */
static bool nearly(double a, double b) {
    return fabs(a - b) <= 1e-6 * fabs(a);
}

/* The window in tokens, or 0 where it is no shorter than the context and so hides nothing. */
static uint32_t window_within(const LayerSpec *l, uint32_t context) {
    return l->window >= context ? 0 : l->window;
}

/* Whether two specs of one model compute the same, as far as people edit the keys of a GGUF for it: rotation,
 * windows, and how many experts a token uses. */
static bool same_layers(const ModelSpec *a, const ModelSpec *b) {
    if (a->n_layers != b->n_layers) return false;
    for (uint32_t i = 0; i < a->n_layers; i++) {
        const LayerSpec *x = &a->layers[i], *y = &b->layers[i];
        if (x->position != y->position || window_within(x, a->context) != window_within(y, a->context))
            return false;
        /* A carrier may write a plain MLP as the only one of its experts. */
        if (x->n_experts && y->n_experts && x->top_k != y->top_k) return false;
        if (x->position != POSITION_NOPE &&
            (!nearly(x->rope_base, y->rope_base) || x->rotary_dim != y->rotary_dim ||
             x->scaling.kind != y->scaling.kind || !nearly(x->scaling.factor, y->scaling.factor)))
            return false;
    }
    return true;
}

/* Settles the softmax scale of a layer where config.json and the GGUF's keys (`keys`) disagree. In families
 * whose config.json has a key for it while llama.cpp's architecture computes it, the export multiplied the
 * queries by the ratio of the two (export_scale.c). Then the ratio is kept in m->unfold, which undoes that
 * multiplication when the tensors are bound. In all other families the tensors go with what the keys say. */
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

/* Some architectures of llama.cpp serve a dense family and one with experts; the key tells them apart. */
static bool has_experts(const Checkpoint *c) {
    uint64_t n;
    return arch_get_u64(c, "expert_count", &n) && n > 0;
}

/* Compares the spec from config.json with the one from the GGUF's own keys. llama.cpp runs what the keys say:
 * where somebody has edited them since the export (gguf_set_metadata.py), they hold, and config.json is
 * dropped. If the keys cannot be read as a spec, config.json stays. */
static void follow_keys(Model *m, const char *arch) {
    Model keys = {.source = m->source, .family = family_by_gguf_arch(arch, has_experts(m->source))};
    if (spec_from_gguf(&keys, m->source, NULL)) {
        /* If they differ, the model takes over family and spec of the keys; the layers are copied out of
         * `keys`, which is released below. */
        bool same = same_layers(&m->spec, &keys.spec);
        if (!same) {
            notice_add(m->notices, "the GGUF's keys say otherwise than its %s; the keys are followed",
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

/* ---- the two ways to a spec ---- */

/* The family is first found by the architecture, which says how the tensors are called. If a config.json
 * travels in the GGUF and its tensors have the same names, its family takes over, because it says more about
 * the model. */
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
    const Family *of_arch = m->family;
    if (!config_amend(m, NULL))
        return error_set(e, ERR_INPUT, "%s: %s: unknown model_type", c->path, DEROPE_CONFIG);
    const Family *f = m->family;
    m->family = of_arch;
    /* The carrier may be of another family than the config.json. If its tensors have other names, too, the
     * keys are all that goes with them. */
    if (!family_has_arch(f, arch) && f->tensors != m->family->tensors) {
        json_decref(m->config);
        m->config = NULL;
        return spec_from_gguf(m, c, e);
    }
    m->family = f;
    if (!spec_from_config(m, m->config, e)) return error_place(e, "%s", c->path);
    follow_keys(m, arch);
    return true;
}

/* config.json is all that is needed: its model_type names the family. */
static bool read_hf(Model *m, Error *e) {
    const Checkpoint *c = m->source;
    m->config = checkpoint_json(c, CONFIG_FILE, e);
    if (!m->config)
        return e->code ? false
                       : error_set(e, ERR_INPUT, "%s: has no config.json, so its architecture is unknown",
                                   c->path);
    if (!config_amend(m, e)) return error_place(e, "%s", c->path);
    m->interleaved = (m->family->hf.quirks & HF_INTERLEAVED_ROPE) != 0;
    return spec_from_config(m, m->config, e) || error_place(e, "%s", c->path);
}

/* Refuses more layers than the file has tensors, since every layer has at least one. This is checked before
 * tables of n_layers rows are made, so that a damaged file cannot ask for gigabytes. */
static bool check_layer_count(const Model *m, Error *e) {
    if (m->config_only || m->spec.n_layers <= m->source->n_tensors) return true;
    return error_set(e, ERR_INPUT, "%s: %u layers are claimed, but there are only %zu tensors",
                     m->source->path, m->spec.n_layers, m->source->n_tensors);
}

/* ---- opening ---- */

/* Binds the tensors, with the types that a GGUF of derope's kept for those that were widened. */
static bool bind(Model *m, Error *e) {
    json_t *dtypes = NULL;
    size_t n;
    const char *text = m->source->format == FORMAT_GGUF ? meta_string(m->source, DEROPE_DTYPES, &n) : NULL;
    bool ok = !text || (dtypes = json_parse(DEROPE_DTYPES, text, n, e)) != NULL;
    ok = ok && model_bind(m, dtypes, e);
    json_decref(dtypes);
    return ok;
}

/* Sets m->weights to the tensors that will be bound. Weights packed by a quantization_config are seen through
 * a view, if their kind is one that is read. */
static bool open_quantized(Model *m, Error *e) {
    m->weights = m->source;
    if (m->config_only || m->source->format == FORMAT_GGUF) return true;
    if (!quantized_view(m->source, m->config, m->notices, &m->view, &m->quantized_config, e)) return false;
    if (m->view) m->weights = m->view;
    return true;
}

/* Both ways to open a model. With `config_only` no tensor is looked at. On failure everything that was made
 * so far is released, and the reason is in `e`. */
static Model *open_model(Checkpoint *source, bool config_only, Error *e) {
    Model *m = xcalloc(1, sizeof *m);
    Error reason = {0};
    if (!e) e = &reason;
    m->source = source;
    m->config_only = config_only;
    m->passes = json_array();
    m->notices = json_array();
    if (source->left_out) notice_add(m->notices, "left out, being no tensors: %s", source->left_out);
    if (source->not_carried)
        notice_add(
            m->notices,
            "left out of the folders beside the weights, being weights, models or data of their own: %s",
            source->not_carried);
    /* The spec, then the tensors, which are checked against it. */
    bool ok = source->format == FORMAT_GGUF ? read_gguf(m, e) && arch_check_keys(source, m->notices, e)
                                            : read_hf(m, e);
    ok = ok && open_quantized(m, e) && check_layer_count(m, e);
    ok = ok && (config_only || bind(m, e));
    if (!ok) {
        model_close(m);
        return NULL;
    }
    /* Passes change the spec in place, so what was read is kept in layers of its own. */
    m->source_spec = m->spec;
    m->source_spec.layers = arena_alloc(&m->arena, m->spec.n_layers * sizeof *m->spec.layers);
    memcpy(m->source_spec.layers, m->spec.layers, m->spec.n_layers * sizeof *m->spec.layers);
    return m;
}

Model *model_open(Checkpoint *source, Error *e) {
    return open_model(source, false, e);
}

/* The table of tensors is empty but indexed, so that model_set_tensor can add to it. */
Model *model_open_config(Checkpoint *source, Error *e) {
    Model *m = open_model(source, true, e);
    if (m) model_index_tensors(m); /* training adds the tensors */
    return m;
}

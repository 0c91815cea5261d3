#include "surgery/quantized.h"

#include <string.h>

#include "formats/hf_quantization.h"
#include "formats/json.h"
#include "formats/text.h"

/* One of the kinds that are read. */
typedef struct Kind {
    const char *method, *format; /* quant_method; and format, where that matters */
    bool (*view)(Model *m, const json_t *config, Error *e);
} Kind;

static const json_t *config_of(const Model *m) {
    return json_object_get(m->config, "quantization_config");
}

const char *quantized_kind(const Model *m) {
    const char *method = json_get_string(config_of(m), "quant_method");
    return method ? method : "of no kind";
}

/* "X" of "X_scales"; false if `name` does not end so. */
static bool without(const char *name, const char *ending, char out[256]) {
    size_t n = strlen(name), m = strlen(ending);
    if (n <= m || n - m >= 256 || !text_ends_with(name, ending)) return false;
    memcpy(out, name, n - m);
    out[n - m] = 0;
    return true;
}

static const Tensor *find_with(const Model *m, const char *name, const char *ending) {
    char full[400];
    snprintf(full, sizeof full, "%.300s%s", name, ending);
    return checkpoint_find(m->source, full);
}

/* ---- fp8 ---- */

static const char *const scale_endings[] = {"_scale_inv", "_scale"};

static bool is_fp8(const Tensor *t) {
    return t && t->rank >= 2 && (t->dtype == DTYPE_F8_E4M3 || t->dtype == DTYPE_F8_E5M2);
}

static const Tensor *scale_of(const Model *m, const Tensor *t) {
    const Tensor *scale = NULL;
    for (size_t i = 0; i < 2 && !scale; i++)
        scale = find_with(m, t->name, scale_endings[i]);
    return scale;
}

static bool is_scale(const Model *m, const char *name) {
    char base[256];
    for (size_t i = 0; i < 2; i++)
        if (without(name, scale_endings[i], base) && is_fp8(checkpoint_find(m->source, base))) return true;
    return false;
}

/* What rounds activations or keys and values, which we do not round. */
static bool is_activation_scale(const char *name) {
    static const char *const endings[] = {".input_scale", ".output_scale", ".k_scale", ".v_scale",
                                          ".q_scale"};
    char base[256];
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (without(name, endings[i], base)) return true;
    return false;
}

/* The type that the weights had: what the configuration says. */
static DType plain_type(const Model *m) {
    const char *name = json_get_string(m->config, "dtype");
    if (!name) name = json_get_string(m->config, "torch_dtype");
    if (name && strcmp(name, "float16") == 0) return DTYPE_F16;
    return name && strcmp(name, "float32") == 0 ? DTYPE_F32 : DTYPE_BF16;
}

static bool block_size(const json_t *config, uint64_t block[2], Error *e) {
    const json_t *size = json_object_get(config, "weight_block_size");
    block[0] = block[1] = 128;
    if (!size || json_is_null(size)) return true;
    for (size_t i = 0; i < 2; i++) {
        json_int_t n = json_integer_value(json_array_get(size, i));
        if (json_array_size(size) != 2 || n < 1)
            return error_set(e, ERR_INPUT,
                             "config.json: weight_block_size: expected two sizes, as [128, 128]");
        block[i] = (uint64_t)n;
    }
    return true;
}

static bool add_fp8(Model *m, const Tensor *t, const uint64_t block[2], Error *e) {
    const Tensor *scale = scale_of(m, t);
    Tensor plain;
    if (!scale)
        return error_set(e, ERR_INPUT, "tensor '%s': %s, and there is no '%s_scale_inv' or '%s_scale'",
                         t->name, dtype_info(t->dtype)->name, t->name, t->name);
    if (!hf_dequantized(&m->view->arena, t, scale, block[0], block[1], plain_type(m), &plain, e))
        return false;
    checkpoint_add_tensor(m->view, &plain);
    return true;
}

static bool view_fp8(Model *m, const json_t *config, Error *e) {
    uint64_t block[2];
    size_t packed = 0, left_out = 0;
    if (!block_size(config, block, e)) return false;
    for (size_t i = 0; i < m->source->n_tensors; i++) {
        const Tensor *t = &m->source->tensors[i];
        if (is_scale(m, t->name)) continue;
        if (is_activation_scale(t->name))
            left_out++;
        else if (!is_fp8(t))
            checkpoint_add_tensor(m->view, t);
        else if (packed++, !add_fp8(m, t, block, e))
            return false;
    }
    model_notice(m, "%zu weights in fp8 are read with their scales, as %s", packed,
                 dtype_info(plain_type(m))->name);
    if (left_out)
        model_notice(m, "%zu scales of activations are left out: activations are not rounded here", left_out);
    return true;
}

/* ---- mxfp4 ---- */

static bool view_mxfp4(Model *m, const json_t *config, Error *e) {
    (void)config;
    size_t packed = 0;
    char base[256];
    for (size_t i = 0; i < m->source->n_tensors; i++) {
        const Tensor *t = &m->source->tensors[i], *scales;
        Tensor whole;
        if (without(t->name, "_scales", base) && find_with(m, base, "_blocks")) continue;
        if (!without(t->name, "_blocks", base)) {
            checkpoint_add_tensor(m->view, t);
            continue;
        }
        if (!(scales = find_with(m, base, "_scales")))
            return error_set(e, ERR_INPUT, "tensor '%s': there is no '%s_scales'", t->name, base);
        if (!hf_mxfp4_tensor(&m->view->arena, base, t, scales, &whole, e)) return false;
        checkpoint_add_tensor(m->view, &whole);
        packed++;
    }
    model_notice(m, "%zu weights in mxfp4 are read from their blocks and scales", packed);
    return true;
}

/* ---- any ---- */

static const Kind kinds[] = {
    {"fp8", NULL, view_fp8},
    {"compressed-tensors", "float-quantized", view_fp8},
    {"mxfp4", NULL, view_mxfp4},
};

bool quantized_open(Model *m, Error *e) {
    const json_t *config = config_of(m);
    const char *format = json_get_string(config, "format");
    m->weights = m->source;
    if (m->config_only || m->source->format == FORMAT_GGUF || !json_is_object(config)) return true;
    const Kind *kind = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !kind; i++)
        if (strcmp(kinds[i].method, quantized_kind(m)) == 0 &&
            (!kinds[i].format || (format && strcmp(kinds[i].format, format) == 0)))
            kind = &kinds[i];
    m->quantized_config = !kind;
    if (!kind) return true;
    m->view = checkpoint_new(m->source->format);
    m->weights = m->view;
    return kind->view(m, config, e) || error_place(e, "%s", m->source->path);
}

bool quantized_untouched(const Model *m) {
    for (size_t i = 0; i < m->n_tensors; i++) {
        const Tensor *now = &m->tensors[i].tensor, *then = m->tensors[i].origin;
        bool was_packed = then && then->quantization;
        if (!was_packed) continue;
        /* its rows may be in our order, which an export undoes */
        if (!now->quantization || now->dtype != then->dtype || now->scale != 1 || now->add != 0 ||
            now->row_scale || now->status >= TENSOR_CHANGED)
            return false;
    }
    return true;
}

void quantized_carry(const Model *m, Checkpoint *out) {
    for (size_t i = 0; i < m->source->n_tensors; i++) {
        const Tensor *t = &m->source->tensors[i], *seen = checkpoint_find(m->view, t->name);
        if (!seen || seen->quantization) checkpoint_add_tensor(out, t);
    }
}

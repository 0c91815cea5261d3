/* Reading folders whose weights are packed by a quantization_config. transformers stores such a weight as two
 * or more tensors (values and scales) under names of their own. A view is a second checkpoint over the same
 * files in which each of them is one plain tensor again, under the name that the family's table expects;
 * formats/hf_quantization.h decodes the rows when they are read. model_open.c binds the view instead of the
 * source.
 *
 * To add a kind of packing, write a function that fills v->out and add a row to `kinds`. */
#include "surgery/quantized.h"

#include <string.h>

#include "formats/hf_quantization.h"
#include "formats/json.h"
#include "formats/text.h"
#include "surgery/notices.h"

/* The state of making one view, handed to the function of each kind. */
typedef struct View {
    const Checkpoint *source;
    const json_t *model;  /* config.json */
    const json_t *config; /* its quantization_config */
    json_t *notices;      /* array of strings that is appended to */
    Checkpoint *out;      /* the view that is being filled */
} View;

/* A kind of packing that is read. */
typedef struct Kind {
    const char *method; /* quant_method */
    const char *format; /* "format", where the method has several; NULL: any */
    bool (*view)(View *v, Error *e);
} Kind;

/* The quant_method, which names the kind of packing in messages and in the table `kinds`. */
const char *quantized_kind(const json_t *config) {
    const char *method = json_get_string(json_object_get(config, "quantization_config"), "quant_method");
    return method ? method : "of no kind";
}

/* Copies "X" of "X_scales" to `out`; false if `name` has another ending, or is longer than any tensor's. */
static bool without(const char *name, const char *ending, char out[256]) {
    size_t n = strlen(name), m = strlen(ending);
    if (n <= m || n - m >= 256 || !text_ends_with(name, ending)) return false;
    memcpy(out, name, n - m);
    out[n - m] = 0;
    return true;
}

/* The source's tensor called `name` + `ending`, or NULL. */
static const Tensor *find_with(const View *v, const char *name, const char *ending) {
    char full[400];
    snprintf(full, sizeof full, "%.300s%s", name, ending);
    return checkpoint_find(v->source, full);
}

/* ---- fp8: X, and X_scale_inv (DeepSeek) or X_scale (compressed-tensors) ---- */

static const char *const scale_endings[] = {"_scale_inv", "_scale"};

/* A weight in fp8. Only matrices and stacks of matrices count. */
static bool is_fp8(const Tensor *t) {
    return t && t->rank >= 2 && (t->dtype == DTYPE_F8_E4M3 || t->dtype == DTYPE_F8_E5M2);
}

/* The tensor with the scales of an fp8 weight, under either name; NULL if the file has none. */
static const Tensor *scale_of(const View *v, const Tensor *t) {
    const Tensor *scale = NULL;
    for (size_t i = 0; i < 2 && !scale; i++)
        scale = find_with(v, t->name, scale_endings[i]);
    return scale;
}

/* True for a tensor that scale_of finds for some weight. It is consumed together with that weight and is not
 * a tensor of the view. */
static bool is_scale(const View *v, const char *name) {
    char base[256];
    for (size_t i = 0; i < 2; i++)
        if (without(name, scale_endings[i], base) && is_fp8(checkpoint_find(v->source, base))) return true;
    return false;
}

/* Scales by which a runtime rounds activations, or keys and values. Here these stay in fp32, so the scales
 * have no use. */
static bool is_activation_scale(const char *name) {
    static const char *const endings[] = {".input_scale", ".output_scale", ".k_scale", ".v_scale",
                                          ".q_scale"};
    char base[256];
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (without(name, endings[i], base)) return true;
    return false;
}

/* The type that the weights had before they were packed, as config.json says it; BF16 if it does not. */
static DType plain_type(const json_t *config) {
    const char *name = json_get_string(config, "dtype");
    if (!name) name = json_get_string(config, "torch_dtype");
    if (name && strcmp(name, "float16") == 0) return DTYPE_F16;
    return name && strcmp(name, "float32") == 0 ? DTYPE_F32 : DTYPE_BF16;
}

/* weight_block_size: rows and columns that share a scale. 128 x 128 where the key is absent, as in
 * DeepSeek-V3. */
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

/* Adds the plain tensor that serves t * scale. */
static bool add_fp8(View *v, const Tensor *t, const uint64_t block[2], Error *e) {
    const Tensor *scale = scale_of(v, t);
    Tensor plain;
    if (!scale)
        return error_set(e, ERR_INPUT, "tensor '%s': %s, and there is no '%s_scale_inv' or '%s_scale'",
                         t->name, dtype_info(t->dtype)->name, t->name, t->name);
    if (!hf_dequantized(&v->out->arena, t, scale, block[0], block[1], plain_type(v->model), &plain, e))
        return false;
    checkpoint_add_tensor(v->out, &plain);
    return true;
}

/* fp8: every tensor is either a weight (dequantised with its scale), a scale (dropped), or plain (kept). One
 * notice says how many weights were packed, another how many scales of activations were dropped. */
static bool view_fp8(View *v, Error *e) {
    uint64_t block[2];
    size_t packed = 0, left_out = 0;
    if (!block_size(v->config, block, e)) return false;
    for (size_t i = 0; i < v->source->n_tensors; i++) {
        const Tensor *t = &v->source->tensors[i];
        if (is_scale(v, t->name)) continue;
        if (is_activation_scale(t->name))
            left_out++;
        else if (!is_fp8(t))
            checkpoint_add_tensor(v->out, t);
        else if (packed++, !add_fp8(v, t, block, e))
            return false;
    }
    notice_add(v->notices, "%zu weights in fp8 are read with their scales, as %s", packed,
               dtype_info(plain_type(v->model))->name);
    if (left_out)
        notice_add(v->notices, "%zu scales of activations are left out: activations are not rounded here",
                   left_out);
    return true;
}

/* ---- mxfp4: X_blocks and X_scales (GPT-OSS) ---- */

/* mxfp4: GPT-OSS stores an expert matrix X as X_blocks (4-bit values) and X_scales (one exponent for each 32
 * values). The view has it as one tensor X in the block type MXFP4 of GGUF. */
static bool view_mxfp4(View *v, Error *e) {
    size_t packed = 0;
    char base[256];
    for (size_t i = 0; i < v->source->n_tensors; i++) {
        const Tensor *t = &v->source->tensors[i], *scales;
        Tensor whole;
        if (without(t->name, "_scales", base) && find_with(v, base, "_blocks")) continue;
        if (!without(t->name, "_blocks", base)) {
            checkpoint_add_tensor(v->out, t);
            continue;
        }
        if (!(scales = find_with(v, base, "_scales")))
            return error_set(e, ERR_INPUT, "tensor '%s': there is no '%s_scales'", t->name, base);
        if (!hf_mxfp4_tensor(&v->out->arena, base, t, scales, &whole, e)) return false;
        checkpoint_add_tensor(v->out, &whole);
        packed++;
    }
    notice_add(v->notices, "%zu weights in mxfp4 are read from their blocks and scales", packed);
    return true;
}

/* ---- the kinds ---- */

/* compressed-tensors has several formats, of which only float-quantized (fp8 with a scale) is read. */
static const Kind kinds[] = {
    {"fp8", NULL, view_fp8},
    {"compressed-tensors", "float-quantized", view_fp8},
    {"mxfp4", NULL, view_mxfp4},
};

/* The kind that a quantization_config is of; NULL if it is one that is not read. */
static const Kind *find_kind(const json_t *config, const char *method) {
    const char *format = json_get_string(config, "format");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].method, method) == 0 &&
            (!kinds[i].format || (format && strcmp(kinds[i].format, format) == 0)))
            return &kinds[i];
    return NULL;
}

/* No quantization_config: no view. A kind that is not read: `*unreadable`, and the caller carries the packed
 * tensors without looking into them. */
bool quantized_view(const Checkpoint *source, const json_t *config, json_t *notices, Checkpoint **view,
                    bool *unreadable, Error *e) {
    View v = {.source = source,
              .model = config,
              .config = json_object_get(config, "quantization_config"),
              .notices = notices};
    *view = NULL;
    *unreadable = false;
    if (!json_is_object(v.config)) return true;
    const Kind *kind = find_kind(v.config, quantized_kind(config));
    *unreadable = !kind;
    if (!kind) return true;
    *view = v.out = checkpoint_new(source->format);
    return kind->view(&v, e) || error_place(e, "%s", source->path);
}

/* Another element type for the weights. Norms, biases and other vectors follow only between plain types:
 * quantised blocks are for matrices. */
#include "surgery/pass.h"

static const Param params[] = {
    {"dtype", PARAM_STRING, true, "f32, bf16, f16, q8_0, q4_0 or q4_1"},
    {0},
};

bool model_cast(Model *m, DType to, Error *e) {
    const DTypeInfo *info = dtype_info(to);
    if (!info->encode) return error_set(e, ERR_USAGE, "weights cannot be written as %s", info->name);
    if (m->quantized_config)
        return error_set(e, ERR_USAGE,
                         "the source has a quantization_config; its weights are carried, not changed "
                         "(dequantise it first)");
    for (size_t i = 0; i < m->n_tensors; i++) {
        Tensor *t = &m->tensors[i].tensor;
        const DTypeInfo *from = dtype_info(t->stored);
        if (m->tensors[i].role == ROLE_OTHER || (info->block_elems > 1 && t->rank < 2)) continue;
        if (t->row_elems % info->block_elems) {
            model_notice(m, "tensor '%s' stays %s: rows of %llu elements are not whole blocks of %s", t->name,
                         dtype_info(t->dtype)->name, (unsigned long long)t->row_elems, info->name);
            continue;
        }
        if (!from->decode)
            return error_set(e, ERR_INPUT, "tensor '%s': %s cannot be decoded, so it cannot become %s",
                             t->name, from->name, info->name);
        t->dtype = to;
        t->restored = false;
    }
    return true;
}

static bool apply(Model *m, const json_t *args, Error *e) {
    const char *name = json_string_value(json_object_get(args, "dtype"));
    DType to;
    if (!dtype_from_name(name, &to)) return error_set(e, ERR_USAGE, "unknown dtype '%.40s'", name);
    return model_cast(m, to, e);
}

const Pass pass_cast = {
    .name = "cast", .help = "write the weights in another type", .params = params, .apply = apply};

/* Another element type for the weights. Norms, biases and other vectors follow only between plain types:
 * quantised blocks are for matrices. */
#include "surgery/pass.h"
#include "surgery/quantized.h"

static const Option parameters[] = {
    {.name = "dtype",
     .type = OPTION_TEXT,
     .required = true,
     .help = "the type to write weights in; q and iq types hold blocks of elements and are for matrices",
     .choices = dtype_names,
     .choices_checked_later = true},
    {0},
};

/* The tensors whose rows are no whole blocks of what was asked for. */
typedef struct Fallback {
    size_t n;
    const Tensor *first;
    DType type;
} Fallback;

/* Blocks are for matrices, and not for the router's, whose choices are close: llama.cpp leaves it too. */
static bool takes_blocks(const ModelTensor *t) {
    return t->tensor.rank > 1 && !role_is_bias(t->role) && t->role != ROLE_ROUTER;
}

bool model_cast(Model *m, DType to, Error *e) {
    const DTypeInfo *info = dtype_info(to);
    if (!info->encode) return error_set(e, ERR_USAGE, "weights cannot be written as %s", info->name);
    if (m->quantized_config)
        return error_set(e, ERR_USAGE,
                         "the source has a quantization_config (%s); its weights are carried, not changed "
                         "(dequantise it first)",
                         quantized_kind(m));
    Fallback f = {0};
    for (size_t i = 0; i < m->n_tensors; i++) {
        Tensor *t = &m->tensors[i].tensor;
        const DTypeInfo *from = dtype_info(t->storage_dtype);
        if (m->tensors[i].role == ROLE_OTHER || (info->block_elems > 1 && !takes_blocks(&m->tensors[i])))
            continue;
        DType fits;
        if (!dtype_for_rows(to, t->row_elems, &fits)) {
            model_notice(m, "tensor '%s' stays %s: rows of %llu elements are not whole blocks of %s", t->name,
                         dtype_info(t->dtype)->name, (unsigned long long)t->row_elems, info->name);
            continue;
        }
        if (!from->decode)
            return error_set(e, ERR_INPUT, "tensor '%s': %s cannot be decoded, so it cannot become %s",
                             t->name, from->name, info->name);
        if (fits != to && f.n++ == 0) f.first = t, f.type = fits;
        t->dtype = fits;
        t->exact_dtype = t->storage_dtype;
    }
    if (f.n)
        model_notice(
            m, "%zu tensors (first '%s') become %s: rows of %llu elements are not whole blocks of %s", f.n,
            f.first->name, dtype_info(f.type)->name, (unsigned long long)f.first->row_elems, info->name);
    return true;
}

static bool apply(Model *m, const json_t *args, Error *e) {
    const char *name = json_string_value(json_object_get(args, "dtype"));
    DType to;
    if (!dtype_from_name(name, &to)) return error_set(e, ERR_USAGE, "unknown dtype '%.40s'", name);
    return model_cast(m, to, e);
}

const Pass pass_cast = {
    .name = "cast",
    .help = "write the weights in another type",
    .parameters = parameters,
    .apply = apply,
};

/* Gives the weights another element type, for good: unlike --dtype, which is of one output, it holds for all
 * outputs of a recipe. surgery/cast.h says which tensors follow. */
#include "surgery/cast.h"
#include "surgery/pass.h"
#include "surgery/quant_mix.h"
#include "surgery/quantized.h"

/* Argument in a recipe: {"pass": "cast", "dtype": "q8_0"}. There is no flag for this pass, since --dtype
 * gives the one output of a command line its type. */
static const Option parameters[] = {
    {.name = "dtype",
     .type = OPTION_TEXT,
     .required = true,
     .help = "the type to write weights in; q and iq types hold blocks of elements and are for matrices",
     .choices = dtype_names,
     .choices_checked_later = true},
    {0},
};

/* Weights in a packing that is not read (GPTQ, AWQ, ...) cannot be decoded, so their type cannot change. */
static bool apply(Model *m, const json_t *args, Error *e) {
    const char *name = json_string_value(json_object_get(args, "dtype"));
    /* Any known type is accepted here; cast_tensors refuses those that have no encoder. */
    DType to;
    bool known = dtype_from_name(name, &to);
    if (!known && quant_mix_find(name))
        return error_set(
            e, ERR_USAGE,
            "'%.40s' is a mix of types, which depend on the file that is written; it belongs to an "
            "output: outputs: {path: NAME.gguf, dtype: %.40s}",
            name, name);
    if (!known) return error_set(e, ERR_USAGE, "unknown dtype '%.40s'", name);
    if (m->quantized_config && dtype_info(to)->encode)
        return error_set(e, ERR_USAGE,
                         "the source has a quantization_config (%s); its weights are carried, not changed "
                         "(dequantise it first)",
                         quantized_kind(m->config));
    return cast_tensors(m->tensors, m->n_tensors, to, m->notices, e);
}

const Pass pass_cast = {
    .name = "cast",
    .help = "write the weights in another type",
    .parameters = parameters,
    .apply = apply,
};

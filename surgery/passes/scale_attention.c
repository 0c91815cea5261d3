/* The softmax scale times a constant. The spec carries it; whether the output says it in metadata or in
 * q_proj is the carrier's matter (surgery/export.c). */
#include "surgery/pass.h"

static const Param params[] = {
    {"factor", PARAM_REAL, true, "the softmax scale is multiplied by this"},
    {0},
};

static bool apply(Model *m, const json_t *args, Error *e) {
    double factor = json_number_value(json_object_get(args, "factor"));
    if (!(factor >= 1e-6 && factor <= 1e6)) /* beyond, weights that take it in vanish or overflow */
        return error_set(e, ERR_USAGE, "a factor of %g; expected 1e-6 to 1e6", factor);
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].softmax_scale *= factor;
    return true;
}

const Pass pass_scale_attention = {.name = "scale_attention",
                                   .help = "scale attention scores by a constant",
                                   .params = params,
                                   .apply = apply};

/* The softmax scale times a constant. The spec carries it; whether the output says it in metadata or in
 * q_proj is the carrier's matter (surgery/export.c). */
#include <math.h>

#include "surgery/pass.h"

static const Param params[] = {
    {"factor", PARAM_REAL, true, "the softmax scale is multiplied by this"},
    {0},
};

static bool apply(Model *m, const json_t *args, Error *e) {
    double factor = json_number_value(json_object_get(args, "factor"));
    if (!(factor > 0) || !isfinite(factor)) return error_set(e, ERR_USAGE, "a factor of %g", factor);
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        double scale = m->spec.layers[i].softmax_scale * factor;
        if (!isfinite((float)scale))
            return error_set(e, ERR_USAGE, "layer %u: a softmax scale of %g", i, scale);
        m->spec.layers[i].softmax_scale = scale;
    }
    return true;
}

const Pass pass_scale_attention = {.name = "scale_attention",
                                   .help = "scale attention scores by a constant",
                                   .params = params,
                                   .apply = apply};

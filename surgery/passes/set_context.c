/* What the output says it can read: max_position_embeddings, model_max_length, context_length. Of all
 * arithmetic only dynamic NTK and LongRoPE depend on it, and would be others with another context. */
#include "surgery/pass.h"

static const Param params[] = {
    {"tokens", PARAM_UINT, true, "context length that configurations state"},
    {0},
};

static bool apply(Model *m, const json_t *args, Error *e) {
    json_int_t n = json_integer_value(json_object_get(args, "tokens"));
    if (n < 1 || n > UINT32_MAX)
        return error_set(e, ERR_USAGE, "a context of %lld tokens; expected 1 to %u", (long long)n,
                         UINT32_MAX);
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (rope_counts_from_context(&m->spec.layers[i].scaling) && n != m->spec.context)
            return error_set(
                e, ERR_USAGE, "layer %u has %s scaling, which counts from the stated context of %u", i,
                m->spec.layers[i].scaling.kind == ROPE_SCALING_DYNAMIC ? "dynamic NTK" : "LongRoPE",
                m->spec.context);
    m->new_context = (uint64_t)n;
    return true;
}

const Pass pass_set_context = {
    .name = "set_context", .help = "state another context length", .params = params, .apply = apply};

/* What the output says it can read: max_position_embeddings, model_max_length, context_length. No arithmetic
 * depends on it except that of dynamic NTK. */
#include "surgery/pass.h"

static const Param params[] = {
    {"tokens", PARAM_UINT, true, "context length that configurations state"},
    {0},
};

static bool apply(Model *m, const json_t *args, Error *e) {
    json_int_t n = json_integer_value(json_object_get(args, "tokens"));
    if (n < 1 || n > UINT32_MAX) return error_set(e, ERR_USAGE, "a context of %lld tokens", (long long)n);
    m->new_context = (uint64_t)n;
    return true;
}

const Pass pass_set_context = {
    .name = "set_context", .help = "state another context length", .params = params, .apply = apply};

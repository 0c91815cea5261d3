/* Attention of the picked layers sees the token itself and the size - 1 before it. */
#include <stdlib.h>

#include "surgery/pass.h"

static const Param params[] = {
    {"size", PARAM_UINT, true, "tokens a query sees, itself included; 0: all of them"},
    {"layers", PARAM_LAYERS, false, "layers that get the window (all)"},
    {0},
};

static bool apply(Model *m, const json_t *args, Error *e) {
    json_int_t size = json_integer_value(json_object_get(args, "size"));
    if (size < 0 || size > 1 << 30)
        return error_set(e, ERR_USAGE, "a window of %lld tokens; expected at most %d, or 0 for none",
                         (long long)size, 1 << 30);
    uint32_t n = m->spec.n_layers;
    bool *picked = xcalloc(n, sizeof *picked);
    json_t *all = json_string("all");
    const json_t *layers = json_object_get(args, "layers");
    bool ok = layers_parse(layers ? layers : all, n, picked, e);
    for (uint32_t i = 0; ok && i < n; i++)
        if (picked[i]) {
            m->spec.layers[i].window = (uint32_t)size;
            m->spec.layers[i].chunked = false;
        }
    json_decref(all);
    free(picked);
    return ok;
}

const Pass pass_sliding_window = {
    .name = "sliding_window", .help = "limit attention to a window", .params = params, .apply = apply};

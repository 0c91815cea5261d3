/* DroPE (arXiv 2512.12167): the rotation of the picked layers becomes the identity. */
#include <stdlib.h>

#include "surgery/family.h"
#include "surgery/pass.h"

static const Param params[] = {
    {"layers", PARAM_LAYERS, false, "layers that lose their rotation (all)"},
    {"keep", PARAM_LAYERS, false, "instead of layers: the layers that keep it"},
    {0},
};

static bool apply(Model *m, const json_t *args, Error *e) {
    const json_t *layers = json_object_get(args, "layers"), *keep = json_object_get(args, "keep");
    if (layers && keep) return error_set(e, ERR_USAGE, "give layers or keep, not both");
    uint32_t n = m->spec.n_layers;
    bool *picked = xcalloc(n, sizeof *picked);
    json_t *all = json_string("all");
    bool ok = layers_parse(keep ? keep : layers ? layers : all, n, picked, e);
    for (uint32_t i = 0; ok && i < n; i++)
        if (picked[i] != (keep != NULL)) layer_drop_rope(&m->spec.layers[i]);
    json_decref(all);
    free(picked);
    return ok;
}

const Pass pass_drop_rope = {
    .name = "drop_rope", .help = "drop the rotary embeddings of layers", .params = params, .apply = apply};

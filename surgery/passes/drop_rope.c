/* Removes rotary position embeddings from some or all layers, as DroPE does (arXiv 2512.12167): queries and
 * keys of those layers are no longer rotated, so their attention scores depend on content and causal order
 * alone. Only the spec changes here; the carrier that is picked at export says it in the output's
 * configuration. */
#include <stdlib.h>

#include "surgery/family.h"
#include "surgery/layer_set.h"
#include "surgery/pass.h"

/* Arguments in a recipe: {"pass": "drop_rope", "layers": "every:4"} or {"pass": "drop_rope", "keep": "0-3"}.
 */
static const Option parameters[] = {
    {.name = "layers", .type = OPTION_LAYERS, .fallback = "all", .help = "layers that lose their rotation"},
    {.name = "keep", .type = OPTION_LAYERS, .help = "instead of layers: the layers that keep their rotation"},
    {0},
};

/* Both flags may be given once only, because two sets of layers would contradict each other. */
static const PassFlag flags[] = {
    {.option = {.name = "drop_rope",
                .type = OPTION_TEXT,
                .value_name = "LAYERS",
                .optional_value = true,
                .help =
                    "remove the rotary embeddings of LAYERS: all, 3, 0,3,7, 10-29, or every:4 for layers i "
                    "with (i+1) % 4 == 0; without a value, of all layers"},
     .parameters = {"layers"},
     .alone = "all",
     .repeat = PASS_ONCE},
    {.option = {.name = "keep_rope",
                .type = OPTION_TEXT,
                .value_name = "LAYERS",
                .help = "remove the rotary embeddings of all layers except LAYERS"},
     .parameters = {"keep"},
     .repeat = PASS_ONCE},
    {.option = {0}},
};

/* A layer that has no rotation already stays as it is. */
static bool apply(Model *m, const json_t *args, Error *e) {
    const json_t *layers = json_object_get(args, "layers"), *keep = json_object_get(args, "keep");
    if (layers && keep) return error_set(e, ERR_USAGE, "give layers or keep, not both");
    uint32_t n = m->spec.n_layers;
    bool *picked = xcalloc(n, sizeof *picked);
    json_t *all = json_string("all");
    /* `keep` picks the layers that stay as they are, `layers` those that change. */
    bool ok = layers_parse(keep ? keep : layers ? layers : all, n, picked, e);
    for (uint32_t i = 0; ok && i < n; i++)
        if (picked[i] != (keep != NULL)) layer_drop_rope(&m->spec.layers[i]);
    json_decref(all);
    free(picked);
    return ok;
}

const Pass pass_drop_rope = {
    .name = "drop_rope",
    .help = "remove the rotary embeddings of layers",
    .parameters = parameters,
    .flags = flags,
    .apply = apply,
};

/* Limits the attention of some layers to a sliding window: a query at position i attends to positions i -
 * size + 1 to i. SWAN-GPT (arXiv 2504.08719) keeps RoPE in layers with such windows, which never see a
 * distance that they were not trained on, and drops it in the others. A window of 0 is full causal attention.
 */
#include <stdlib.h>

#include "surgery/layer_set.h"
#include "surgery/pass.h"

/* Arguments in a recipe: {"pass": "sliding_window", "size": 512, "layers": "0-19"}. */
static const Option parameters[] = {
    {.name = "size",
     .type = OPTION_U64,
     .required = true,
     .most = 1 << 30,
     .help = "tokens a query sees, itself included; 0: all of them"},
    {.name = "layers", .type = OPTION_LAYERS, .fallback = "all", .help = "layers that get the window"},
    {0},
};

/* The flag can be given several times, so that groups of layers get windows of different sizes; they are
 * applied in that order. */
static const PassFlag flags[] = {
    {.option = {.name = "sliding_window",
                .type = OPTION_TEXT,
                .value_name = "N[:LAYERS]",
                .help =
                    "a token attends to itself and the N-1 tokens before it, in LAYERS (default all); 0: to "
                    "all before it. Can be given several times"},
     .parameters = {"size", "layers"},
     .second_optional = true,
     .example = "512:0-19",
     .repeat = PASS_EACH},
    {.option = {0}},
};

/* Sets the window of the picked layers; without the argument `layers` all layers are picked, as the table's
 * default says. */
static bool apply(Model *m, const json_t *args, Error *e) {
    /* A size of 0 removes the window. */
    json_int_t size = json_integer_value(json_object_get(args, "size"));
    uint32_t n = m->spec.n_layers;
    bool *picked = xcalloc(n, sizeof *picked);
    json_t *all = json_string("all");
    const json_t *layers = json_object_get(args, "layers");
    bool ok = layers_parse(layers ? layers : all, n, picked, e);
    for (uint32_t i = 0; ok && i < n; i++)
        if (picked[i]) {
            m->spec.layers[i].window = (uint32_t)size;
            m->spec.layers[i].chunked = false; /* Llama 4's chunks are another kind of limit */
        }
    json_decref(all);
    free(picked);
    return ok;
}

const Pass pass_sliding_window = {
    .name = "sliding_window",
    .help = "limit attention to a window",
    .parameters = parameters,
    .flags = flags,
    .apply = apply,
};

/* Multiplies the softmax scale of every layer by a constant. Longer texts flatten the softmax; DroPE (arXiv
 * 2512.12167) and YaRN (arXiv 2309.00071) sharpen it again by such a factor. Only the spec changes here: at
 * export the carrier states the scale in a key if it has one, and otherwise the queries are multiplied
 * (surgery/export_scale.c). */
#include "surgery/pass.h"

static const Option parameters[] = {
    {.name = "factor",
     .type = OPTION_REAL,
     .required = true,
     /* A carrier may have to multiply q_proj by it, which beyond these values vanishes or overflows in fp16.
      */
     .least = 1e-6,
     .most = 1e6,
     .help = "multiplies the scale of attention scores that the model has already"},
    {0},
};

/* In a recipe the pass may be listed several times; the factors multiply. */
static const PassFlag flags[] = {
    {.option = {.name = "scale_attention",
                .type = OPTION_TEXT,
                .value_name = "B",
                .help = "multiply attention scores by B, on top of the model's own scale"},
     .parameters = {"factor"}},
    {.option = {0}},
};

/* The range was checked by pass_check, so that nothing can fail here. */
static bool apply(Model *m, const json_t *args, Error *e) {
    (void)e;
    double factor = json_number_value(json_object_get(args, "factor"));
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].softmax_scale *= factor;
    return true;
}

const Pass pass_scale_attention = {.name = "scale_attention",
                                   .help = "scale attention scores by a constant",
                                   .parameters = parameters,
                                   .flags = flags,
                                   .apply = apply};

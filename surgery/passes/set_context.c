/* Changes the context length that outputs state: max_position_embeddings and model_max_length in a folder,
 * context_length in a GGUF. Runtimes allocate by it and limit prompts to it. Weights stay as they are; but
 * two kinds of rope scaling, dynamic NTK and LongRoPE, compute their frequencies from the stated length, so
 * with these the pass is refused. */
#include "surgery/pass.h"
#include "surgery/rope_frequencies.h"

/* Argument in a recipe: {"pass": "set_context", "tokens": 131072}. */
static const Option parameters[] = {
    {.name = "tokens",
     .type = OPTION_U64,
     .required = true,
     .least = 1,
     .most = UINT32_MAX,
     .help = "the context length that the output states"},
    {0},
};

/* Given twice, the last flag counts: a context length is one number. */
static const PassFlag flags[] = {
    {.option = {.name = "set_context",
                .type = OPTION_TEXT,
                .value_name = "N",
                .help =
                    "state a context length of N tokens in the output; weights and positions do not change"},
     .parameters = {"tokens"}},
    {.option = {0}},
};

/* Records the length in the model; the exports state it. A spec with dynamic NTK or LongRoPE is refused,
 * unless the length stays what it is, because its frequencies would change with it. */
static bool apply(Model *m, const json_t *args, Error *e) {
    json_int_t n = json_integer_value(json_object_get(args, "tokens"));
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (rope_depends_on_context(&m->spec.layers[i].scaling) && n != m->spec.context)
            return error_set(
                e, ERR_USAGE, "layer %u has %s scaling, which counts from the stated context of %u", i,
                m->spec.layers[i].scaling.kind == ROPE_SCALING_DYNAMIC ? "dynamic NTK" : "LongRoPE",
                m->spec.context);
    m->new_context = (uint64_t)n;
    return true;
}

const Pass pass_set_context = {
    .name = "set_context",
    .help = "state another context length",
    .parameters = parameters,
    .flags = flags,
    .apply = apply,
};

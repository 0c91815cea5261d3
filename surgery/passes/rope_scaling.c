/* Context extension by scaling the rotation, the baselines that DroPE is compared with: position
 * interpolation ("linear", arXiv 2306.15595), static NTK (a changed base), dynamic NTK, YaRN (arXiv
 * 2309.00071), and Llama 3's bands. The pass acts on the layers that still rotate. Only the spec changes
 * here; rope_frequencies.c computes the angles, and the carrier states the scaling in the output. */
#include <math.h>
#include <string.h>

#include "surgery/notices.h"
#include "surgery/options.h"
#include "surgery/pass.h"

/* The types that the pass knows. Static NTK is no kind of scaling to a model: it changes the base of the
 * rotation once and for all. */
static const struct {
    const char *name;
    RopeScalingKind kind;
} types[] = {{"linear", ROPE_SCALING_LINEAR},
             {"ntk", ROPE_SCALING_NONE},
             {"dynamic", ROPE_SCALING_DYNAMIC},
             {"yarn", ROPE_SCALING_YARN},
             {"llama3", ROPE_SCALING_LLAMA3}};

/* The number of rows above. */
enum { N_TYPES = sizeof types / sizeof *types };

/* The choices of the parameter `type`, for help and checks. */
static size_t type_names(const char **names, size_t max) {
    size_t n = 0;
    for (; n < N_TYPES && n < max; n++)
        names[n] = types[n].name;
    return n;
}

/* The names are those of transformers' rope_scaling dictionaries. llama3 is the scaling of Llama 3.1, yarn
 * that of YaRN (arXiv 2309.00071). */
static const Option parameters[] = {
    {.name = "type",
     .type = OPTION_TEXT,
     .required = true,
     .choices = type_names,
     .help = "how the rotation is stretched"},
    {.name = "factor",
     .type = OPTION_REAL,
     .required = true,
     .least = 1,
     .most = 1e30, /* files hold it as fp32 */
     .help = "the new context length as a multiple of the original one"},
    {.name = "original_context",
     .type = OPTION_U64,
     .unit = "tokens",
     .otherwise = "the model's context",
     .help = "yarn and llama3: the length that the model was trained on"},
    {.name = "low_freq_factor",
     .type = OPTION_REAL,
     .fallback = "1",
     .help = "llama3: wavelengths above the original context divided by this are stretched in full"},
    {.name = "high_freq_factor",
     .type = OPTION_REAL,
     .fallback = "4",
     .help = "llama3: wavelengths below the original context divided by this stay as they are"},
    {.name = "beta_fast",
     .type = OPTION_REAL,
     .fallback = "32",
     .help = "yarn: dimensions that turn more often than this over the original context stay as they are"},
    {.name = "beta_slow",
     .type = OPTION_REAL,
     .fallback = "1",
     .help = "yarn: dimensions that turn less often than this are stretched in full"},
    {.name = "attention_factor",
     .type = OPTION_REAL,
     .otherwise = "0.1 ln factor + 1",
     .help = "yarn: multiplies cosines and sines"},
    {0},
};

/* The flag gives type and factor, as yarn:4; the other arguments can be given in a recipe. */
static const PassFlag flags[] = {
    {.option = {.name = "rope_scaling",
                .type = OPTION_TEXT,
                .value_name = "TYPE:FACTOR",
                .choices = type_names,
                .choices_checked_later = true,
                .help =
                    "stretch the rotation that remains to FACTOR times the model's context, as yarn:4; TYPE"},
     .parameters = {"type", "factor"},
     .example = "yarn:4"},
    {.option = {0}},
};

/* The argument of that name, or the default that the table gives it. */
static double number(const json_t *args, const char *name) {
    const json_t *v = json_object_get(args, name);
    double fallback = 0;
    if (!v) option_parse_real(name, option_by_name(parameters, name)->fallback, &fallback, NULL);
    return v ? json_number_value(v) : fallback;
}

/* The kind of scaling that a type means to a model; none for ntk. */
static RopeScalingKind kind_of(const char *type) {
    for (int i = 0; i < N_TYPES; i++)
        if (strcmp(types[i].name, type) == 0) return types[i].kind;
    return ROPE_SCALING_NONE;
}

/* Builds the scaling from the arguments, checks it, and gives it to every layer that rotates. */
static bool apply(Model *m, const json_t *args, Error *e) {
    /* The arguments. Those that the kind does not use have their defaults, which the exports leave out. */
    const json_t *attention_factor = json_object_get(args, "attention_factor"),
                 *original = json_object_get(args, "original_context");
    const char *type = option_choice(&parameters[0], json_string_value(json_object_get(args, "type")));
    bool ntk = strcmp(type, "ntk") == 0;
    /* The scaling as a spec has it. Fields of other kinds are set too, which changes nothing, because each
     * kind reads its own. */
    RopeScaling r = {
        .kind = kind_of(type),
        .factor = json_number_value(json_object_get(args, "factor")),
        .original_context = original ? json_number_value(original) : m->spec.context,
        .low_freq_factor = number(args, "low_freq_factor"),
        .high_freq_factor = number(args, "high_freq_factor"),
        .beta_fast = number(args, "beta_fast"),
        .beta_slow = number(args, "beta_slow"),
        .attention_factor = json_number_value(attention_factor), /* 0 where it is absent: by the formula */
        .truncate = true,
    };
    /* Relations between arguments, which the table's ranges cannot say. llama3 interpolates between two
     * wavelengths, and yarn ramps between two numbers of turns. */
    if (!(r.high_freq_factor > r.low_freq_factor) || !(r.low_freq_factor > 0) || !(r.original_context > 0))
        return error_set(e, ERR_USAGE, "bands %g to %g over a context of %g", r.low_freq_factor,
                         r.high_freq_factor, r.original_context);
    if (!(r.beta_fast > 0) || !(r.beta_slow > 0) || !(r.attention_factor >= 0))
        return error_set(e, ERR_USAGE, "beta_fast %g, beta_slow %g, attention_factor %g", r.beta_fast,
                         r.beta_slow, r.attention_factor);
    /* Dynamic NTK computes its base from the context that the output states. */
    if (r.kind == ROPE_SCALING_DYNAMIC && m->new_context && m->new_context != m->spec.context)
        return error_set(e, ERR_USAGE,
                         "dynamic NTK counts from the stated context, which set_context made another one");
    /* Every layer that still rotates is stretched, whatever scaling it had. NTK-aware scaling raises the base
     * so that the slowest dimension pair, which turns by base^(-(d-2)/d), turns `factor` times more slowly.
     */
    uint32_t rotating = 0;
    const RopeScaling *replaced = NULL;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        LayerSpec *l = &m->spec.layers[i];
        if (l->position == POSITION_NOPE) continue;
        rotating++;
        double d = l->rotary_dim;
        if (ntk && d > 2) l->rope_base *= pow(r.factor, d / (d - 2));
        if (ntk) continue;
        if (l->scaling.kind != ROPE_SCALING_NONE) replaced = &m->source_spec.layers[i].scaling;
        l->scaling = r;
    }
    if (replaced && replaced->kind != ROPE_SCALING_NONE)
        notice_add(m->notices, "%s scaling by %g takes the place of the source's %s by %g", type, r.factor,
                   rope_scaling_name(replaced->kind), replaced->factor);
    return rotating || error_set(e, ERR_USAGE, "no layer rotates, so there is nothing to scale");
}

const Pass pass_rope_scaling = {
    .name = "rope_scaling",
    .help = "stretch the rotation that remains",
    .parameters = parameters,
    .flags = flags,
    .apply = apply,
};

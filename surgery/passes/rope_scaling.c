/* The baselines: position interpolation (linear), static NTK (a changed base), dynamic NTK, YaRN, Llama 3's
 * bands. They act on the layers that still rotate. */
#include <math.h>
#include <string.h>

#include "surgery/pass.h"

static const Param params[] = {
    {"type", PARAM_STRING, true, "linear, ntk, dynamic, yarn or llama3"},
    {"factor", PARAM_REAL, true, "how many times the original length"},
    {"original_context", PARAM_UINT, false, "yarn, llama3: the trained length (the model's context)"},
    {"low_freq_factor", PARAM_REAL, false, "llama3 (1)"},
    {"high_freq_factor", PARAM_REAL, false, "llama3 (4)"},
    {"beta_fast", PARAM_REAL, false, "yarn (32)"},
    {"beta_slow", PARAM_REAL, false, "yarn (1)"},
    {"attention_factor", PARAM_REAL, false, "yarn: cos and sin times this (0.1 ln factor + 1)"},
    {0},
};

static double number_or(const json_t *args, const char *name, double fallback) {
    const json_t *v = json_object_get(args, name);
    return v ? json_number_value(v) : fallback;
}

static bool read_kind(const char *type, RopeScalingKind *kind, Error *e) {
    static const char *const names[] = {"linear", "dynamic", "yarn", "llama3", "ntk"};
    for (int i = 0; i < 4; i++)
        if (strcmp(names[i], type) == 0) {
            *kind = (RopeScalingKind)(ROPE_SCALING_LINEAR + i);
            return true;
        }
    const char *near = nearest_name(type, names, 5);
    return error_set(e, ERR_USAGE, "unknown type '%.40s'%s%s%s", type, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : " (linear, ntk, dynamic, yarn, llama3)");
}

static bool apply(Model *m, const json_t *args, Error *e) {
    const char *type = json_string_value(json_object_get(args, "type"));
    bool ntk = strcmp(type, "ntk") == 0;
    RopeScaling r = {
        .factor = number_or(args, "factor", 0),
        .original_context = number_or(args, "original_context", m->spec.context),
        .low_freq_factor = number_or(args, "low_freq_factor", 1),
        .high_freq_factor = number_or(args, "high_freq_factor", 4),
        .beta_fast = number_or(args, "beta_fast", 32),
        .beta_slow = number_or(args, "beta_slow", 1),
        .attention_factor = number_or(args, "attention_factor", 0),
        .truncate = true,
    };
    if (!ntk && !read_kind(type, &r.kind, e)) return false;
    if (!(r.factor >= 1 && r.factor <= 1e30)) /* files hold it as fp32 */
        return error_set(e, ERR_USAGE, "a factor of %g; expected 1 to 1e30", r.factor);
    if (!(r.high_freq_factor > r.low_freq_factor) || !(r.low_freq_factor > 0) || !(r.original_context > 0))
        return error_set(e, ERR_USAGE, "bands %g to %g over a context of %g", r.low_freq_factor,
                         r.high_freq_factor, r.original_context);
    if (!(r.beta_fast > 0) || !(r.beta_slow > 0) || !(r.attention_factor >= 0))
        return error_set(e, ERR_USAGE, "beta_fast %g, beta_slow %g, attention_factor %g", r.beta_fast,
                         r.beta_slow, r.attention_factor);
    if (r.kind == ROPE_SCALING_DYNAMIC && m->new_context && m->new_context != m->spec.context)
        return error_set(e, ERR_USAGE,
                         "dynamic NTK counts from the stated context, which set_context made another one");
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
        model_notice(m, "%s scaling by %g takes the place of the source's %s by %g", type, r.factor,
                     rope_scaling_name(replaced->kind), replaced->factor);
    return rotating || error_set(e, ERR_USAGE, "no layer rotates, so there is nothing to scale");
}

const Pass pass_rope_scaling = {
    .name = "rope_scaling", .help = "stretch the rotation that remains", .params = params, .apply = apply};

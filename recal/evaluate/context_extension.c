#include "recal/evaluate/context_extension.h"

#include <string.h>

#include "surgery/pass.h"

static bool scale(Model *m, const char *type, double factor, Error *e) {
    json_t *args = json_pack("{s:s, s:f}", "type", type, "factor", factor);
    bool ok = pass_apply(m, "rope_scaling", args, e);
    json_decref(args);
    return ok;
}

static bool keep(Model *m, double factor, Error *e) {
    (void)m, (void)factor, (void)e;
    return true;
}

static bool interpolate(Model *m, double factor, Error *e) {
    return scale(m, "linear", factor, e);
}

static bool ntk(Model *m, double factor, Error *e) {
    return scale(m, "ntk", factor, e);
}

static bool yarn(Model *m, double factor, Error *e) {
    return scale(m, "yarn", factor, e);
}

/* transformers' "dynamic" raises the base by factor * length / context - (factor - 1); here the factor is the
 * length's own. As a base of its own it also holds for a text that comes in parts. */
static bool dynamic_ntk(Model *m, double factor, Error *e) {
    return scale(m, "ntk", factor * factor - (factor - 1), e);
}

static const Method none = {"none", "as it is", keep}, pi = {"pi", "position interpolation", interpolate},
                    ntk_aware = {"ntk", "a changed base", ntk}, yarn_method = {"yarn", "YaRN", yarn},
                    dynamic = {"dynamic-ntk", "the base by length, transformers' \"dynamic\"", dynamic_ntk};

const Method *const methods[] = {&none, &pi, &ntk_aware, &yarn_method, &dynamic, NULL};

const Method *method_by_name(const char *name) {
    for (const Method *const *m = methods; *m; m++)
        if (strcmp((*m)->name, name) == 0) return *m;
    return NULL;
}

bool method_concerns(const ModelSpec *s) {
    for (uint32_t i = 0; i < s->n_layers; i++)
        if (s->layers[i].position != POSITION_NOPE && !s->layers[i].window) return true;
    return false;
}

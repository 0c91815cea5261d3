/* The table of context-extension methods: ways to run a model beyond its trained context without training.
 * `derope eval` measures a model under each method that is asked for (cmd/evaluate/eval_grid.c). Each of
 * them is the pass `rope_scaling` (surgery/passes/rope_scaling.c) with the factor of the length that is
 * measured, so a method changes the spec only and shares the weights with the unchanged model. */
#include "recal/evaluate/context_extension.h"

#include <string.h>

#include "surgery/passes/passes.h"

/* Runs the pass with the type and the factor; false with the error of the pass. */
static bool apply_rope_scaling(Model *m, const char *type, double factor, Error *e) {
    json_t *args = json_pack("{s:s, s:f}", "type", type, "factor", factor);
    bool ok = pass_apply(m, "rope_scaling", args, e);
    json_decref(args);
    return ok;
}

/* The unchanged model, with which all methods are compared. */
static bool apply_none(Model *m, double factor, Error *e) {
    (void)m, (void)factor, (void)e;
    return true;
}

/* Position interpolation (arXiv 2306.15595): all angles are divided by the factor. */
static bool apply_position_interpolation(Model *m, double factor, Error *e) {
    return apply_rope_scaling(m, "linear", factor, e);
}

/* NTK-aware scaling: the base of the rotation grows, so that slow dimensions are stretched and fast ones are
 * not. */
static bool apply_ntk(Model *m, double factor, Error *e) {
    return apply_rope_scaling(m, "ntk", factor, e);
}

/* YaRN (arXiv 2309.00071): interpolation by wavelength, and a temperature on the softmax. */
static bool apply_yarn(Model *m, double factor, Error *e) {
    return apply_rope_scaling(m, "yarn", factor, e);
}

/* The rope type "dynamic" of transformers raises the base with the length of the text, by
 * `factor * length / context - (factor - 1)`. Here `factor` is the length over the context, which makes that
 * factor^2 - (factor - 1). A fixed base of this size gives the same result for a text of the full length, and
 * it also holds while the text is read in parts with a KV cache, where a base that changed on the way would
 * not match the keys that are cached already. */
static bool apply_dynamic_ntk(Model *m, double factor, Error *e) {
    return apply_rope_scaling(m, "ntk", factor * factor - (factor - 1), e);
}

/* Name on the command line, description for the help, and function. */
static const ContextExtension none = {"none", "the model as it is", apply_none},
                              position_interpolation = {"pi", "position interpolation",
                                                        apply_position_interpolation},
                              ntk = {"ntk", "NTK-aware scaling: a larger base", apply_ntk},
                              yarn = {"yarn", "YaRN", apply_yarn},
                              dynamic_ntk = {"dynamic-ntk",
                                             "a base that grows with the length, transformers' \"dynamic\"",
                                             apply_dynamic_ntk};

const ContextExtension *const context_extensions[] = {
    &none, &position_interpolation, &ntk, &yarn, &dynamic_ntk, NULL};

const ContextExtension *context_extension_by_name(const char *name) {
    for (const ContextExtension *const *m = context_extensions; *m; m++)
        if (strcmp((*m)->name, name) == 0) return *m;
    return NULL;
}

/* A layer with a window never sees positions further apart than its window, and one without RoPE has no
 * frequencies; a method matters only if some layer is neither. */
bool context_extension_applies(const ModelSpec *s) {
    for (uint32_t i = 0; i < s->n_layers; i++)
        if (s->layers[i].position != POSITION_NOPE && !s->layers[i].window) return true;
    return false;
}

/* The registry of passes, and applying them by name. The table is the order of application where flags are
 * concerned: dropping rotation comes before stretching what is left of it, and the stated context after
 * everything that is computed from it. A recipe lists its passes in an order of its own. */
#include "surgery/passes/passes.h"

#include <string.h>

extern const Pass pass_drop_rope, pass_sliding_window, pass_scale_attention, pass_set_context,
    pass_rope_scaling, pass_cast;

const Pass *const passes[] = {
    &pass_drop_rope,
    &pass_sliding_window,
    &pass_rope_scaling,
    &pass_scale_attention,
    &pass_set_context,
    &pass_cast,
    NULL,
};

/* Six passes need no index; a plain search is enough. */
const Pass *pass_by_name(const char *name) {
    for (const Pass *const *p = passes; *p; p++)
        if (strcmp((*p)->name, name) == 0) return *p;
    return NULL;
}

/* Arguments are checked here as well, so that a test or a program that calls this directly gets the same
 * errors as a user. */
bool pass_apply(Model *m, const char *name, const json_t *args, Error *e) {
    const Pass *p = pass_by_name(name);
    if (!p) return error_set(e, ERR_USAGE, "unknown pass '%.60s'", name);
    if (!pass_check(p, args, e)) return false;
    if (!p->apply(m, args, e)) return error_place(e, "%s", name);
    /* The manifest records passes with their arguments, so that a recipe can be read off an output. */
    json_t *note = json_object();
    json_object_set_new(note, "pass", json_string(name));
    json_object_update(note, (json_t *)args);
    json_array_append_new(m->passes, note);
    return true;
}

/* Stops at the first pass that fails. The model is then in between and has to be closed. */
bool passes_apply(const json_t *list, Model *m, Error *e) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        /* pass_check knows no argument of the name "pass". */
        json_t *args = json_copy(json_array_get(list, i));
        const char *name = json_string_value(json_object_get(json_array_get(list, i), "pass"));
        json_object_del(args, "pass");
        bool ok = pass_apply(m, name, args, e);
        json_decref(args);
        if (!ok) return false;
    }
    return true;
}

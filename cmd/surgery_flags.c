#include "cmd/surgery_flags.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "surgery/pass.h"

static void replace(json_t **slot, json_t *value) {
    json_decref(*slot);
    *slot = value;
}

/* "512" or "512:0-19" */
static bool parse_window(SurgeryFlags *f, const char *value, Error *e) {
    char size[32];
    size_t n = strcspn(value, ":");
    uint64_t tokens;
    if (n >= sizeof size) return cmd_usage(e, "--sliding-window: '%.60s' is not N or N:LAYERS", value);
    memcpy(size, value, n);
    size[n] = 0;
    if (!cmd_parse_u64("--sliding-window", size, &tokens, e)) return false;
    json_t *pass = json_pack("{s:s, s:I}", "pass", "sliding_window", "size", (json_int_t)tokens);
    if (value[n]) json_object_set_new(pass, "layers", json_string(value + n + 1));
    if (!f->window) f->window = json_array(); /* several windows for several ranges */
    json_array_append_new(f->window, pass);
    return true;
}

/* "yarn:4" */
static bool parse_scaling(SurgeryFlags *f, const char *value, Error *e) {
    const char *colon = strchr(value, ':');
    double factor;
    if (!colon || colon == value)
        return cmd_usage(e, "--rope-scaling: '%.60s' is not TYPE:FACTOR, as yarn:4", value);
    if (!cmd_parse_f64("--rope-scaling", colon + 1, &factor, e)) return false;
    replace(&f->scaling, json_pack("{s:s, s:s%, s:f}", "pass", "rope_scaling", "type", value,
                                   (size_t)(colon - value), "factor", factor));
    return true;
}

/* A second list would neither add to the first nor plainly take its place. */
static void set_drop(SurgeryFlags *f, const char *key, const char *layers, Error *e) {
    if (f->drop)
        cmd_usage(e, "--drop-rope and --keep-rope: one list of layers, not '%.60s' as well", layers);
    else
        f->drop = json_pack("{s:s, s:s}", "pass", "drop_rope", key, layers);
}

const char *surgery_hint(const SurgeryFlags *f) {
    const char *layers = json_string_value(json_object_get(f->drop, "layers"));
    return layers && strcmp(layers, "all") == 0 ? " (a list of layers is joined on: --drop-rope=LAYERS)" : "";
}

bool surgery_flag(SurgeryFlags *f, int option, const char *value, Error *e) {
    uint64_t n;
    double x;
    switch (option) {
    case FLAG_DROP_ROPE:
        set_drop(f, "layers", value ? value : "all", e);
        return true;
    case FLAG_KEEP_ROPE:
        set_drop(f, "keep", value, e);
        return true;
    case FLAG_SLIDING_WINDOW:
        parse_window(f, value, e);
        return true;
    case FLAG_ROPE_SCALING:
        parse_scaling(f, value, e);
        return true;
    case FLAG_SCALE_ATTENTION:
        if (cmd_parse_f64("--scale-attention", value, &x, e))
            replace(&f->scale, json_pack("{s:s, s:f}", "pass", "scale_attention", "factor", x));
        return true;
    case FLAG_SET_CONTEXT:
        if (cmd_parse_u64("--set-context", value, &n, e))
            replace(&f->context, json_pack("{s:s, s:I}", "pass", "set_context", "tokens", (json_int_t)n));
        return true;
    default:
        return false;
    }
}

bool passes_apply(const json_t *list, Model *m, Error *e) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *args = json_copy(json_array_get(list, i));
        const char *name = json_string_value(json_object_get(json_array_get(list, i), "pass"));
        json_object_del(args, "pass");
        bool ok = pass_apply(m, name, args, e);
        json_decref(args);
        if (!ok) return false;
    }
    return true;
}

bool surgery_flags_apply(const SurgeryFlags *f, Model *m, Error *e) {
    json_t *order[] = {f->drop, f->window, f->scaling, f->scale, f->context};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        if (json_is_array(order[i]))
            json_array_extend(list, order[i]);
        else if (order[i])
            json_array_append(list, order[i]);
    }
    bool ok = passes_apply(list, m, e);
    json_decref(list);
    return ok;
}

void surgery_flags_free(SurgeryFlags *f) {
    json_decref(f->drop);
    json_decref(f->window);
    json_decref(f->scaling);
    json_decref(f->scale);
    json_decref(f->context);
}

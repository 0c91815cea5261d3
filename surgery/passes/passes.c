#include "surgery/pass.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "surgery/nearest_name.h"
#include "surgery/options.h"

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

const Pass *pass_by_name(const char *name) {
    for (const Pass *const *p = passes; *p; p++)
        if (strcmp((*p)->name, name) == 0) return *p;
    return NULL;
}

/* ---- arguments ---- */

/* Whether a JSON value is of an option's type. Layers may be text, a number or a list. */
static bool has_type(const json_t *v, OptionType t) {
    switch (t) {
    case OPTION_LAYERS:
        return json_is_string(v) || json_is_integer(v) || json_is_array(v);
    case OPTION_U32:
    case OPTION_U64:
        return json_is_integer(v) && json_integer_value(v) >= 0;
    case OPTION_REAL:
        return json_is_number(v);
    case OPTION_TEXT:
    case OPTION_PATH:
        return json_is_string(v);
    case OPTION_BOOL:
        return json_is_boolean(v);
    }
    return false;
}

/* What an argument of the type should have been, for the message. */
static const char *type_name(OptionType t) {
    static const char *const names[] = {[OPTION_BOOL] = "true or false",
                                        [OPTION_U32] = "a whole number",
                                        [OPTION_U64] = "a whole number",
                                        [OPTION_REAL] = "a number",
                                        [OPTION_TEXT] = "text",
                                        [OPTION_PATH] = "text",
                                        [OPTION_LAYERS] = "layers (all, 3, 0,3,7, 10-29 or every:4)"};
    return names[t];
}

/* Whether the value is one of the parameter's choices, or those are left to the pass. */
static bool check_choice(const Pass *p, const Option *o, const char *value, Error *e) {
    if (o->choices_checked_later || option_choice(o, value)) return true;
    const char *names[64], *near = nearest_name(value, names, o->choices(names, 64));
    Buffer all = {0};
    option_choices(o, &all);
    error_set(e, ERR_USAGE, "%s: unknown %s '%.40s'%s%s%s", p->name, o->name, value,
              near ? "; did you mean '" : " (", near ? near : buffer_string(&all), near ? "'?" : ")");
    buffer_free(&all);
    return false;
}

/* Type, range and choice of one argument, which may be absent. */
static bool check_argument(const Pass *p, const Option *o, const json_t *v, Error *e) {
    char value[32], range[80];
    if (!v && o->required) return error_set(e, ERR_USAGE, "%s needs '%s': %s", p->name, o->name, o->help);
    if (!v) return true;
    if (!has_type(v, o->type))
        return error_set(e, ERR_USAGE, "%s: '%s' should be %s", p->name, o->name, type_name(o->type));
    if (json_is_string(v) && o->choices) return check_choice(p, o, json_string_value(v), e);
    if (!json_is_number(v) || o->type == OPTION_LAYERS || option_in_range(o, json_number_value(v)))
        return true;
    option_number(json_number_value(v), value);
    option_range(o, range);
    return error_set(e, ERR_USAGE, "%s: %s: %s is out of range; expected %s", p->name, o->name, value, range);
}

bool pass_check(const Pass *p, const json_t *args, Error *e) {
    const char *names[32];
    size_t n = 0;
    for (const Option *o = p->parameters; o->name && n < 32; o++) {
        names[n++] = o->name;
        if (!check_argument(p, o, json_object_get(args, o->name), e)) return false;
    }
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)args, key, v) {
        if (option_by_name(p->parameters, key)) continue;
        const char *near = nearest_name(key, names, n);
        return error_set(e, ERR_USAGE, "%s has no argument '%.60s'%s%s%s", p->name, key,
                         near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return true;
}

bool pass_apply(Model *m, const char *name, const json_t *args, Error *e) {
    const Pass *p = pass_by_name(name);
    if (!p) return error_set(e, ERR_USAGE, "unknown pass '%.60s'", name);
    if (!pass_check(p, args, e)) return false;
    if (!p->apply(m, args, e)) return error_place(e, "%s", name);
    json_t *note = json_object();
    json_object_set_new(note, "pass", json_string(name));
    json_object_update(note, (json_t *)args);
    json_array_append_new(m->passes, note);
    return true;
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

/* ---- layers ---- */

/* Picks the layers from..to, both included. */
static bool pick(unsigned long from, unsigned long to, uint32_t n, bool *picked, Error *e) {
    if (from > to) return error_set(e, ERR_USAGE, "layers: %lu-%lu runs backwards", from, to);
    if (to >= n) return error_set(e, ERR_USAGE, "layers: there is no layer %lu, the last is %u", to, n - 1);
    for (unsigned long i = from; i <= to; i++)
        picked[i] = true;
    return true;
}

/* "all", "every:4", or a list of layers and ranges with commas between. */
static bool parse_text(const char *text, uint32_t n, bool *picked, Error *e) {
    if (strcmp(text, "all") == 0) return pick(0, n - 1, n, picked, e);
    char *end;
    if (strncmp(text, "every:", 6) == 0) {
        unsigned long step = strtoul(text + 6, &end, 10);
        if (!isdigit((unsigned char)text[6]) || *end || step == 0 || step > n)
            return error_set(e, ERR_USAGE, "layers: '%.60s': every:N wants a number from 1 to %u", text, n);
        for (unsigned long i = step - 1; i < n; i += step)
            picked[i] = true;
        return true;
    }
    const char *p = text;
    for (;;) {
        if (!isdigit((unsigned char)*p)) break;
        unsigned long from = strtoul(p, &end, 10), to = from;
        if (*end == '-' && isdigit((unsigned char)end[1])) to = strtoul(end + 1, &end, 10);
        if (*end && *end != ',') break;
        if (!pick(from, to, n, picked, e)) return false;
        if (!*end) return true;
        p = end + 1;
    }
    return error_set(e, ERR_USAGE, "layers: '%.60s' is not all, 3, 0,3,7, 10-29 or every:4", text);
}

bool layers_parse(const json_t *value, uint32_t n, bool *picked, Error *e) {
    if (json_is_string(value)) return parse_text(json_string_value(value), n, picked, e);
    if (json_is_integer(value) && json_integer_value(value) >= 0)
        return pick((unsigned long)json_integer_value(value), (unsigned long)json_integer_value(value), n,
                    picked, e);
    if (!json_is_array(value)) return error_set(e, ERR_USAGE, "layers: neither text nor a number nor a list");
    if (json_array_size(value) == 0) return error_set(e, ERR_USAGE, "layers: the list is empty");
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!layers_parse(json_array_get(value, i), n, picked, e)) return false;
    return true;
}

/* Checking the arguments of a pass against its table of parameters. The arguments come from a recipe, where
 * each was checked with its place already, from flags, or from a test; here they are checked as a whole
 * before the pass is applied, so that a pass can rely on names, types and ranges. */
#include "surgery/pass.h"

#include "surgery/nearest_name.h"
#include "surgery/options.h"

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

/* Names the type of an argument for the message that a value is of another type. */
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

/* Whether the value is one of the parameter's choices, or the pass checks the choice itself. The error
 * suggests the nearest choice, or lists all of them. */
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

/* Checks type, range and choice of one argument. `v` is NULL where the argument is absent, which is an error
 * only for a required one. */
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

/* Known parameters are checked first, then unknown arguments, so that a missing argument is reported before a
 * superfluous one. */
bool pass_check(const Pass *p, const json_t *args, Error *e) {
    const char *names[32];
    size_t n = 0;
    for (const Option *o = p->parameters; o->name && n < 32; o++) {
        names[n++] = o->name;
        if (!check_argument(p, o, json_object_get(args, o->name), e)) return false;
    }
    /* Then the other way round: whether every argument is a parameter. */
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

/* The flags of passes for all verbs that take them. command_line.c finds the flag and hands its value over;
 * the verb applies what was collected once its model is open. A value is split as its PassFlag says
 * (surgery/pass.h) and becomes the same JSON that a pass in a recipe has, so that flags and recipes share
 * everything after this file: checks, application, and the record in the manifest. */
#include "cmd/surgery_flags.h"

#include <stdio.h>
#include <string.h>

#include "surgery/options.h"
#include "surgery/passes/passes.h"

const PassFlag *surgery_flag_by_name(const char *name, const Pass **pass) {
    char flag[64];
    for (size_t i = 0; passes[i]; i++)
        for (const PassFlag *f = passes[i]->flags; f && f->option.name; f++) {
            option_flag_name(&f->option, flag);
            if (strcmp(flag, name) != 0) continue;
            *pass = passes[i];
            return f;
        }
    return NULL;
}

/* ---- values ---- */

/* Converts the text of one parameter to JSON by its type. Numbers are checked here, so that the message names
 * the flag; sets of layers and names are left to the pass. `label` is "--flag". New reference, or NULL with
 * ERR_USAGE. */
static json_t *parse_parameter(const Option *parameter, const char *text, const char *label, Error *e) {
    Option o = *parameter; /* a copy with offset 0, so that option_set stores into a local variable */
    uint64_t whole = 0;
    double real = 0;
    /* option_set checks range and unit and stores the number. */
    o.offset = 0;
    if (o.type == OPTION_U64)
        return option_set(&o, &whole, text, label, e) ? json_integer((json_int_t)whole) : NULL;
    if (o.type == OPTION_REAL) return option_set(&o, &real, text, label, e) ? json_real(real) : NULL;
    json_t *string = json_string(text);
    if (!string) error_set(e, ERR_USAGE, "%s: '%.60s' is not UTF-8", label, text);
    return string;
}

/* Splits a value such as "512:0-19" at the first colon into `first` and `*second`, which is NULL if there is
 * no colon or if the flag has only one parameter. False if a part is missing or too long. */
static bool split_value(const PassFlag *f, const char *value, char first[64], const char **second) {
    const char *colon = f->parameters[1] ? strchr(value, ':') : NULL;
    size_t n = colon ? (size_t)(colon - value) : strlen(value);
    *second = colon ? colon + 1 : NULL;
    if (n >= 64 || (colon && !n) || (!colon && f->parameters[1] && !f->second_optional)) return false;
    memcpy(first, value, n);
    first[n] = 0;
    return true;
}

/* Converts the value of a flag to the arguments of its pass: {"pass": name, parameter: value, ...}, new
 * reference. NULL with ERR_USAGE that names the flag. */
static json_t *parse_value(const Pass *pass, const PassFlag *f, const char *value, const char *label,
                           Error *e) {
    /* A flag of two parameters has its value split; one parameter is the whole value, colons included. */
    char first[64];
    const char *parts[2] = {value, NULL}; /* the text of each parameter; NULL: it was not given */
    if (f->parameters[1]) {
        if (!split_value(f, value, first, &parts[1])) {
            error_set(e, ERR_USAGE, "%s: '%.60s' is not %s, as %s", label, value, f->option.value_name,
                      f->example);
            return NULL;
        }
        parts[0] = first;
    }
    /* One member for each parameter that was given. */
    json_t *args = json_pack("{s:s}", "pass", pass->name);
    for (int i = 0; i < 2 && parts[i]; i++) {
        json_t *v = parse_parameter(option_by_name(pass->parameters, f->parameters[i]), parts[i], label, e);
        if (!v) {
            json_decref(args);
            return NULL;
        }
        json_object_set_new(args, f->parameters[i], v);
    }
    return args;
}

/* ---- what was given ---- */

/* Sets the error for a flag of a pass that may be given only once, and returns false. It names all flags of
 * the pass, because they exclude each other: "--drop-rope and --keep-rope: one list of layers, not '2' as
 * well". */
static bool given_before(const Pass *pass, const PassFlag *f, const char *value, Error *e) {
    Buffer names = {0};
    char flag[64];
    for (const PassFlag *other = pass->flags; other->option.name; other++) {
        option_flag_name(&other->option, flag);
        buffer_printf(&names, "%s--%s", other == pass->flags ? "" : " and ", flag);
    }
    /* What the flags have one of, for the message. */
    bool layers = option_by_name(pass->parameters, f->parameters[0])->type == OPTION_LAYERS;
    error_set(e, ERR_USAGE, "%s: one %s, not '%.60s' as well", buffer_string(&names),
              layers ? "list of layers" : "value", value);
    buffer_free(&names);
    return false;
}

bool surgery_flag_set(SurgeryFlags *f, const Pass *pass, const PassFlag *flag, const char *value, Error *e) {
    char name[64], label[72];
    option_flag_name(&flag->option, name);
    snprintf(label, sizeof label, "--%s", name);
    if (!value) value = flag->alone; /* --drop-rope without a value is --drop-rope=all */
    /* What was given for this pass already decides, by the flag's `repeat`, whether this is an error,
     * replaces it, or adds to it. */
    json_t *before = json_object_get(f->given, pass->name);
    if (before && flag->repeat == PASS_ONCE) return given_before(pass, flag, value, e);
    json_t *args = parse_value(pass, flag, value, label, e);
    if (!args) return false;
    if (!f->given) f->given = json_object();
    if (!before) json_object_set_new(f->given, pass->name, before = json_array());
    if (flag->repeat == PASS_LAST) json_array_clear(before); /* PASS_EACH appends */
    json_array_append_new(before, args);
    /* Remembered for the hint that surgery_flags_hint gives. */
    if (flag->option.optional_value && value == flag->alone) f->drop_rope_alone = true;
    return true;
}

const char *surgery_flags_hint(const SurgeryFlags *f) {
    return f->drop_rope_alone ? " (a list of layers is joined on: --drop-rope=LAYERS)" : "";
}

/* The table of passes has the order in which passes make sense together, whatever the order on the command
 * line. */
bool surgery_flags_apply(const SurgeryFlags *f, Model *m, Error *e) {
    for (size_t i = 0; passes[i]; i++)
        if (!passes_apply(json_object_get(f->given, passes[i]->name), m, e)) return false;
    return true;
}

void surgery_flags_free(SurgeryFlags *f) {
    json_decref(f->given);
}

/* Texts about a single option: its flag, the word for its value, its range, its choices, its description.
 * Messages, help, man page and completions all use these, so that an option is called the same everywhere.
 * options.c stores values. */
#include "surgery/option.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- how it is spelled ---- */

bool option_is_list(const Option *o) {
    return o->is_list || o->capacity > 0;
}

/* Recipe keys have underscores, flags dashes. */
void option_flag_name(const Option *o, char out[64]) {
    bool none = o->scope == OPTION_RECIPE_ONLY; /* such an option has no flag */
    snprintf(out, 64, "%s", none ? "" : o->flag ? o->flag : o->name);
    for (char *p = out; *p; p++)
        if (*p == '_') *p = '-';
}

/* The word that stands for the value in help texts, as LAYERS in "--drop-rope LAYERS"; NULL for a flag
 * without a value. */
const char *option_value_name(const Option *o) {
    /* The table's own word is used if it has one, else the word for the type. */
    static const char *const by_type[] = {
        [OPTION_U32] = "N",     [OPTION_U64] = "N",     [OPTION_REAL] = "X",
        [OPTION_TEXT] = "TEXT", [OPTION_PATH] = "PATH", [OPTION_LAYERS] = "LAYERS"};
    if (o->type == OPTION_BOOL) return NULL;
    return o->value_name ? o->value_name : o->choices ? "NAME" : by_type[o->type];
}

/* ---- ranges ---- */

/* A number as a person would write it. */
void option_number(double value, char out[32]) {
    char text[32];
    /* The fewest digits that read back as the same double; 17 always do. */
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    /* Whole numbers that people write in full stay so: 16777216, 1048576, not 1e+06. */
    if (value == floor(value) && fabs(value) < 1e15) snprintf(text, sizeof text, "%.0f", value);
    const char *exponent = strchr(text, 'e');
    if (!exponent)
        snprintf(out, 32, "%s", text);
    else /* "3e-04" is usually written 3e-4, "1e+30" 1e30 */
        snprintf(out, 32, "%.*se%d", (int)(exponent - text), text, atoi(exponent + 1));
}

/* Whether a number lies between `least` and `most`; a `most` of 0 means that there is no upper limit. */
bool option_in_range(const Option *o, double value) {
    if (o->type == OPTION_U32 && value > UINT32_MAX) return false; /* it would not fit its place */
    return value >= o->least && (o->most == 0 || value <= o->most);
}

/* The range in words. One end alone says enough; a 64-bit whole number without limits can be anything and
 * gives an empty text. */
void option_range(const Option *o, char out[80]) {
    char least[32], most[32];
    option_number(o->least, least);
    option_number(o->most, most);
    bool whole = o->type == OPTION_U32 || o->type == OPTION_U64;
    if (o->most != 0)
        snprintf(out, 80, "%s to %s", least, most);
    else if (o->least != 0 || o->type == OPTION_REAL)
        snprintf(out, 80, "%s or more", least);
    else
        snprintf(out, 80, "%s", whole && o->type == OPTION_U32 ? "0 to 4294967295" : "");
}

/* ---- choices ---- */

/* Finds a choice without regard to case; NULL if there is none. The table's own spelling is returned, so that
 * later comparisons can be exact. */
const char *option_choice(const Option *o, const char *text) {
    const char *names[64];
    size_t n = o->choices(names, 64);
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(names[i], text) == 0) return names[i];
    return NULL;
}

/* "a, b or c". */
void option_choices(const Option *o, Buffer *out) {
    const char *names[64];
    size_t n = o->choices ? o->choices(names, 64) : 0;
    for (size_t i = 0; i < n; i++)
        buffer_printf(out, "%s%s", i == 0 ? "" : i + 1 == n ? " or " : ", ", names[i]);
}

/* ---- help ---- */

/* Adds a remark to the parenthesis behind a help sentence; opens the parenthesis before the first one. */
static void remark(Buffer *out, bool *any, const char *fmt, const char *text) {
    buffer_printf(out, *any ? "; " : " (");
    buffer_printf(out, fmt, text);
    *any = true;
}

/* The order of remarks is that in which a reader asks: is it needed, what is it counted in, what can it be,
 * and what happens without it. */
void option_describe(const Option *o, bool as_key, Buffer *out) {
    char range[80];
    bool any = false, number = o->type == OPTION_U32 || o->type == OPTION_U64 || o->type == OPTION_REAL;
    option_range(o, range);
    buffer_printf(out, "%s", o->help);
    if (o->list_choices || o->choices) buffer_printf(out, ": ");
    if (o->list_choices)
        o->list_choices(out);
    else
        option_choices(o, out);
    if (as_key && o->required) remark(out, &any, "%s", "required");
    if (as_key && option_is_list(o)) remark(out, &any, "%s", "one or a list");
    if (o->unit) remark(out, &any, "in %s", o->unit);
    if (number && (o->least != 0 || o->most != 0)) remark(out, &any, "%s", range);
    if (o->fallback && (as_key || o->type != OPTION_BOOL))
        remark(out, &any, "default %s", o->fallback);
    else if (o->otherwise && !(as_key && o->required))
        remark(out, &any, "default: %s", o->otherwise);
    if (any) buffer_byte(out, ')');
}

/* Options: values in structs, described by tables (option.h) from which flags, recipes, help texts and
 * completions are derived. This file stores values. Text, from a flag or a default, is parsed, checked and
 * stored by option_set. JSON, from a recipe, was parsed and checked when the recipe was read
 * (cmd/recipe/recipe_read.h) and is only stored by options_from_json. Both store by the option's type at its
 * offset in the struct, or by its function `set`. */
#include "surgery/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "surgery/nearest_name.h"

/* size_t counters are stored through OPTION_U64, and int counters through OPTION_U32. */
_Static_assert(sizeof(size_t) == sizeof(uint64_t) && sizeof(int) == sizeof(uint32_t),
               "options are stored in places of these sizes");

/* ---- tables ---- */

/* Tables end with an option without a name. */
const Option *option_by_name(const Option *options, const char *name) {
    for (const Option *o = options; o->name; o++)
        if (strcmp(o->name, name) == 0) return o;
    return NULL;
}

/* Searches several tables; `*group` (unless NULL) tells into which struct the value goes. */
const Option *option_in_groups(const OptionGroup *groups, const char *name, const OptionGroup **group) {
    for (const OptionGroup *g = groups; g->options; g++) {
        const Option *o = option_by_name(g->options, name);
        if (!o) continue;
        if (group) *group = g;
        return o;
    }
    return NULL;
}

/* ---- text to numbers ---- */

/* The value of the unit that `*end` points at, whose first letter may be in either case: "Ki" gives 1024, "M"
 * or "MB" 1000000. `*end` moves behind the unit. 0 if there is no such unit. */
static uint64_t unit_value(const char **end) {
    static const char units[] = "kmgt";
    const char *u = strchr(units, tolower((unsigned char)**end));
    if (!**end || !u) return 0;
    (*end)++;
    /* "Ki" and "KiB" are powers of 1024; "k", "kB" and the like powers of 1000. */
    uint64_t base = 1000, value = 1;
    if (**end == 'i') {
        base = 1024;
        (*end)++;
    }
    if (**end == 'B') (*end)++;
    for (const char *p = units; p <= u; p++)
        value *= base;
    return value;
}

/* Digits and an optional unit: "512", "32k", "4Ki". `label` begins messages. */
bool option_parse_whole(const char *label, const char *text, uint64_t *out, Error *e) {
    char *digits_end;
    errno = 0;
    unsigned long long number = strtoull(text, &digits_end, 10);
    if (digits_end == text || errno || !isdigit((unsigned char)text[0])) /* strtoull takes "-1" */
        return error_set(e, ERR_USAGE, "%s: '%s' is not a whole number", label, text);
    const char *end = digits_end;
    uint64_t unit = *end ? unit_value(&end) : 1;
    if (!unit)
        return error_set(e, ERR_USAGE, "%s: '%s': unknown unit '%s' (k, M, G, T; Ki, Mi, Gi, Ti)", label,
                         text, digits_end);
    return (!*end && mul_u64(number, unit, out)) ||
           error_set(e, ERR_USAGE, "%s: '%s' is not a size", label, text);
}

/* strtod also reads "inf", "nan" and hexadecimal; the first two are no numbers to any option. */
bool option_parse_real(const char *label, const char *text, double *out, Error *e) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return (end != text && !*end && !errno && isfinite(*out)) ||
           error_set(e, ERR_USAGE, "%s: '%s' is not a number", label, text);
}

/* ---- storing one value ---- */

/* The place of the value within the struct `options`, or of the next item where the option is a list; NULL
 * with an error if the list is full. */
static void *next_place(const Option *o, void *options, const char *label, Error *e) {
    /* A single value has one place; a list's next place is behind the values that it has. */
    char *first = (char *)options + o->offset;
    if (!o->capacity) return first;
    size_t *count = (size_t *)((char *)options + o->count_offset);
    if (*count == o->capacity) {
        error_set(e, ERR_USAGE,
                  o->type == OPTION_PATH ? "%s: more than %zu paths; name a folder"
                                         : "%s: more than %zu values",
                  label, o->capacity);
        return NULL;
    }
    return first + (*count)++ * sizeof(uint64_t); /* lists hold uint64_t or pointers, of one size */
}

/* Stores a whole number, which is known to be in range, in 32 or 64 bits. */
static void store_whole(const Option *o, void *place, uint64_t value) {
    if (o->type == OPTION_U32)
        *(uint32_t *)place = (uint32_t)value;
    else
        *(uint64_t *)place = value;
}

/* The error for a number outside the option's range; `text` is the number as it was given. */
static bool out_of_range(const Option *o, const char *label, const char *text, Error *e) {
    char range[80];
    option_range(o, range);
    return error_set(e, ERR_USAGE, "%s: %s is out of range; expected %s", label, text, range);
}

/* Replaces `*text` by the choice that it names, as the table spells it. */
static bool check_choice(const Option *o, const char **text, const char *label, Error *e) {
    if (!o->choices || o->choices_checked_later) return true;
    const char *choice = option_choice(o, *text), *names[64];
    if (choice) {
        *text = choice;
        return true;
    }
    const char *near = nearest_name(*text, names, o->choices(names, 64));
    Buffer all = {0};
    option_choices(o, &all);
    error_set(e, ERR_USAGE, "%s: '%.40s' is not %s%s%s%s", label, *text, buffer_string(&all),
              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    buffer_free(&all);
    return false;
}

/* Parses, checks and stores one value: that of a single option, or an item of a list. */
static bool set_one(const Option *o, void *options, const char *text, const char *label, Error *e) {
    uint64_t whole = 0;
    double real = 0;
    bool number = o->type == OPTION_U32 || o->type == OPTION_U64;
    /* Parse and check by type; nothing is stored before all checks have passed. */
    if (number && !option_parse_whole(label, text, &whole, e)) return false;
    if (number && !option_in_range(o, (double)whole)) return out_of_range(o, label, text, e);
    if (o->type == OPTION_REAL && !option_parse_real(label, text, &real, e)) return false;
    if (o->type == OPTION_REAL && !option_in_range(o, real)) return out_of_range(o, label, text, e);
    if (!check_choice(o, &text, label, e)) return false;
    /* Store: by the option's own function, or at its offset. */
    if (o->set) return o->set(options, text, e) || error_place(e, "%s", label);
    void *place = next_place(o, options, label, e);
    if (!place) return false;
    if (number)
        store_whole(o, place, whole);
    else if (o->type == OPTION_REAL)
        *(double *)place = real;
    else if (o->type == OPTION_BOOL)
        *(bool *)place = strcmp(text, "false") != 0;
    else
        *(const char **)place = text;
    return true;
}

/* Stores a list written as "256,512", each item by itself. Items are short names and numbers, so 63 bytes are
 * enough for one. */
static bool set_items(const Option *o, void *options, const char *list, const char *label, Error *e) {
    char item[64];
    if (!*list) return error_set(e, ERR_USAGE, "%s: the list is empty", label);
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        if (!n || n >= sizeof item)
            return error_set(e, ERR_USAGE, "%s: '%.60s' is not a list a,b,...", label, list);
        memcpy(item, p, n);
        item[n] = 0;
        if (!set_one(o, options, item, label, e)) return false;
        p += n + (p[n] == ',');
    }
    return true;
}

/* Lists of texts that may contain commas (keeps_commas) get one item for each call. */
bool option_set(const Option *o, void *options, const char *text, const char *label, Error *e) {
    bool cut = option_is_list(o) && !o->keeps_commas;
    return cut ? set_items(o, options, text, label, e) : set_one(o, options, text, label, e);
}

/* Sets all options that have a default; the others keep what the struct was initialised with. */
void options_default(const OptionGroup *groups, void *base) {
    for (const OptionGroup *g = groups; g->options; g++)
        for (const Option *o = g->options; o->name; o++)
            /* Defaults are written as a person would write them, and checked by tests/test_help.c. */
            if (o->fallback) option_set(o, (char *)base + g->offset, o->fallback, o->name, NULL);
}

/* ---- from a recipe's JSON ---- */

/* Stores one JSON value. Types and ranges were checked where the recipe was read; only `set` and a full list
 * can still refuse it. */
static bool set_json(const Option *o, void *options, const json_t *value, const char *label, Error *e) {
    if (o->set) return o->set(options, json_string_value(value), e);
    void *place = next_place(o, options, label, e);
    if (!place) return false;
    switch (o->type) {
    case OPTION_BOOL:
        *(bool *)place = json_is_true(value);
        break;
    case OPTION_U32:
    case OPTION_U64:
        store_whole(o, place, (uint64_t)json_integer_value(value));
        break;
    case OPTION_REAL:
        *(double *)place = json_number_value(value);
        break;
    case OPTION_TEXT:
    case OPTION_PATH:
    case OPTION_LAYERS:
        *(const char **)place = json_string_value(value);
        break;
    }
    return true;
}

/* `where` is set to the option at hand, "name" or "name.2" for an item, so that the caller can find the place
 * of an error in the recipe. */
bool options_from_json(const OptionGroup *groups, void *base, const json_t *values, char where[64],
                       Error *e) {
    const char *key;
    json_t *value, *item;
    json_object_foreach((json_t *)values, key, value) {
        const OptionGroup *g = NULL;
        const Option *o = option_in_groups(groups, key, &g);
        size_t i;
        if (!o) continue; /* the recipe reader refuses unknown keys; other members are not options */
        snprintf(where, 64, "%s", o->name);
        void *options = (char *)base + g->offset;
        if (!option_is_list(o)) {
            if (!set_json(o, options, value, o->name, e)) return false;
            continue;
        }
        /* An error about an item of a list of names can point at the item; other lists were checked item by
         * item. */
        json_array_foreach(value, i, item) {
            if (o->set) snprintf(where, 64, "%s.%zu", o->name, i);
            if (!set_json(o, options, item, o->name, e)) return false;
        }
    }
    return true;
}

/* ---- values that are stored ---- */

/* The stored number of a single numeric option, as a double: ranges are doubles, and exact up to 2^53. */
static double stored_number(const Option *o, const void *values) {
    const char *place = (const char *)values + o->offset;
    return o->type == OPTION_U32   ? *(const uint32_t *)place
           : o->type == OPTION_U64 ? (double)*(const uint64_t *)place
                                   : *(const double *)place;
}

/* For structs that were filled by a program: checks what option_set would have checked. */
bool options_check(const Option *options, const void *values, Error *e) {
    for (const Option *o = options; o->name; o++) {
        bool number = o->type == OPTION_U32 || o->type == OPTION_U64 || o->type == OPTION_REAL;
        if (!number || o->set || option_is_list(o)) continue;
        double value = stored_number(o, values);
        char text[32];
        option_number(value, text);
        if (!isfinite(value) || !option_in_range(o, value)) return out_of_range(o, o->name, text, e);
    }
    return true;
}

/* Appends one stored value as text. 17 digits tell any two doubles apart. */
static void print_value(const Option *o, const char *place, Buffer *out) {
    const char *text;
    switch (o->type) {
    case OPTION_BOOL:
        buffer_printf(out, "%d", *(const bool *)place);
        break;
    case OPTION_U32:
        buffer_printf(out, "%u", *(const uint32_t *)place);
        break;
    case OPTION_U64:
        buffer_printf(out, "%llu", (unsigned long long)*(const uint64_t *)place);
        break;
    case OPTION_REAL:
        buffer_printf(out, "%.17g", *(const double *)place);
        break;
    case OPTION_TEXT:
    case OPTION_PATH:
    case OPTION_LAYERS:
        text = *(const char *const *)place;
        buffer_printf(out, "%s", text ? text : "");
        break;
    }
}

/* One line "name=value" for each option. The text identifies the values: runs with equal texts have equal
 * options. */
void options_print(const Option *options, const void *values, Buffer *out) {
    for (const Option *o = options; o->name; o++) {
        const char *place = (const char *)values + o->offset;
        /* A list has as many values as its counter says, a single option one. */
        size_t n = o->capacity ? *(const size_t *)((const char *)values + o->count_offset) : 1;
        buffer_printf(out, "%s=", o->name);
        if (o->print) {
            o->print(values, out);
        } else {
            for (size_t i = 0; i < n; i++) {
                if (i) buffer_byte(out, ',');
                print_value(o, place + i * sizeof(uint64_t), out);
            }
        }
        buffer_byte(out, '\n');
    }
}

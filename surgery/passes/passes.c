#include "surgery/pass.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
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

const Pass *pass_by_name(const char *name) {
    for (const Pass *const *p = passes; *p; p++)
        if (strcmp((*p)->name, name) == 0) return *p;
    return NULL;
}

/* ---- suggestions ---- */

static size_t edit_distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    if (n > 60 || m > 60) return 99;
    size_t row[64];
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

const char *nearest_name(const char *word, const char *const *candidates, size_t n) {
    const char *best = NULL;
    size_t limit = strlen(word) / 3 + 1;
    for (size_t i = 0; i < n; i++) {
        size_t d = edit_distance(word, candidates[i]);
        if (d <= limit) {
            best = candidates[i];
            limit = d ? d - 1 : 0;
            if (d == 0) break;
        }
    }
    return best;
}

/* ---- arguments ---- */

static bool has_type(const json_t *v, ParamType t) {
    switch (t) {
    case PARAM_LAYERS:
        return json_is_string(v) || json_is_integer(v) || json_is_array(v);
    case PARAM_UINT:
        return json_is_integer(v) && json_integer_value(v) >= 0;
    case PARAM_REAL:
        return json_is_number(v);
    case PARAM_STRING:
        return json_is_string(v);
    case PARAM_BOOL:
        return json_is_boolean(v);
    }
    return false;
}

bool pass_check(const Pass *p, const json_t *args, Error *e) {
    static const char *const types[] = {"layers (all, 3, 0,3,7, 10-29 or every:4)", "a whole number",
                                        "a number", "text", "true or false"};
    const char *names[32];
    size_t n = 0;
    for (const Param *q = p->params; q->name && n < 32; q++) {
        names[n++] = q->name;
        const json_t *v = json_object_get(args, q->name);
        if (!v && q->required) return error_set(e, ERR_USAGE, "%s needs '%s': %s", p->name, q->name, q->help);
        if (v && !has_type(v, q->type))
            return error_set(e, ERR_USAGE, "%s: '%s' should be %s", p->name, q->name, types[q->type]);
    }
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)args, key, v) {
        bool known = false;
        for (size_t i = 0; i < n; i++)
            known |= strcmp(names[i], key) == 0;
        if (known) continue;
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

/* ---- layers ---- */

static bool pick(unsigned long from, unsigned long to, uint32_t n, bool *picked, Error *e) {
    if (from > to) return error_set(e, ERR_USAGE, "layers: %lu-%lu runs backwards", from, to);
    if (to >= n) return error_set(e, ERR_USAGE, "layers: there is no layer %lu, the last is %u", to, n - 1);
    for (unsigned long i = from; i <= to; i++)
        picked[i] = true;
    return true;
}

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

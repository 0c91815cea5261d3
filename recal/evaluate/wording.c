#include <stdlib.h>
#include <string.h>

#include "formats/file.h"
#include "formats/json.h"
#include "recal/evaluate/task.h"

/* Keys are an adjective and a noun: a base model has no reason to expect the one or the other. */
static const char *const adjectives[] = {"amber",  "brave",  "calm",  "dusty", "early", "faded",
                                         "gentle", "hollow", "icy",   "jolly", "keen",  "lunar",
                                         "misty",  "noble",  "oaken", "pale"};
static const char *const nouns[] = {"anchor", "basket", "candle",  "dragon", "engine", "falcon",
                                    "garden", "hammer", "island",  "jacket", "kettle", "ladder",
                                    "mirror", "needle", "orchard", "pillow"};

static const Wording builtin = {
    .fact = " The magic number of {key} is {value}.",
    .question = " What is the magic number of {key}? The magic number of {key} is",
    .questions = " What are the magic numbers of {key}? The magic numbers of {key} are",
};

static bool text_member(const char *path, const json_t *o, const char *key, bool needed, const char **out,
                        Error *e) {
    *out = json_get_string(o, key);
    if (*out || (!needed && !json_object_get(o, key))) return true;
    return error_set(e, ERR_INPUT, "%s: \"%s\" has to be text", path, key);
}

static bool list_member(const char *path, const json_t *o, const char *key, size_t least, TextList *out,
                        Error *e) {
    const json_t *list = json_object_get(o, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (!s || !*s) return error_set(e, ERR_INPUT, "%s: \"%s\" has to be a list of words", path, key);
        text_list_add(out, s);
    }
    if (out->n >= least) return true;
    return error_set(e, ERR_INPUT, "%s: \"%s\" has %zu words; expected %zu or more", path, key, out->n,
                     least);
}

static bool has_slots(const char *path, const char *name, const char *text, bool value, Error *e) {
    if (!text || (strstr(text, "{key}") && (!value || strstr(text, "{value}")))) return true;
    return error_set(e, ERR_INPUT, "%s: \"%s\" has to hold {key}%s", path, name, value ? " and {value}" : "");
}

enum { LEAST_KEYS = 16, LEAST_VALUES = 10, MAX_FILE = 1 << 20 };

static bool read_wording(const char *path, Wording *w, Error *e) {
    Buffer text = {0};
    if (file_read(path, MAX_FILE, &text, e)) w->json = json_parse(path, text.data, text.size, e);
    buffer_free(&text);
    return w->json && text_member(path, w->json, "fact", true, &w->fact, e) &&
           text_member(path, w->json, "question", true, &w->question, e) &&
           text_member(path, w->json, "questions", false, &w->questions, e) &&
           list_member(path, w->json, "keys", LEAST_KEYS, &w->keys, e) &&
           list_member(path, w->json, "values", LEAST_VALUES, &w->values, e) &&
           has_slots(path, "fact", w->fact, true, e) && has_slots(path, "question", w->question, false, e) &&
           has_slots(path, "questions", w->questions, false, e);
}

bool wording_open(const char *path, Wording *out, Error *e) {
    *out = path ? (Wording){0} : builtin;
    if (!path || read_wording(path, out, e)) return true;
    wording_close(out);
    return false;
}

void wording_close(Wording *w) {
    free(w->keys.texts);
    free(w->values.texts);
    json_decref(w->json);
    *w = (Wording){0};
}

const char *worded(Arena *a, const char *template, const char *key, const char *value) {
    Buffer out = {0};
    for (const char *p = template; *p;) {
        bool is_key = strncmp(p, "{key}", 5) == 0, is_value = strncmp(p, "{value}", 7) == 0;
        if (is_key || is_value) {
            const char *fill = is_key ? key : value;
            buffer_append(&out, fill, strlen(fill));
            p += is_key ? 5 : 7;
        } else {
            buffer_byte(&out, (uint8_t)*p++);
        }
    }
    char *text = arena_strdup(a, buffer_string(&out));
    buffer_free(&out);
    return text;
}

static bool is_among(const TextList *l, size_t from, const char *text) {
    for (size_t i = from; i < l->n; i++)
        if (strcmp(l->texts[i], text) == 0) return true;
    return false;
}

static const char *any_key(const Wording *w, Random *r, Arena *a) {
    if (w->keys.n) return w->keys.texts[random_below(r, w->keys.n)];
    return arena_printf(a, "%s %s", adjectives[random_below(r, 16)], nouns[random_below(r, 16)]);
}

static const char *any_value(const Wording *w, Random *r, Arena *a) {
    if (w->values.n) return w->values.texts[random_below(r, w->values.n)];
    return arena_printf(a, "%zu", 1000000 + random_below(r, 9000000));
}

/* Different ones, also from those that are in `out` already. */
static bool draw(const Wording *w, Random *r, Arena *a, size_t n, TextList *out, const char *kind,
                 const char *(*any)(const Wording *, Random *, Arena *), Error *e) {
    for (size_t tries = 0; n; tries++) {
        if (tries > 100000) return error_set(e, ERR_INPUT, "the wording has too few %s that differ", kind);
        const char *text = any(w, r, a);
        if (is_among(out, 0, text)) continue;
        text_list_add(out, text);
        n--;
    }
    return true;
}

bool draw_keys(const Wording *w, Random *r, Arena *a, size_t n, TextList *out, Error *e) {
    return draw(w, r, a, n, out, "keys", any_key, e);
}

bool draw_values(const Wording *w, Random *r, Arena *a, size_t n, TextList *out, Error *e) {
    return draw(w, r, a, n, out, "values", any_value, e);
}

/* The words of needle-in-a-haystack tasks: the built-in English ones, and those of a JSON file (`derope eval
 * --wording`), which lets a model be tested in another language or in the style of its training text.
 * needle_tasks.c and recall_tasks.c draw keys and values from it and fill in its templates. */
#include "recal/evaluate/wording.h"

#include <stdlib.h>
#include <string.h>

#include "formats/file.h"
#include "formats/json.h"

/* The built-in keys are pairs of an adjective and a noun that do not belong together, so that a model can
 * only know a fact from the text and not from its training. */
static const char *const adjectives[] = {"amber",  "brave",  "calm",  "dusty", "early", "faded",
                                         "gentle", "hollow", "icy",   "jolly", "keen",  "lunar",
                                         "misty",  "noble",  "oaken", "pale"};
static const char *const nouns[] = {"anchor", "basket", "candle",  "dragon", "engine", "falcon",
                                    "garden", "hammer", "island",  "jacket", "kettle", "ladder",
                                    "mirror", "needle", "orchard", "pillow"};

/* Each text begins with a space, because it follows another sentence. Questions end where the answer
 * begins. */
static const Wording builtin = {
    .fact = " The magic number of {key} is {value}.",
    .question = " What is the magic number of {key}? The magic number of {key} is",
    .questions = " What are the magic numbers of {key}? The magic numbers of {key} are",
};

/* ---- reading a file ---- */

/* Reads a member that has to be text. If it is not `needed` it may be missing, and *out is NULL. */
static bool text_member(const char *path, const json_t *o, const char *key, bool needed, const char **out,
                        Error *e) {
    *out = json_get_string(o, key);
    if (*out || (!needed && !json_object_get(o, key))) return true;
    return error_set(e, ERR_INPUT, "%s: \"%s\" has to be text", path, key);
}

/* Reads a member that has to be a list of at least `least` texts. A missing member counts as an empty list.
 */
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

/* Checks that a template has the placeholder {key}, and, if `value` is set, {value}. NULL (no template) is
 * accepted. */
static bool has_placeholders(const char *path, const char *name, const char *text, bool value, Error *e) {
    if (!text || (strstr(text, "{key}") && (!value || strstr(text, "{value}")))) return true;
    return error_set(e, ERR_INPUT, "%s: \"%s\" has to hold {key}%s", path, name, value ? " and {value}" : "");
}

enum { LEAST_KEYS = 16 };    /* the largest number of different keys that a task needs */
enum { LEAST_VALUES = 10 };  /* the correct value of a question is ranked among ten candidates */
enum { MAX_FILE = 1 << 20 }; /* bytes of a wording file */

/* Reads and checks a wording file. The texts of `w` point into w->json. */
static bool read_wording(const char *path, Wording *w, Error *e) {
    Buffer text = {0};
    if (file_read(path, MAX_FILE, &text, e)) w->json = json_parse(path, text.data, text.size, e);
    buffer_free(&text);
    return w->json && text_member(path, w->json, "fact", true, &w->fact, e) &&
           text_member(path, w->json, "question", true, &w->question, e) &&
           text_member(path, w->json, "questions", false, &w->questions, e) &&
           list_member(path, w->json, "keys", LEAST_KEYS, &w->keys, e) &&
           list_member(path, w->json, "values", LEAST_VALUES, &w->values, e) &&
           has_placeholders(path, "fact", w->fact, true, e) &&
           has_placeholders(path, "question", w->question, false, e) &&
           has_placeholders(path, "questions", w->questions, false, e);
}

/* Frees everything that was read so far if there is an error. */
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

/* ---- filling in and drawing ---- */

const char *wording_fill(Arena *a, const char *template, const char *key, const char *value) {
    /* Copy the template, and at each placeholder its replacement instead. */
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

/* Whether the list has the text already, so that keys and values of a scene are distinct. */
static bool contains(const TextList *l, const char *text) {
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->texts[i], text) == 0) return true;
    return false;
}

/* A key of the file, or an adjective and a noun of the built-in lists (256 different ones). */
static const char *random_key(const Wording *w, Random *r, Arena *a) {
    if (w->keys.n) return w->keys.texts[random_below(r, w->keys.n)];
    return arena_printf(a, "%s %s", adjectives[random_below(r, 16)], nouns[random_below(r, 16)]);
}

/* The built-in values have seven digits, so a model cannot find one by guessing. */
static const char *random_value(const Wording *w, Random *r, Arena *a) {
    if (w->values.n) return w->values.texts[random_below(r, w->values.n)];
    return arena_printf(a, "%zu", 1000000 + random_below(r, 9000000));
}

/* Draws `n` random texts that are not in `out` yet, and adds them. A wording file may repeat words, so it is
 * not known in advance whether it has enough different ones. The number of attempts is therefore limited. */
static bool draw(const Wording *w, Random *r, Arena *a, size_t n, TextList *out, const char *kind,
                 const char *(*random_text)(const Wording *, Random *, Arena *), Error *e) {
    enum { MAX_TRIES = 100000 };
    for (size_t tries = 0; n; tries++) {
        if (tries > MAX_TRIES) return error_set(e, ERR_INPUT, "the wording has too few %s that differ", kind);
        const char *text = random_text(w, r, a);
        if (contains(out, text)) continue;
        text_list_add(out, text);
        n--;
    }
    return true;
}

bool wording_draw_keys(const Wording *w, Random *r, Arena *a, size_t n, TextList *out, Error *e) {
    return draw(w, r, a, n, out, "keys", random_key, e);
}

bool wording_draw_values(const Wording *w, Random *r, Arena *a, size_t n, TextList *out, Error *e) {
    return draw(w, r, a, n, out, "values", random_value, e);
}

/* Tasks that need something from far back in the text: a scene (a long text) and questions about it, in the
 * manner of RULER (arXiv 2404.06654), worded for models that only continue text. Adding one is a function and
 * a line in the table of tasks.c. */
#ifndef DEROPE_RECAL_EVALUATE_TASK_H
#define DEROPE_RECAL_EVALUATE_TASK_H

#include <jansson.h>

#include "recal/random.h"
#include "surgery/tokenizer/tokenizer.h"

/* Texts in order; all of them live in the scene's arena. */
typedef struct TextList {
    const char **texts;
    size_t n, capacity;
} TextList;
void text_list_add(TextList *l, const char *text);

/* How facts are stated and asked for. {key} and {value} stand for a key and its value(s). */
typedef struct Wording {
    const char *fact;      /* " The magic number of {key} is {value}." */
    const char *question;  /* ends where the answer begins: " ... The magic number of {key} is" */
    const char *questions; /* the same for several keys or values at once; NULL: not with these words */
    TextList keys, values; /* what is drawn from; no values: numbers of seven digits */
    json_t *json;          /* what it was read from; NULL: the built-in */
} Wording;

/* The built-in words (`path` NULL), or a JSON file's: {"fact", "question", "questions", "keys", "values"}. */
bool wording_open(const char *path, Wording *out, Error *e);
void wording_close(Wording *w);

/* Sentences to hide facts in, with how many tokens each takes. */
typedef struct Haystack {
    Arena arena;
    TextList sentences;
    uint32_t *tokens;
} Haystack;

/* From texts (recal/data.h reads them; at most `max_bytes`) or, with none, from a seeded generator. */
bool haystack_open(const char *const *paths, size_t n, const char *field, uint64_t max_bytes,
                   const Tokenizer *t, Haystack *out, Error *e);
void haystack_close(Haystack *h);

/* One question about a scene. */
typedef struct Question {
    const char *needle;  /* a sentence put in at the depth at hand; NULL: the scene has all */
    const char *text;    /* what follows the scene; the model continues it */
    TextList answers;    /* each has to appear in the continuation */
    TextList candidates; /* of equal kind, the right one first; may be empty */
} Question;

/* A long text and what is asked about it: questions that share it share its prefill. */
typedef struct Scene {
    Arena arena;
    TextList sentences;
    Question *questions;
    size_t n_questions;
} Scene;
void scene_free(Scene *s);

typedef struct TaskInput {
    const Tokenizer *tokenizer;
    const Haystack *haystack;
    const Wording *wording;
    size_t length;      /* tokens that scene, needle, question and answer may take together */
    size_t n_questions; /* wanted */
} TaskInput;

typedef struct Task {
    const char *name, *help;
    bool has_depth;
    /* Fills a scene. False with an error if the length has no room for it or the wording cannot ask it. */
    bool (*make)(const TaskInput *in, Random *r, Scene *out, Error *e);
} Task;

/* NULL-terminated. */
extern const Task *const tasks[];
const Task *task_by_name(const char *name);

/* ---- what tasks are made with ---- */

size_t random_below(Random *r, size_t n);
/* Tokens that a text takes by itself, without special ones. */
size_t count_tokens(const Tokenizer *t, const char *text);
/* `template` with {key} and {value} filled in. */
const char *worded(Arena *a, const char *template, const char *key, const char *value);
/* `n` different keys or values. False if the wording has not as many. */
bool draw_keys(const Wording *w, Random *r, Arena *a, size_t n, TextList *out, Error *e);
bool draw_values(const Wording *w, Random *r, Arena *a, size_t n, TextList *out, Error *e);
/* Sentences one after the other from a random place, as many as fit `tokens`; one that is too long for what
 * is left is passed over, since all of a short length may lie behind it. */
void fill_with_hay(const Haystack *h, Random *r, size_t tokens, TextList *out);
/* Puts `text` at a random place of the list. */
void insert_somewhere(TextList *l, Random *r, const char *text);

#endif

/* The words of needle-in-a-haystack tasks: how a fact is stated, how it is asked for, and the keys and values
 * that facts are about. The built-in wording is English; `derope eval --wording FILE` takes another one, for
 * models that were trained on other text. */
#ifndef DEROPE_RECAL_EVALUATE_WORDING_H
#define DEROPE_RECAL_EVALUATE_WORDING_H

#include <jansson.h>

#include "formats/buffer.h"
#include "recal/evaluate/text_list.h"

/* Templates in which {key} and {value} stand for a key and its value, or for a list of several of them. */
typedef struct Wording {
    const char *fact;      /* e.g. " The magic number of {key} is {value}." */
    const char *question;  /* ends where the answer begins: " ... The magic number of {key} is" */
    const char *questions; /* asks for several keys or values at once; NULL: this wording cannot */
    TextList keys;         /* keys to draw from; empty: pairs of a built-in adjective and noun */
    TextList values;       /* values to draw from; empty: random numbers of seven digits */
    json_t *json;          /* the file's content, which owns the texts above; NULL: the built-in wording */
} Wording;

/* Opens the built-in wording (`path` NULL) or a JSON file {"fact", "question", "questions", "keys",
 * "values"}, of which "questions" and "values" may be missing. False with an error that names the file and
 * the member. */
bool wording_open(const char *path, Wording *out, Error *e);
void wording_close(Wording *w);

/* A copy of `template` in which {key} and {value} are replaced; it lives in the arena. */
const char *wording_fill(Arena *a, const char *template, const char *key, const char *value);

/* Append `n` keys or values, drawn at random, that differ from each other and from those already in `out`.
 * Texts that had to be made live in the arena. False with an error if the wording has fewer. */
bool wording_draw_keys(const Wording *w, Random *r, Arena *a, size_t n, TextList *out, Error *e);
bool wording_draw_values(const Wording *w, Random *r, Arena *a, size_t n, TextList *out, Error *e);

#endif

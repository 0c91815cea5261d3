/* A scene is a long text together with questions about it. Tasks build scenes (eval_task.h), evaluate_scene.h
 * runs a model on them. Questions that share a scene also share the work of reading it. */
#ifndef DEROPE_RECAL_EVALUATE_SCENE_H
#define DEROPE_RECAL_EVALUATE_SCENE_H

#include "formats/buffer.h"
#include "recal/evaluate/text_list.h"
#include "surgery/tokenizer/tokenizer.h"

/* One question about a scene. All texts live in the scene's arena, or in the wording that they were drawn
 * from. */
typedef struct Question {
    const char *needle; /* sentence that is inserted into the scene at the depth that is measured; NULL: the
                           scene contains all that is needed */
    const char *text; /* what follows the scene in the prompt; the model is to continue it with the answers */
    TextList answers; /* each of them has to appear in the continuation */
    TextList candidates; /* possible answers of the same kind, the right one first; empty: the question is not
                            ranked */
} Question;

typedef struct Scene {
    Arena arena;        /* owns the texts */
    TextList sentences; /* the long text, in order; each begins with the space that separates it from the one
                           before */
    Question *questions;
    size_t n_questions;
} Scene;

/* Gives the scene `n` empty questions. */
void scene_add_questions(Scene *s, size_t n);
/* Frees all that belongs to the scene; it is empty afterwards. */
void scene_free(Scene *s);

/* Whether `used` tokens (needle, question, answers and the facts that have to be there) fit into a scene of
 * `length` tokens. The error names both numbers. */
bool scene_check_room(size_t length, size_t used, Error *e);

/* How many tokens the question's text and all of its answers take, with what separates the answers. */
size_t question_tokens(const Tokenizer *t, const Question *q);

#endif

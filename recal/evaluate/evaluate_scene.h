/* Running a model on a scene: reads the long text, asks its questions and scores the answers in two ways. A
 * greedy continuation of the prompt is searched for the answers (exact match, as RULER scores), and the
 * candidates of a question are ranked by their likelihood, which also works for base models that do not keep
 * to the form of an answer. */
#ifndef DEROPE_RECAL_EVALUATE_EVALUATE_SCENE_H
#define DEROPE_RECAL_EVALUATE_EVALUATE_SCENE_H

#include "recal/evaluate/scene.h"
#include "recal/net.h"

/* Sums over the questions that were asked with the needle at one depth. */
typedef struct TaskScore {
    uint64_t trials;        /* questions asked */
    uint64_t answers;       /* answers that these questions have together */
    uint64_t answers_found; /* answers that occur in the model's own continuation */
    uint64_t ranked;        /* questions that have candidates */
    uint64_t ranked_first;  /* ranked questions whose right candidate was the likeliest */
    double rank_sum;        /* sum of the right candidate's ranks; 1 is the likeliest */
} TaskScore;

/* One question and what the model said to it, for a transcript. Borrowed during the call. */
typedef struct TranscriptEntry {
    const char *prompt; /* the whole text that the model read */
    const char *
        continuation; /* what it continued with, greedily, up to the number of tokens that the answers need */
    const Question *question;
    double depth;         /* of the needle: 0 before the scene, 1 behind it */
    size_t answers_found; /* of the question's answers */
    size_t rank; /* of the right candidate, 1 being the likeliest; 0: the question has no candidates */
} TranscriptEntry;

/* How scenes are evaluated. */
typedef struct SceneEvaluation {
    Net *net;
    const Tokenizer *tokenizer;
    const double *depths;     /* (n_depths), rising: 0 before the scene, 1 behind it */
    size_t n_depths;          /* 1 for tasks without a needle */
    size_t length;            /* tokens that a prompt and its answer may take together */
    const volatile int *stop; /* set by a signal handler to end early; may be NULL */
    void (*on_answer)(void *context, const TranscriptEntry *a); /* called after each question; may be NULL */
    void *context;                                              /* handed to on_answer */
} SceneEvaluation;

/* Asks each question of the scene once at each depth. `scores` (n_depths) are added to. The scene itself is
 * read only once: see ask_all_questions. False with an error if a prompt does not fit, memory is short or
 * `stop` was set. */
bool evaluate_scene(const SceneEvaluation *how, const Scene *s, TaskScore *scores, Error *e);

#endif

/* The subjects of an evaluation: what is measured. A subject is a pair of callbacks, one for the model's spec
 * and one for its weights, because `derope eval` measures checkpoints on disk while `derope run` measures
 * models in memory (the source, the model after surgery, the recalibrated one) that are only made when a
 * measurement needs them. */
#ifndef DEROPE_CMD_EVALUATE_EVAL_SUBJECT_H
#define DEROPE_CMD_EVALUATE_EVAL_SUBJECT_H

#include "recal/net.h"
#include "surgery/model.h"

typedef struct EvalSubject {
    const char *name;       /* what results and reports call it */
    const char *path;       /* where it is from */
    char key[33];           /* hash of everything that determines its weights; part of each cell's key */
    Checkpoint *source;     /* whose tokenizer it uses */
    const json_t *manifest; /* tells which passes and recalibration made it; may be NULL */
    bool under_methods;     /* also measured under context-extension methods, not only unchanged */
    void *context;          /* passed to the callbacks */
    /* A new model, whose spec a method may change; the caller closes it. NULL with an error. */
    Model *(*model)(void *context, Error *e);
    /* The weights, owned by the subject. Called only when something has to be measured. NULL with an error.
     */
    Net *(*net)(void *context, Error *e);
} EvalSubject;

/* A checkpoint on disk as a subject. It holds pointers into itself, so it must not be copied or moved. */
typedef struct EvalCheckpoint {
    EvalSubject subject;
    char name[256]; /* what subject.name points to at first */
    Checkpoint *source;
    Model *model;
    Net *net;         /* NULL until the first measurement */
    json_t *manifest; /* NULL if the checkpoint has none */
    int threads;
} EvalCheckpoint;

/* Opens a checkpoint; close it on failure too. `threads` is for its forward passes; 0: all processors. */
bool eval_checkpoint_open(EvalCheckpoint *c, const char *path, int threads, Error *e);
void eval_checkpoint_close(EvalCheckpoint *c);

/* The short name of what a path names: "out/partial/" -> "partial", "out/x.gguf" -> "x". Clipped to 255
 * bytes. */
void eval_subject_name(const char *path, char out[256]);

#endif

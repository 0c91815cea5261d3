/* A subject of an evaluation is a model that is measured. It has two callbacks, one for the model's spec and
 * one for its weights. They are needed because `derope eval` measures checkpoints on disk, while `derope run`
 * measures models in memory (the source, the model after surgery, the recalibrated model) that are only
 * created when a measurement needs them. */
#ifndef DEROPE_CMD_EVALUATE_EVAL_SUBJECT_H
#define DEROPE_CMD_EVALUATE_EVAL_SUBJECT_H

#include "recal/net.h"
#include "surgery/model.h"

typedef struct EvalSubject {
    const char *name;       /* its name in results and reports */
    const char *path;       /* the checkpoint's path, for the results */
    char key[33];           /* hash of everything that determines its weights; part of each cell's key */
    Checkpoint *source;     /* the checkpoint whose tokenizer it uses */
    const json_t *manifest; /* says by which passes and recalibration it was made; may be NULL */
    bool under_methods;     /* also measure it with each context-extension method applied */
    void *context;          /* passed to the callbacks */
    /* Returns a new model, whose spec a context-extension method may change. The caller closes it. NULL with
     * an error. */
    Model *(*model)(void *context, Error *e);
    /* Returns the weights, which the subject owns. Only called when something has to be measured. NULL with
     * an error. */
    Net *(*net)(void *context, Error *e);
} EvalSubject;

/* A checkpoint on disk as a subject. It has pointers into itself, so it must not be copied or moved. */
typedef struct EvalCheckpoint {
    EvalSubject subject;
    char name[256]; /* storage of subject.name, unless the caller sets another name */
    Checkpoint *source;
    Model *model;
    Net *net;         /* NULL until the first measurement */
    json_t *manifest; /* NULL if the checkpoint has none */
    int threads;
} EvalCheckpoint;

/* Opens a checkpoint; close it on failure too. `threads` is for its forward passes; 0: all processors. */
bool eval_checkpoint_open(EvalCheckpoint *c, const char *path, int threads, Error *e);
void eval_checkpoint_close(EvalCheckpoint *c);

/* Writes the short name of a checkpoint to `out`: "out/partial/" gives "partial", "out/x.gguf" gives "x". A
 * name is cut after 255 bytes. */
void eval_subject_name(const char *path, char out[256]);

#endif

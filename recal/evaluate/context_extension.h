/* The ways to read further that a model can be measured under, without writing a file. Adding one is a
 * function and a line in the table of method.c. */
#ifndef DEROPE_RECAL_EVALUATE_CONTEXT_EXTENSION_H
#define DEROPE_RECAL_EVALUATE_CONTEXT_EXTENSION_H

#include "surgery/model.h"

typedef struct Method {
    const char *name, *help;
    /* Changes the model's spec for a text of `factor` (> 1) times its context. */
    bool (*apply)(Model *m, double factor, Error *e);
} Method;

/* NULL-terminated; the first is the model as it is. */
extern const Method *const methods[];
const Method *method_by_name(const char *name);
/* Whether stretching its rotation could make a model read further: some layer rotates and sees all. */
bool method_concerns(const ModelSpec *s);

#endif

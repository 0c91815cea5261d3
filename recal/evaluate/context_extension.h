/* Context-extension methods: ways to let a model with rotary position embeddings (RoPE) read texts longer
 * than the ones it was trained on, by changing its rotation without any training. `derope eval --against`
 * measures a model under them beside its own form, in memory; no file is written.
 *
 * To add a method, write a function `apply` in context_extension.c and add a row to the table there. */
#ifndef DEROPE_RECAL_EVALUATE_CONTEXT_EXTENSION_H
#define DEROPE_RECAL_EVALUATE_CONTEXT_EXTENSION_H

#include "surgery/model.h"

typedef struct ContextExtension {
    const char *name; /* what --against and the JSON key "method" call it */
    const char *help; /* a few words for help texts */
    /* Changes the rotation in the model's spec so that it can read `factor` times its trained context.
     * `factor` is above
     * 1. False with an error if the model's rotation cannot be changed that way. */
    bool (*apply)(Model *m, double factor, Error *e);
} ContextExtension;

/* All methods, ended by NULL. The first one, "none", leaves the model as it is. */
extern const ContextExtension *const context_extensions[];

/* The method of that name, or NULL. */
const ContextExtension *context_extension_by_name(const char *name);

/* Whether changing the rotation can have any effect beyond the trained length: true if at least one layer
 * both rotates its queries and keys and attends to the whole text. A layer with a sliding window never sees
 * distances that it was not trained on. */
bool context_extension_applies(const ModelSpec *s);

#endif

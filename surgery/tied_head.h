/* The output matrix of a model whose configuration says that it is the embedding matrix, where the file has a
 * tensor for it all the same (tied_head.c). */
#ifndef DEROPE_SURGERY_TIED_HEAD_H
#define DEROPE_SURGERY_TIED_HEAD_H

#include "surgery/model.h"

/* The two tensors of a checkpoint that would be one in a tied model. */
typedef struct TiedHead {
    const Tensor *embed; /* NULL: not found */
    const Tensor *head;  /* NULL: there is none, as usual in a tied model */
} TiedHead;

/* Finds the embedding and the output matrix of a checkpoint of the family by their names. */
TiedHead tied_head_find(const struct Family *f, const Checkpoint *c);
/* Sets `*same` to whether both tensors exist with equal shapes and values. Reads both up to the first
 * difference. Fails with what the source of the bytes reports. */
bool tied_head_is_copy(const TiedHead *t, bool *same, Error *e);

#endif

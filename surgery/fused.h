/* Several tensors stored as one: q, k and v, or gate and up. A model always has them apart; they are taken
 * apart when a checkpoint is read and put together again when one is written, by the order of their rows. */
#ifndef DEROPE_SURGERY_FUSED_H
#define DEROPE_SURGERY_FUSED_H

#include "formats/checkpoint.h"
#include "surgery/role.h"

typedef enum Fused {
    FUSED_NOT,
    FUSED_QKV,           /* q, then k, then v */
    FUSED_QKV_GROUPS,    /* per key/value head: the queries that share it, its k, its v (GPT-NeoX, Falcon) */
    FUSED_GATE_UP,       /* gate, then up */
    FUSED_GATE_UP_PAIRS, /* a row of gate, a row of up, and so on (GPT-OSS) */
} Fused;

enum { FUSED_MOST = 3 }; /* tensors in one */

/* The roles that make up the tensor in which `role` lies, at most FUSED_MOST; returns how many. */
size_t fused_roles(Fused how, TensorRole role, TensorRole roles[FUSED_MOST]);
/* Rows of the whole; of the gate and up of one expert where there are several. */
uint64_t fused_rows(const LayerSpec *l, Fused how);
/* `whole` (checked: fused_rows rows) -> the rows of one role. */
bool fused_part(Arena *a, const LayerSpec *l, Fused how, TensorRole role, const Tensor *whole, Tensor *part,
                Error *e);
/* The way back: `parts` in the order of fused_roles. They must agree in their types. */
bool fused_join(Arena *a, const LayerSpec *l, Fused how, const TensorRole *roles, const Tensor *parts,
                size_t n, Tensor *whole, Error *e);

#endif

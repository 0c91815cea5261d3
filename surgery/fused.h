/* Several projections in one tensor: q, k and v, or gate and up, whose outputs are computed by one matrix
 * product. A model always has them apart. Reading takes the whole apart, writing puts it together again, and
 * both only say which stored row is which (Tensor.row_index): no byte is moved. */
#ifndef DEROPE_SURGERY_FUSED_H
#define DEROPE_SURGERY_FUSED_H

#include "formats/checkpoint.h"
#include "surgery/role.h"

/* The order of the rows in the whole. */
typedef enum Fused {
    FUSED_NOT,           /* every role has a tensor of its own */
    FUSED_QKV,           /* all rows of q, then of k, then of v (Phi-3; every attn_qkv of llama.cpp) */
    FUSED_QKV_GROUPS,    /* for each key/value head: the query heads that share it, its k, its v (GPT-NeoX,
                            Falcon) */
    FUSED_GATE_UP,       /* all rows of gate, then of up (Phi-3) */
    FUSED_GATE_UP_PAIRS, /* a row of gate, a row of up, and so on (GPT-OSS) */
} Fused;

enum { FUSED_MOST = 3 }; /* roles in one tensor */

/* Sets the roles that make up the tensor in which `role` lies, first to last, and returns how many they are.
 */
size_t fused_roles(Fused how, TensorRole role, TensorRole roles[FUSED_MOST]);
/* Rows of the whole; those of one expert where experts are stacked. */
uint64_t fused_rows(const LayerSpec *l, Fused how);
/* Sets `part` to the rows of one role in `whole`, which has fused_rows rows for every expert. `a` holds the
 * order. An error where a bias is of a type whose elements cannot be taken apart. */
bool fused_part(Arena *a, const LayerSpec *l, Fused how, TensorRole role, const Tensor *whole, Tensor *part,
                Error *e);
/* Sets `whole` to the tensor made of `n` parts, one for each of `roles`, in the order of fused_roles. Parts
 * that were taken from one tensor and not changed since give that tensor's own rows. The parts may differ in
 * scale, but not in the type that they serve: one tensor has one type (ERR_FAILED). */
bool fused_join(Arena *a, const LayerSpec *l, Fused how, const TensorRole *roles, const Tensor *parts,
                size_t n, Tensor *whole, Error *e);

#endif

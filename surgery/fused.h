/* Fused projections (fused.c). Some checkpoints store q, k and v, or gate and up, in one tensor, so that one
 * matrix product computes all of them. A Model always has separate tensors. Reading separates a fused tensor
 * and writing fuses the parts again. Both only set the order of rows (Tensor.row_index) and copy no data. */
#ifndef DEROPE_SURGERY_FUSED_H
#define DEROPE_SURGERY_FUSED_H

#include "formats/checkpoint.h"
#include "surgery/role.h"

/* The order of the rows in the fused tensor. */
typedef enum Fused {
    FUSED_NOT,           /* every role has a tensor of its own */
    FUSED_QKV,           /* all rows of q, then of k, then of v (Phi-3; every attn_qkv of llama.cpp) */
    FUSED_QKV_GROUPS,    /* for each key/value head: the query heads that share it, its k, its v (GPT-NeoX,
                            Falcon) */
    FUSED_GATE_UP,       /* all rows of gate, then of up (Phi-3) */
    FUSED_GATE_UP_PAIRS, /* a row of gate, a row of up, and so on (GPT-OSS) */
} Fused;

enum { FUSED_MOST = 3 }; /* roles in one tensor */

/* Sets `roles` to the roles of the fused tensor that contains `role`, in the order of its rows, and returns
 * their number. */
size_t fused_roles(Fused how, TensorRole role, TensorRole roles[FUSED_MOST]);
/* The number of rows of the fused tensor; for stacked experts, the rows of one expert. */
uint64_t fused_rows(const LayerSpec *l, Fused how);
/* Sets `part` to the rows of one role in `whole`, which has fused_rows rows for every expert. `a` owns the
 * new row_index. Fails if the tensor is a bias in a block type, whose elements cannot be separated. */
bool fused_part(Arena *a, const LayerSpec *l, Fused how, TensorRole role, const Tensor *whole, Tensor *part,
                Error *e);
/* Sets `whole` to the fused tensor of `n` parts, one for each of `roles`, in the order of fused_roles. If the
 * parts were separated from one tensor and have not been changed, `whole` is that tensor again and can be
 * copied byte for byte. The parts may differ in scale. They must have the same view type, otherwise the
 * result is an ERR_FAILED. */
bool fused_join(Arena *a, const LayerSpec *l, Fused how, const TensorRole *roles, const Tensor *parts,
                size_t n, Tensor *whole, Error *e);

#endif

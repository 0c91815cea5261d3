/* The types that llama-quantize gives to the tensors of a GGUF (quant_mix.c). What people publish as "Q4_K_M"
 * has not one type but a mix: most matrices are Q4_K, the output head and the matrices that suffer most from
 * rounding have more bits. The choices are those of llama.cpp (src/llama-quant.cpp, llama_tensor_get_type),
 * and tests/peers/test_mixes.py compares them tensor by tensor. surgery/export_mix.h applies a mix to an
 * output. */
#ifndef DEROPE_SURGERY_QUANT_MIX_H
#define DEROPE_SURGERY_QUANT_MIX_H

#include <stddef.h>

#include "formats/dtype.h"

/* A name of llama-quantize whose types derope can all write. */
typedef struct QuantMix {
    const char *name;   /* in lower case, as dtypes are: "q4_k_m" */
    const char *same;   /* the name of which this one is an alias; NULL: it is none */
    uint32_t file_type; /* general.file_type: the number in enum llama_ftype (llama.h) */
    DType base;         /* the type of tensors for which no rule says otherwise */
} QuantMix;

/* What the choice depends on beside the tensor, in terms of the GGUF that is written. */
typedef struct MixModel {
    const char *arch;    /* general.architecture */
    uint32_t n_layers;   /* block_count */
    uint32_t n_heads;    /* query heads of layer 0 */
    uint32_t n_kv_heads; /* key/value heads of layer 0 */
    uint32_t n_experts;  /* expert_count; 0: the MLPs are no mixtures */
    bool tied;           /* there is no output.weight, so token_embd.weight is the output head too */
} MixModel;

/* The mix of a name, in any letter case; NULL if there is none. */
const QuantMix *quant_mix_find(const char *name);
/* Fills `names` with the names of what a GGUF's weights can be written as, plain types first and then mixes,
 * at most `max`, and returns how many. */
size_t quant_mix_names(const char **names, size_t max);
/* Appends the names of all mixes, separated by ", ". */
void quant_mix_list_names(Buffer *out);

/* The type of the matrix `name` ("blk.3.attn_v.weight") of layer `layer` (-1: outside the layers), whose rows
 * have `row_elems` elements. The caller takes a smaller kind of block where rows are not whole blocks of it
 * (dtype_for_rows). */
DType quant_mix_type(const QuantMix *mix, const MixModel *m, const char *name, int layer, uint64_t row_elems);

#endif

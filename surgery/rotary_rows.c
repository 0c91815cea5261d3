/* The two orders of rotated rows. RoPE turns pairs of dimensions; transformers pairs i with i + head_dim/2
 * (halves), others pair 2i with 2i + 1 (interleaved). The rows of q and k, and the elements of their biases,
 * are permuted to change from one order to the other, which gives the same scores. Conversion scripts call
 * this "permute" (convert_hf_to_gguf.py, convert_llama_weights_to_hf.py). model_bind.c calls it when a model
 * is read, export_tensors.c when one is written. */
#include "surgery/rotary_rows.h"

#include <stdlib.h>

#include "formats/tensor_views.h"

/* k has fewer heads than q in models with grouped-query attention. A tensor with another number of rows is
 * left as it is. */
bool rotary_rows_permute(Arena *a, Tensor *t, TensorRole role, const LayerSpec *l, bool to_interleaved,
                         Error *e) {
    uint32_t n_heads = role == ROLE_Q || role == ROLE_Q_BIAS ? l->n_heads : l->n_kv_heads;
    uint32_t head_dim = l->head_dim, half = head_dim / 2;
    /* A bias is one stored row; its elements have to be rows to be moved. */
    if (!tensor_split_rows(a, t, e)) return false;
    if (t->n_rows != (uint64_t)n_heads * head_dim) return true;
    /* New row i is old row index[i]. Pair i of a head is rows 2i and 2i + 1 when interleaved, i and half + i
     * in halves. */
    uint32_t *index = xcalloc(t->n_rows, sizeof *index);
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < half; i++) {
            uint32_t base = h * head_dim;
            if (to_interleaved) {
                index[base + 2 * i] = base + i;
                index[base + 2 * i + 1] = base + half + i;
            } else {
                index[base + i] = base + 2 * i;
                index[base + half + i] = base + 2 * i + 1;
            }
        }
    tensor_permute(a, t, index);
    free(index);
    return true;
}

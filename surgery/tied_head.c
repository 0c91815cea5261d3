/* Some files of tied models have lm_head.weight or output.weight all the same. Where it is a copy of the
 * embedding it has to stay one, whatever happens to the embedding. Where it differs, it is the output matrix:
 * transformers 5 and llama.cpp compute with it, whatever the configuration says (transformers 4 does not).
 * model_bind.c asks here which of the two it is; surgery/runtime_checks.c asks it of an output. */
#include "surgery/tied_head.h"

#include <stdlib.h>
#include <string.h>

#include "surgery/family.h"

/* The first tensor of a role outside the layers; a family may have two names for one role. */
static const Tensor *find(const Family *f, const Checkpoint *c, TensorRole role) {
    for (const TensorName *row = f->tensors; row->hf; row++) {
        char name[128];
        if (row->role != role) continue;
        tensor_name(row, -1, -1, c->format, name);
        const Tensor *t = checkpoint_find(c, name);
        if (t) return t;
    }
    return NULL;
}

TiedHead tied_head_find(const Family *f, const Checkpoint *c) {
    return (TiedHead){.embed = find(f, c, ROLE_EMBED), .head = find(f, c, ROLE_HEAD)};
}

/* Tensors of one type are compared by their bytes, others as fp32; a type that cannot be decoded is never
 * equal to another. Rows are read in pieces of about 64 Ki elements, so that memory stays small. */
bool tied_head_is_copy(const TiedHead *t, bool *same, Error *e) {
    enum { PIECE = 1 << 16 };
    *same = t->embed && t->head && t->embed->rank == t->head->rank &&
            memcmp(t->embed->shape, t->head->shape, t->embed->rank * sizeof *t->embed->shape) == 0;
    if (!*same) return true;
    Tensor a = *t->embed, b = *t->head;
    if (a.storage_dtype != b.storage_dtype) {
        *same = dtype_info(a.storage_dtype)->decode && dtype_info(b.storage_dtype)->decode;
        a.dtype = b.dtype = DTYPE_F32;
    }
    uint64_t step = a.row_elems && a.row_elems < PIECE ? PIECE / a.row_elems : 1,
             bytes = tensor_row_bytes(&a);
    uint8_t *x = big_alloc(step, bytes, a.name, e), *y = x ? big_alloc(step, bytes, b.name, e) : NULL;
    bool ok = y != NULL;
    for (uint64_t i = 0; ok && *same && i < a.n_rows; i += step) {
        uint64_t n = a.n_rows - i < step ? a.n_rows - i : step;
        ok = tensor_read_rows(&a, i, n, x, e) && tensor_read_rows(&b, i, n, y, e);
        *same = ok && memcmp(x, y, n * bytes) == 0;
    }
    free(x);
    free(y);
    return ok;
}

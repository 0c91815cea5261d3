/* The implementation of --dtype and of the pass `cast`: which tensors get the new type, and what happens
 * where a type of blocks does not fit. Only the descriptions of tensors change here; the writer decodes and
 * encodes rows (formats/). */
#include "surgery/cast.h"

#include "surgery/notices.h"

/* Counts the tensors that got a smaller kind of block, for one notice about all of them. */
typedef struct Fallback {
    size_t n;
    const Tensor *first;
    DType type; /* of the first */
} Fallback;

/* Whether a tensor may be stored in a type of blocks. Vectors may not. The router stays plain too, as in
 * llama.cpp: experts are chosen by small differences between its outputs, which rounding to blocks would
 * blur. */
static bool takes_blocks(const ModelTensor *t) {
    return t->tensor.rank > 1 && !role_is_bias(t->role) && t->role != ROLE_ROUTER;
}

/* Every tensor is handled by itself, so that one whose rows are not whole blocks does not stop the others. */
bool cast_tensors(ModelTensor *tensors, size_t n, DType to, json_t *notices, Error *e) {
    const DTypeInfo *info = dtype_info(to);
    if (!info->encode) return error_set(e, ERR_USAGE, "weights cannot be written as %s", info->name);
    Fallback f = {0};
    for (size_t i = 0; i < n; i++) {
        Tensor *t = &tensors[i].tensor;
        const DTypeInfo *from = dtype_info(t->storage_dtype);
        bool follows = tensors[i].role == ROLE_HEAD_COPY; /* the embedding, whatever its type becomes */
        if (tensors[i].role == ROLE_OTHER || follows || (info->block_elems > 1 && !takes_blocks(&tensors[i])))
            continue;
        DType fits;
        if (!dtype_for_rows(to, t->row_elems, &fits)) {
            notice_add(notices, "tensor '%s' stays %s: rows of %llu elements are not whole blocks of %s",
                       t->name, dtype_info(t->dtype)->name, (unsigned long long)t->row_elems, info->name);
            continue;
        }
        if (!from->decode)
            return error_set(e, ERR_INPUT, "tensor '%s': %s cannot be decoded, so it cannot become %s",
                             t->name, from->name, info->name);
        if (fits != to && f.n++ == 0) f.first = t, f.type = fits;
        t->dtype = fits;
        t->exact_dtype =
            t->storage_dtype; /* the type that was asked for, not one that the tensor had before */
    }
    if (f.n)
        notice_add(
            notices, "%zu tensors (first '%s') become %s: rows of %llu elements are not whole blocks of %s",
            f.n, f.first->name, dtype_info(f.type)->name, (unsigned long long)f.first->row_elems, info->name);
    return true;
}

/* The implementation of --dtype and of the pass `cast`: which tensors get the new type, and what happens
 * where a type of blocks does not fit. Only the descriptions of tensors change here; the writer decodes and
 * encodes rows (formats/). */
#include "surgery/cast.h"

#include "surgery/notices.h"

/* The tensors of one wanted type that got another one, for one notice about all of them. */
typedef struct Fallback {
    size_t n;
    const Tensor *first;
} Fallback;

/* What a cast has done so far. */
typedef struct Cast {
    json_t *notices;
    Fallback fallbacks[DTYPE_COUNT][DTYPE_COUNT]; /* [wanted][got] */
    Error *e;
} Cast;

/* Whether a tensor may be stored in a type of blocks. Vectors may not. The router stays plain too, as in
 * llama.cpp: experts are chosen by small differences between its outputs, which rounding to blocks would
 * blur. */
static bool takes_blocks(const ModelTensor *t) {
    return t->tensor.rank > 1 && !role_is_bias(t->role) && t->role != ROLE_ROUTER;
}

/* Whether a cast is about the tensor: it has a role, and is no copy of the embedding, which follows it. */
static bool has_own_type(const ModelTensor *t) {
    return t->role != ROLE_OTHER && t->role != ROLE_HEAD_COPY;
}

/* Gives a tensor the type `wanted`, or the one that stands in for it where rows are not whole blocks. Where
 * none does, `rest` is taken; DTYPE_COUNT leaves the tensor as it is. */
static bool cast_one(Cast *c, Tensor *t, DType wanted, DType rest) {
    DType fits;
    if (!dtype_for_rows(wanted, t->row_elems, &fits)) fits = rest;
    if (fits == DTYPE_COUNT) {
        notice_add(c->notices, "tensor '%s' stays %s: rows of %llu elements are not whole blocks of %s",
                   t->name, dtype_info(t->dtype)->name, (unsigned long long)t->row_elems,
                   dtype_info(wanted)->name);
        return true;
    }
    if (!dtype_info(t->storage_dtype)->decode)
        return error_set(c->e, ERR_INPUT, "tensor '%s': %s cannot be decoded, so it cannot become %s",
                         t->name, dtype_info(t->storage_dtype)->name, dtype_info(wanted)->name);
    Fallback *f = &c->fallbacks[wanted][fits];
    if (fits != wanted && f->n++ == 0) f->first = t;
    t->dtype = fits;
    t->exact_dtype = t->storage_dtype; /* the type that was asked for, not one that the tensor had before */
    return true;
}

/* One notice for each pair of a wanted type and the one that was taken. */
static void note_fallbacks(const Cast *c) {
    for (int wanted = 0; wanted < DTYPE_COUNT; wanted++)
        for (int got = 0; got < DTYPE_COUNT; got++) {
            const Fallback *f = &c->fallbacks[wanted][got];
            if (f->n)
                notice_add(
                    c->notices,
                    "%zu tensors (first '%s') become %s: rows of %llu elements are not whole blocks of %s",
                    f->n, f->first->name, dtype_info((DType)got)->name,
                    (unsigned long long)f->first->row_elems, dtype_info((DType)wanted)->name);
        }
}

/* Every tensor is handled by itself, so that one whose rows are not whole blocks does not stop the others. */
bool cast_tensors(ModelTensor *tensors, size_t n, DType to, json_t *notices, Error *e) {
    const DTypeInfo *info = dtype_info(to);
    if (!info->encode) return error_set(e, ERR_USAGE, "weights cannot be written as %s", info->name);
    Cast c = {.notices = notices, .e = e};
    for (size_t i = 0; i < n; i++) {
        if (!has_own_type(&tensors[i]) || (info->block_elems > 1 && !takes_blocks(&tensors[i]))) continue;
        if (!cast_one(&c, &tensors[i].tensor, to, DTYPE_COUNT)) return false;
    }
    note_fallbacks(&c);
    return true;
}

/* ggml does not count dimensions of 1, so that a matrix of one row is a vector for llama-quantize. */
bool cast_tensors_each(ModelTensor *tensors, size_t n,
                       DType (*choose)(const void *context, const ModelTensor *t), const void *context,
                       json_t *notices, Error *e) {
    Cast c = {.notices = notices, .e = e};
    for (size_t i = 0; i < n; i++) {
        Tensor *t = &tensors[i].tensor;
        if (!has_own_type(&tensors[i]) || !takes_blocks(&tensors[i]) || t->n_rows <= 1) continue;
        if (!cast_one(&c, t, choose(context, &tensors[i]), DTYPE_F16)) return false;
    }
    note_fallbacks(&c);
    return true;
}

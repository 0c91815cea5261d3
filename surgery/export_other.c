/* Tensors without a role, which no table of names covers. Within one format they are copied. llama.cpp
 * refuses a GGUF with tensors that it does not know, so on the way from a folder to a GGUF small ones travel
 * in keys: DEROPE_TENSORS lists types and shapes, and for each of its members there is a key
 * DEROPE_TENSOR_PREFIX + name with the bytes. A folder made of that GGUF has them as tensors again. */
#include "surgery/export_other.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "formats/meta.h"
#include "surgery/derope_keys.h"
#include "surgery/export_tensors.h"
#include "surgery/notices.h"

/* Puts a tensor into the key DEROPE_TENSOR_PREFIX + name, and its type and shape into x->carried. The limit
 * of 1 MiB keeps the header of the GGUF small; a larger tensor is left out with a notice. */
static bool carry_in_key(Export *x, const Tensor *t) {
    enum { LIMIT = 1 << 20 };
    uint64_t n = tensor_bytes(t);
    const char *dtype = dtype_info(t->dtype)->safetensors;
    if (n > LIMIT || !dtype) {
        notice_add(x->report->notices, "tensor '%s' is left out: llama.cpp would refuse it", t->name);
        return true;
    }
    /* 1. The bytes, as one array of u8. */
    uint8_t *bytes = xmalloc(n);
    bool ok = tensor_read_rows(t, 0, t->n_rows, bytes, x->e);
    char key[300];
    snprintf(key, sizeof key, DEROPE_TENSOR_PREFIX "%.250s", t->name);
    if (ok) meta_set_array(x->out, key, META_U8, bytes, n);
    free(bytes);
    /* 2. Type and shape, under the tensor's HF name. */
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    json_object_set_new(x->carried, t->name, json_pack("{s:s, s:o}", "dtype", dtype, "shape", shape));
    return ok;
}

/* The four cases are the formats of source and output. */
bool export_add_other(Export *x, const Tensor *t) {
    bool from_gguf = x->m->source->format == FORMAT_GGUF, to_gguf = x->out->format == FORMAT_GGUF;
    if (strcmp(t->name, "rope_freqs.weight") == 0 || strncmp(t->name, "rope_factors_", 13) == 0)
        return true; /* made anew from the spec: export_add_rope_tables */
    if (from_gguf && !to_gguf) {
        notice_add(x->report->notices, "tensor '%s' is left out: it has no HF name", t->name);
        return true;
    }
    if (!from_gguf && to_gguf) return carry_in_key(x, t);
    /* The format stays: a copy. A packed weight without a role (the head of another task) becomes plain in a
     * folder whose packed weights are not kept. */
    Tensor other = *t;
    if (!to_gguf && t->quantization) {
        other.dtype = export_hf_dtype(t->dtype);
        x->report->dequantized |= other.dtype == DTYPE_F32 && other.dtype != t->dtype;
    }
    checkpoint_add_tensor(x->out, &other);
    return true;
}

/* Reads {"dtype": "F32", "shape": [2, 3]} of a tensor whose bytes are in key `m`. False if type, shape and
 * number of bytes do not agree: anybody may have written the keys of a file, so they are checked. */
static bool read_carried(const json_t *info, const MetaEntry *m, DType *dtype, uint32_t *rank,
                         uint64_t *shape) {
    const json_t *sizes = json_object_get(info, "shape");
    const char *name = json_get_string(info, "dtype");
    uint64_t elems = 1, bytes;
    *rank = (uint32_t)json_array_size(sizes);
    if (!m || !name || *rank > TENSOR_MAX_RANK || !dtype_from_safetensors(name, dtype)) return false;
    for (uint32_t i = 0; i < *rank; i++) {
        shape[i] = (uint64_t)json_integer_value(json_array_get(sizes, i));
        if (!mul_u64(elems, shape[i], &elems)) return false;
    }
    return dtype_bytes(*dtype, elems, &bytes) && bytes == m->size;
}

/* Only for a GGUF that becomes a folder. A member that is damaged is left out with a notice. */
bool export_restore_carried(Export *x) {
    const Checkpoint *c = x->m->source;
    size_t n;
    const char *text = c->format == FORMAT_GGUF ? meta_string(c, DEROPE_TENSORS, &n) : NULL;
    if (!text || x->out->format == FORMAT_GGUF) return true;
    json_t *list = json_parse(DEROPE_TENSORS, text, n, x->e), *info;
    if (!list) return false;
    const char *name;
    json_object_foreach(list, name, info) {
        char key[300];
        uint64_t shape[TENSOR_MAX_RANK];
        uint32_t rank;
        DType dtype;
        /* The bytes are in a key of their own; a member that has none, or whose name the output has already,
         * is left out. */
        snprintf(key, sizeof key, DEROPE_TENSOR_PREFIX "%.250s", name);
        const MetaEntry *m = meta_find(c, key);
        if (!read_carried(info, m, &dtype, &rank, shape) || checkpoint_find(x->out, name)) {
            notice_add(x->report->notices, "key '%s' does not hold a further tensor", key);
            continue;
        }
        Tensor t = tensor_over(&x->out->arena, name, dtype, rank, shape, m->bytes);
        checkpoint_add_tensor(x->out, &t);
    }
    json_decref(list);
    return true;
}

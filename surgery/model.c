/* The tensor table of a model: names, look-up by role, insertion, and closing. Opening is in model_open.c,
 * finding the tensors of a checkpoint in model_bind.c. */
#include "surgery/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "surgery/family.h"

/* ---- names ---- */

/* Replaces the first `hole` ("%d", "%e") in `text`. */
static void fill_hole(char text[128], const char *hole, const char *value) {
    char whole[128];
    const char *at = strstr(text, hole);
    if (!at) return;
    snprintf(whole, sizeof whole, "%.*s%s%s", (int)(at - text), text, value, at + strlen(hole));
    memcpy(text, whole, sizeof whole);
}

/* A name has at most one "%d" and one "%e". The patterns come from the tables in surgery/families/ and
 * surgery/carriers/ and are far shorter than 128 bytes. */
void tensor_name(const TensorName *row, int layer, int expert, Format format, char out[128]) {
    char number[16];
    snprintf(out, 128, "%s", format == FORMAT_GGUF ? row->gguf : row->hf);
    snprintf(number, sizeof number, "%d", layer);
    fill_hole(out, "%d", number);
    snprintf(number, sizeof number, expert < 0 ? "*" : "%d", expert);
    fill_hole(out, "%e", number);
}

/* The name is needed for tensors that do not exist yet too: training gives a model tensors that its source
 * never had. */
void model_tensor_name(const Model *m, TensorRole role, int layer, Format format, char out[128]) {
    const ModelTensor *there = model_tensor(m, role, layer);
    /* The row that the tensor was found by, since a family may have two names for a role; else the first. */
    const TensorName *row = there ? there->row : NULL;
    out[0] = 0;
    for (const TensorName *n = m->family->tensors; n->hf && !row; n++)
        if (n->role == role && row_fits(n, spec_layer(&m->spec, layer))) row = n;
    if (row) tensor_name(row, layer, -1, format, out);
}

/* ---- tensors by role ---- */

/* The slot of role_index for a role in a layer. Row 0 of the table is for tensors outside the layers, whose
 * layer is -1. */
static uint32_t *index_slot(const Model *m, TensorRole role, int layer) {
    return &m->role_index[(size_t)(layer + 1) * ROLE_COUNT + role];
}

/* Positions are stored plus one, so that zeroed memory means that there is no such tensor. */
ModelTensor *model_tensor(const Model *m, TensorRole role, int layer) {
    uint32_t position = *index_slot(m, role, layer);
    return position ? &m->tensors[position - 1] : NULL;
}

/* Tensors without a role are not indexed: there may be any number of them, and nobody asks for one by role.
 */
void model_index_tensors(Model *m) {
    free(m->role_index);
    m->role_index = xcalloc(((size_t)m->spec.n_layers + 1) * ROLE_COUNT, sizeof *m->role_index);
    for (size_t i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].role != ROLE_OTHER)
            *index_slot(m, m->tensors[i].role, m->tensors[i].layer) = (uint32_t)i + 1;
}

/* The returned pointer is valid until the next call, which may move the array. */
ModelTensor *model_append_tensor(Model *m, const ModelTensor *t) {
    if (m->n_tensors == m->tensor_capacity) {
        m->tensor_capacity = m->tensor_capacity ? 2 * m->tensor_capacity : 64;
        m->tensors = xrealloc(m->tensors, m->tensor_capacity * sizeof *m->tensors);
    }
    m->tensors[m->n_tensors++] = *t;
    if (t->role != ROLE_OTHER) *index_slot(m, t->role, t->layer) = (uint32_t)m->n_tensors;
    return &m->tensors[m->n_tensors - 1];
}

/* A tensor that is replaced keeps its place in the order and its origin, so that an output lists it where the
 * source had it. */
ModelTensor *model_set_tensor(Model *m, TensorRole role, int layer, const Tensor *t) {
    ModelTensor *there = model_tensor(m, role, layer);
    char name[128];
    model_tensor_name(m, role, layer, FORMAT_HF, name);
    Tensor named = *t;
    named.name = arena_strdup(&m->arena, name);
    if (there) {
        there->tensor = named;
        return there;
    }
    named.status = TENSOR_NEW;
    return model_append_tensor(m, &(ModelTensor){.role = role, .layer = layer, .tensor = named});
}

/* ---- closing ---- */

/* Accepts a model whose opening failed half-way: members that were not reached are NULL, which all these
 * functions accept. The source is borrowed and stays open. */
void model_close(Model *m) {
    if (!m) return;
    checkpoint_close(m->view);
    json_decref(m->config);
    json_decref(m->passes);
    json_decref(m->notices);
    free(m->tensors);
    free(m->role_index);
    transpose_cache_free(&m->transpose_cache);
    arena_free(&m->arena);
    free(m);
}

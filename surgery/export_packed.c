/* Keeping fp8 and mxfp4 weights packed in an HF output. The model saw them as plain tensors (quantized.c). If
 * no pass changed them and the output is a folder of the same layout, the packed tensors and their scales are
 * copied instead, which keeps the file small and its bytes exact. export.c asks export_keeps_packed once for
 * each export, because a folder has one quantization_config for all of its weights. */
#include "surgery/export_packed.h"

#include <string.h>

#include "surgery/export_scale.h"
#include "surgery/export_tensors.h"

/* True if nobody changed the values or the type of a packed weight. Its rows may be in another order
 * (interleaved rotation), since the export undoes that. */
static bool is_untouched(const Tensor *now, const Tensor *then) {
    return now->quantization && now->dtype == then->dtype && now->scale == 1 && now->add == 0 &&
           !now->row_scale && now->status < TENSOR_CHANGED;
}

/* Everything has to stay: format and type of the output, the number of heads, the values, and the names,
 * because scales are found by the names of their weights. */
bool export_keeps_packed(const Export *x, const ExportOptions *o) {
    const Model *m = x->m;
    if (!m->view || o->format != FORMAT_HF || o->has_dtype || x->carrier->adapt || x->carrier->repeats_kv)
        return false;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const ModelTensor *t = &m->tensors[i];
        char name[128] = "";
        if (!t->origin || !t->origin->quantization) continue;
        if (!is_untouched(&t->tensor, t->origin)) return false;
        if (t->role == ROLE_OTHER || t->role == ROLE_HEAD_COPY) continue;
        const TensorName *row = export_row(x, t->role, t->layer);
        if (row) tensor_name(row, t->layer, 0, FORMAT_HF, name);
        bool scaled = t->layer >= 0 && role_takes_scale(&m->spec.layers[t->layer], t->role) &&
                      export_query_factor(x, t->layer) != 1;
        if (scaled || strcmp(name, t->origin->name) != 0) return false;
    }
    return true;
}

/* Adds the source's own tensors behind the weights that add_tensors left out. A tensor of the source that the
 * view lacks is a scale; one that the view has as a quantized tensor is a weight. */
void export_add_packed(Export *x) {
    const Checkpoint *source = x->m->source;
    for (size_t i = 0; i < source->n_tensors; i++) {
        const Tensor *t = &source->tensors[i], *seen = checkpoint_find(x->m->view, t->name);
        if (!seen || seen->quantization) checkpoint_add_tensor(x->out, t); /* a weight, or the scale of one */
    }
}

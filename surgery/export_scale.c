/* The softmax scale in an output. The spec has the factor that attention scores are multiplied by, q.k *
 * softmax_scale. Some architectures have a key for it; the others compute it, usually as 1/sqrt(head_dim).
 * Where the two differ, the queries are multiplied by the ratio, which gives the same scores: in q_proj and
 * its bias, or in the weight of the norm on queries (role_takes_scale). export_tensors.c calls this for every
 * tensor that it writes. */
#include "surgery/export_scale.h"

#include <math.h>

#include "surgery/quantized.h"

/* The softmax scale that the output's architecture will compute with, from a key or by its own formula. */
static double stated_scale(const Export *x, const LayerSpec *l) {
    const Family *f = x->m->family;
    bool own = !x->carrier->tensors; /* the family's own architecture, not one borrowed from another */
    if (x->carrier->holds_scale) return l->softmax_scale;
    if (own && x->out->format == FORMAT_GGUF && f->gguf.softmax_scale)
        return f->gguf.softmax_scale(&x->m->spec);
    if (own && f->hf.write_softmax_scale)
        return f->hf.softmax_scale ? f->hf.softmax_scale(x->m) : l->softmax_scale;
    return 1 / sqrt(l->head_dim);
}

/* The factor is 1 where the output states the model's own scale. */
double export_query_factor(const Export *x, int layer) {
    const LayerSpec *l = &x->m->spec.layers[layer];
    double factor = l->softmax_scale / stated_scale(x, l);
    return fabs(factor - 1) < 1e-7 ? 1 : factor; /* what a float in a configuration cannot tell from 1 */
}

/* The change is recorded in the tensor (serve `scale * w + add`) and applied when its rows are written. */
void export_scale_queries(const Export *x, TensorRole role, int layer, Tensor *t) {
    if (layer < 0 || !role_takes_scale(&x->m->spec.layers[layer], role)) return;
    double f = export_query_factor(x, layer);
    if (f == 1) return;
    /* A norm with a unit offset multiplies by 1 + w, and f * (1 + w) = 1 + (f * w + f - 1). */
    double scale = t->scale * f,
           add = t->add * f + (role == ROLE_Q_NORM && x->m->spec.unit_offset_norm ? f - 1 : 0);
    /* A GGUF's queries may have been divided by the same factor when they were read (Model.unfold). Then
     * nothing is left to do, and the tensor goes out as it came, in blocks too. */
    bool undone = fabs(scale - 1) < 1e-6;
    t->scale = undone ? 1 : (float)scale;
    t->add = (float)(undone ? round(add) : add);
    if (!undone) t->dtype = dtype_written(t->dtype); /* other values need a type that can be encoded */
}

/* Weights in a packing that is not read (GPTQ, AWQ, ...) cannot be multiplied, so such a model needs an
 * output that states its scale. */
bool export_check_scale(const Export *x) {
    for (uint32_t i = 0; x->m->quantized_config && i < x->m->spec.n_layers; i++)
        if (export_query_factor(x, (int)i) != 1)
            return error_set(
                x->e, ERR_INPUT,
                "%s: the carrier %s has no key for the softmax scale, which would have to go into "
                "q_proj, but the source has a quantization_config (%s; dequantise it first)",
                x->m->source->path, x->carrier->name, quantized_kind(x->m->config));
    return true;
}

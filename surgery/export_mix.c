/* Applying a mix to the tensors of an output: see surgery/export_mix.h. llama-quantize chooses by the names
 * that tensors have in the GGUF, so each tensor of the model is looked up by the name that the carrier gives
 * it. Tensors that the carrier fuses (attn_qkv) all have the name of the whole and so get one type. */
#include "surgery/export_mix.h"

#include <string.h>

#include "surgery/carriers/carriers.h"
#include "surgery/cast.h"
#include "surgery/export_tensors.h"
#include "surgery/model_traits.h"

/* The output as the rules see it. */
static MixModel mix_model(const Export *x) {
    const ModelSpec *s = &x->m->spec;
    const LayerSpec *l = &s->layers[0];
    bool head = model_tensor(x->m, ROLE_HEAD, -1) || export_repeats_head(x);
    uint32_t experts = model_moe_layer(x->m)->n_experts;
    return (MixModel){.arch = carrier_arch(x->carrier, x->m),
                      .n_layers = s->n_layers,
                      .n_heads = l->n_heads,
                      .n_kv_heads = x->carrier->repeats_kv ? l->n_heads : l->n_kv_heads,
                      .n_experts = !experts && x->carrier->needs_router ? 1 : experts,
                      .tied = !head};
}

/* What `choose` needs. */
typedef struct Choice {
    const Export *x;
    MixModel model;
} Choice;

/* The type for one matrix, by its name in the GGUF. A tensor for which the carrier has no name is refused
 * later, where it is added. */
static DType choose(const void *context, const ModelTensor *t) {
    const Choice *c = context;
    const TensorName *row = export_row(c->x, t->role, t->layer);
    char name[128] = "";
    if (row) tensor_name(row, t->layer, -1, FORMAT_GGUF, name);
    return quant_mix_type(c->x->mix, &c->model, name, t->layer, t->tensor.row_elems);
}

bool export_mix_types(Export *x) {
    Choice c = {x, mix_model(x)};
    return cast_tensors_each(x->tensors, x->m->n_tensors, choose, &c, x->report->notices, x->e);
}

/* The embedding itself was cast before, so that its rows are known to be decodable. */
void export_mix_head(const Export *x, Tensor *t) {
    if (!x->mix || x->pure) return;
    MixModel m = mix_model(x);
    DType wanted = quant_mix_type(x->mix, &m, "output.weight", -1, t->row_elems);
    if (!dtype_for_rows(wanted, t->row_elems, &t->dtype)) t->dtype = DTYPE_F16;
}

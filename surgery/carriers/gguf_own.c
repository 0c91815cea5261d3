/* GGUF carriers that keep the family's own architecture in llama.cpp (src/models/): "own" expresses the model
 * by the architecture's keys, and "linear-1e30" turns the rotation of all layers off by a scaling factor so
 * large that every angle becomes 0. */
#include "surgery/arch_write.h"
#include "surgery/carrier.h"
#include "surgery/model_traits.h"
#include "surgery/rope_frequencies.h"

/* ---- own: the architecture of the family, by its own keys ---- */

/* Whether the architecture can hold the model's rope scaling. llama.cpp reads linear scaling and YaRN from
 * keys in all architectures, but the frequency tables of Llama 3 and LongRoPE are tensors, which only some
 * architectures look for (GgufArch.rope_scalings). */
static bool knows_scaling_tables(const Model *m, char *why, size_t size) {
    const LayerSpec *l = NULL;
    model_has_one_main_rotation(m, &l);
    if (!l || m->family->gguf.rope_scalings >> l->scaling.kind & 1) return true;
    if (l->scaling.kind == ROPE_SCALING_LONGROPE) return refuse_because(why, size, "has no LongRoPE");
    return l->scaling.kind != ROPE_SCALING_LLAMA3 ||
           refuse_because(why, size, "has no Llama 3 frequency bands");
}

/* Whether the architecture can express everything but the rotation: activation, biases, norms, and what the
 * family's own hook asks. Without a hook, only models without windows pass. */
static bool own_block(const Model *m, char *why, size_t size) {
    const Family *f = m->family;
    /* Is there an architecture, and may "own" write it? */
    if (!f->gguf.arch) return refuse_because(why, size, "is not known to llama.cpp");
    if (f->gguf.carrier) return refuse_because(why, size, "is written by the carrier %s", f->gguf.carrier);
    /* llama.cpp has the activation as a constant of the architecture. */
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].activation != f->layer.activation)
            return refuse_because(why, size, "supports only one activation, whatever the configuration says");
    if ((f->gguf.quirks & GGUF_NO_O_BIAS) && m->spec.layers[0].o_bias)
        return refuse_because(why, size, "has no bias after attention");
    if ((f->gguf.quirks & GGUF_TIED_HEAD) && !m->spec.tied_head)
        return refuse_because(why, size, "has no output matrix but the embedding");
    if (!model_keeps_family_norms(m, why, size)) return false;
    /* The family's hook knows about windows; without one there must be none. */
    if (f->gguf.can) return f->gguf.can(m, why, size);
    return model_all_layers(m, layer_is_global) || refuse_because(why, size, "has no windows per layer");
}

/* Carrier.can of "own": scaling, block, and the layers that rotate have to be what the architecture has.
 * Where rows of q and k are interleaved, llama.cpp rotates whole heads only. */
static bool own_can(const Model *m, char *why, size_t size) {
    if (!arch_can_scale_rope(m, why, size) || !knows_scaling_tables(m, why, size) || !own_block(m, why, size))
        return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].position == POSITION_PARTIAL && m->family->gguf.quirks & GGUF_INTERLEAVED_ROPE)
            return refuse_because(why, size, "rotates whole heads only");
    return model_keeps_family_rotation(m, why, size);
}

/* Carrier.write_gguf of "own": the keys of rotation if some layer rotates, and windows and the like by the
 * family's hook. */
static void own_write(const Model *m, Checkpoint *out) {
    const LayerSpec *l = NULL;
    if (model_has_one_main_rotation(m, &l) && l) arch_set_rope(m, out, l);
    if (m->family->gguf.write) m->family->gguf.write(m, out);
}

/* Carrier.notice of "own": llama.cpp always rounds the ends of YaRN's ramp to whole dimensions, whereas
 * GPT-OSS's configurations set truncate to false. */
static const char *own_notice(const Model *m) {
    const LayerSpec *l = NULL;
    bool exact = !model_has_one_main_rotation(m, &l) || !l || l->scaling.kind != ROPE_SCALING_YARN ||
                 l->scaling.truncate;
    return exact ? NULL
                 : "llama.cpp rounds the ends of YaRN's ramp to whole dimensions, which this model does not: "
                   "its logits differ a little there";
}

const Carrier carrier_gguf_own = {
    .name = "own",
    .format = FORMAT_GGUF,
    .says = "the family's own architecture, by its own keys",
    .interleaved = RULE_BY_FAMILY,
    .can = own_can,
    .write_gguf = own_write,
    .notice = own_notice,
};

/* ---- linear-1e30: the architecture of the family, whose rope scaling divides all angles by 1e30 ---- */

/* Carrier.can of "linear-1e30": the architecture has to express everything but the rotation, and no layer
 * that a scaling would reach may still rotate. Sinks are possible only if the family has them. */
static bool linear_can(const Model *m, char *why, size_t size) {
    if (!model_rotation_can_be_scaled_away(m, why, size)) return false;
    if (model_has_sinks(m) && !m->family->layer.sinks)
        return refuse_because(why, size, "has no attention sinks");
    return own_block(m, why, size);
}

/* Carrier.write_gguf of "linear-1e30": rope.dimension_count must not be 0, so it states the whole head, all
 * of whose angles become 0 through the scaling. */
static void linear_write(const Model *m, Checkpoint *out) {
    LayerSpec l = *model_scaled_layer(m);
    l.rotary_dim = l.head_dim;
    l.scaling = rope_scaling_to_zero(ROPE_SCALING_LINEAR);
    arch_set_rope(m, out, &l);
    if (m->family->gguf.write) m->family->gguf.write(m, out);
}

const Carrier carrier_gguf_linear = {
    .name = "linear-1e30",
    .format = FORMAT_GGUF,
    .says = "the family's own architecture, whose angles rope.scaling.factor 1e30 makes 0",
    .interleaved = RULE_BY_FAMILY,
    .can = linear_can,
    .write_gguf = linear_write,
};

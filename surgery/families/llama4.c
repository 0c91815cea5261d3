/* Llama 4's text model (transformers' modeling_llama4.py, llama.cpp's llama4). Three layers out of four
 * rotate queries and keys, attend only within their own chunk of 8192 tokens, and normalize each head of
 * queries and keys after the rotation by an RMSNorm without a weight. Every fourth layer attends to the whole
 * context, does not rotate, and multiplies queries by an attention temperature that grows with their
 * position. Layers with experts also have a shared expert, through which all tokens pass; the routing weight,
 * a sigmoid of the router's output, multiplies the input of an expert and not its output. transformers reads
 * all of this from config.json, whereas llama.cpp has most of it as constants, so the two halves of this file
 * accept different sets of models. */
#include <math.h>
#include <string.h>

#include "formats/json.h"
#include "surgery/arch_keys.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* The prefix of all names of the MLP, with or without experts. */
#define FFN "model.layers.%d.feed_forward."
/* A row for the gate or up projections of all experts. HF's file has them in one tensor [n_experts,
 * hidden_size, 2 * ffn_dim], in which the columns of gate come before those of up; a GGUF has a tensor for
 * each. */
#define HALF(role, gguf)                                                                                     \
    { role, FFN "experts.gate_up_proj", gguf, FUSED_GATE_UP, FUSED_NOT, true, true }

/* A layer has either the rows of a plain MLP (gate, up, down) or those of the router, the experts and the
 * shared expert; row_fits and role_shape decide which by the spec. */
static const TensorName tensors[] = {
    EMBED_AND_HEAD,
    INPUT_NORM,
    ATTENTION_TENSORS,
    POST_ATTENTION_FFN_NORM,
    TENSOR(ROLE_GATE, FFN "gate_proj.weight", "blk.%d.ffn_gate.weight"),
    TENSOR(ROLE_UP, FFN "up_proj.weight", "blk.%d.ffn_up.weight"),
    TENSOR(ROLE_DOWN, FFN "down_proj.weight", "blk.%d.ffn_down.weight"),
    TENSOR(ROLE_ROUTER, FFN "router.weight", "blk.%d.ffn_gate_inp.weight"),
    HALF(ROLE_GATE, "blk.%d.ffn_gate_exps.weight"),
    HALF(ROLE_UP, "blk.%d.ffn_up_exps.weight"),
    {ROLE_DOWN, FFN "experts.down_proj", "blk.%d.ffn_down_exps.weight", FUSED_NOT, FUSED_NOT, true, true},
    TENSOR(ROLE_SHARED_GATE, FFN "shared_expert.gate_proj.weight", "blk.%d.ffn_gate_shexp.weight"),
    TENSOR(ROLE_SHARED_UP, FFN "shared_expert.up_proj.weight", "blk.%d.ffn_up_shexp.weight"),
    TENSOR(ROLE_SHARED_DOWN, FFN "shared_expert.down_proj.weight", "blk.%d.ffn_down_shexp.weight"),
    FINAL_NORM,
    TENSORS_END,
};

/* Numbers that llama.cpp's architecture has as constants and reads no keys for: the chunk in tokens, the
 * interval of the layers that see the whole context, and the number of experts by which it recognizes
 * Maverick, whose layers have no norms on queries and keys. */
enum { CHUNK = 8192, EVERY = 4, WITHOUT_NORM = 128 };
/* The default of attn_scale in Llama4TextConfig, which llama.cpp has as a constant: queries are multiplied by
 * 1 + scale * log(floor((position + 1) / floor_scale) + 1). */
static const double temperature_scale = 0.1;

/* Layers 3, 7, 11, ... see everything and do not rotate. */
static bool every_fourth(uint32_t layer) {
    return (layer + 1) % EVERY == 0;
}

/* Makes a layer one with a plain MLP of `ffn` columns. Every spec starts as a copy of the family's layer,
 * which has experts and a shared expert, so these fields have to be reset. */
static void make_dense(LayerSpec *l, uint32_t ffn) {
    l->n_experts = l->top_k = 0;
    l->routing = ROUTING_OF_CHOSEN;
    l->shared_expert = false;
    l->ffn_dim = ffn;
}

/* Sets what follows from whether a layer rotates: layers that do have norms on queries and keys if `norm` is
 * true; the others have an attention temperature of slope `scale` that grows by steps of `length` tokens. */
static void set_position(LayerSpec *l, bool rotates, bool norm, double scale, double length) {
    l->q_norm = l->k_norm = rotates && norm ? QK_NORM_UNIT : QK_NORM_NONE;
    l->temperature_scale = rotates ? 0 : scale;
    l->temperature_floor = length;
    if (!rotates) layer_drop_rope(l);
}

/* Sets the window of each layer, which in this family is a chunk: layer_types says "chunked_attention" or
 * "full_attention" of each layer; without that list, exactly the layers that rotate are chunked. `chunk` is 0
 * if config.json states no chunk size. */
static bool read_chunks(Model *m, const json_t *config, const bool *rotates, uint32_t chunk, Error *e) {
    const json_t *types = json_object_get(config, "layer_types");
    if (json_is_array(types) && json_array_size(types) != m->spec.n_layers)
        return error_set(e, ERR_INPUT, "config.json: layer_types has %zu entries for %u layers",
                         json_array_size(types), m->spec.n_layers);
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const json_t *own = json_array_get(types, i);
        const char *type = json_is_string(own) ? json_string_value(own) : "(not a string)";
        bool chunked = own ? strcmp(type, "chunked_attention") == 0 : rotates[i];
        if (own && !chunked && strcmp(type, "full_attention") != 0)
            return error_set(e, ERR_INPUT, "config.json: layer_types[%u]: '%.40s' is not supported", i, type);
        m->spec.layers[i].window = chunked ? chunk : 0;
        m->spec.layers[i].chunked = chunked && chunk;
    }
    return true;
}

/* Decides which layers have experts: those that the list moe_layers names or, without the list, every
 * interleave_moe_layer_step-th. The others get a plain MLP of intermediate_size_mlp columns. */
static bool read_mixtures(Model *m, const json_t *config, Error *e) {
    uint32_t step = 1, dense = 16384, n = m->spec.n_layers;
    bool *mixture = arena_alloc(&m->arena, n * sizeof *mixture);
    /* The keys, with the defaults of Llama4TextConfig. */
    if (!config_read_u32(config, "interleave_moe_layer_step", 1, INT32_MAX, &step, e) ||
        !config_read_u32(config, "intermediate_size_mlp", 1, 1 << 22, &dense, e) ||
        !config_read_experts(m, config, "num_local_experts", e))
        return false;
    /* The default pattern; moe_layers then replaces it if it is there. */
    for (uint32_t i = 0; i < n; i++)
        mixture[i] = (i + 1) % step == 0;
    if (!config_read_layer_list(m, config, "moe_layers", mixture, e)) return false;
    for (uint32_t i = 0; i < n; i++)
        if (!mixture[i]) make_dense(&m->spec.layers[i], dense);
    return true;
}

/* HfClass.read: reads the keys that Llama4TextConfig has beside the common ones. The defaults are those of
 * that class; no_rope_layers (1 for each layer that rotates) decides about norms and temperature too. */
static bool read_config(Model *m, const json_t *config, Error *e) {
    uint32_t chunk = CHUNK;
    bool norm = true, tuning = true;
    bool *rotates = arena_alloc(&m->arena, m->spec.n_layers * sizeof *rotates);
    double scale = temperature_scale, length = CHUNK;
    if (!config_read_bool(config, "use_qk_norm", &norm, e) ||
        !config_read_bool(config, "attn_temperature_tuning", &tuning, e) ||
        !config_read_real(config, "attn_scale", &scale, e) ||
        !config_read_real(config, "floor_scale", &length, e) ||
        !config_read_window(config, "attention_chunk_size", &chunk, e) ||
        !config_read_no_rope_layers(m, config, rotates, e) || !read_chunks(m, config, rotates, chunk, e) ||
        !read_mixtures(m, config, e))
        return false;
    /* The class divides positions by floor_scale and rounds down; the spec keeps it as a number of tokens. */
    if (!(length >= 1 && length <= 1 << 30 && length == floor(length)))
        return error_set(e, ERR_INPUT, "config.json: floor_scale is %g, not a number of tokens", length);
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        set_position(&m->spec.layers[i], rotates[i], norm, tuning ? scale : 0, length);
    return true;
}

/* GgufArch.read: fills in the constants of the architecture. llama.cpp takes a window of 0 as a request for a
 * model without chunks, in which only the last layer would not rotate; no published model is meant so, and it
 * is refused. */
static bool read_gguf(Model *m, const Checkpoint *c, Error *e) {
    uint64_t step = 1, dense = 0, window;
    if (arch_get_u64(c, "attention.sliding_window", &window) && window == 0)
        return arch_error(e, c, "attention.sliding_window", " is 0: models without chunks are not supported");
    arch_get_u64(c, "interleave_moe_layer_step", &step);
    arch_get_u64(c, "feed_forward_length", &dense);
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        LayerSpec *l = &m->spec.layers[i];
        set_position(l, !every_fourth(i), l->n_experts != WITHOUT_NORM, temperature_scale, CHUNK);
        l->window = every_fourth(i) ? 0 : CHUNK;
        l->chunked = !every_fourth(i);
        if (!step || (i + 1) % step) make_dense(l, (uint32_t)dense);
    }
    return true;
}

/* Family.rotates: the pattern of the published models, which no_rope_layers of a configuration may override.
 */
static bool rotates(const Model *m, uint32_t layer) {
    (void)m;
    return !every_fourth(layer);
}

/* HfClass.can: the class has one switch for norms of queries and keys in the layers that rotate
 * (use_qk_norm), and one for the attention temperature in the layers that do not (attn_temperature_tuning).
 * So all layers of one kind have to agree with the first of that kind. */
static bool can(const Model *m, char *why, size_t size) {
    const LayerSpec *rotating = NULL, *still = NULL;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i], **first = l->position == POSITION_NOPE ? &still : &rotating;
        if (!*first) *first = l;
        if (l->q_norm != (*first)->q_norm || l->temperature_scale != (*first)->temperature_scale)
            return refuse_because(
                why, size, "norms and scales queries in all layers that rotate alike, and in the others");
        if (l->position == POSITION_NOPE && l->q_norm != QK_NORM_NONE)
            return refuse_because(why, size, "norms queries and keys in layers that rotate only");
        if (l->position != POSITION_NOPE && l->temperature_scale)
            return refuse_because(why, size, "scales queries by position in layers that do not rotate only");
        if (l->window && !l->chunked)
            return refuse_because(why, size, "supports chunks, not sliding windows");
    }
    return true;
}

/* The first layer that passes a test; NULL if none does. */
static const LayerSpec *find(const Model *m, bool (*is)(const LayerSpec *l)) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (is(&m->spec.layers[i])) return &m->spec.layers[i];
    return NULL;
}

/* A test for find(): the layer has a plain MLP. */
static bool is_dense(const LayerSpec *l) {
    return !l->n_experts;
}

/* A test for find(): queries and keys are normalized. */
static bool is_normed(const LayerSpec *l) {
    return l->q_norm != QK_NORM_NONE;
}

/* A test for find(): queries are multiplied by an attention temperature. */
static bool has_temperature(const LayerSpec *l) {
    return l->temperature_scale != 0;
}

/* HfClass.write: writes every key that read_config reads. Where a key holds for several layers, its value is
 * taken from the first layer that it applies to; `can` has made sure that these agree. */
static void write_config(const Model *m, json_t *config) {
    const LayerSpec *mixture = model_moe_layer(m), *dense = find(m, is_dense),
                    *with_temperature = find(m, has_temperature), *chunked = model_layer_by_window(m, true);
    json_t *types = json_array(), *moe = json_array();
    /* The lists with an entry for each layer, and the list of the layers with experts. */
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        json_array_append_new(types, json_string(l->window ? "chunked_attention" : "full_attention"));
        if (l->n_experts) json_array_append_new(moe, json_integer(i));
    }
    config_set_no_rope_layers(m, config);
    json_object_set_new(config, "layer_types", types);
    json_object_set_new(config, "moe_layers", moe);
    config_set_experts(m, config, "num_local_experts");
    /* Two widths: of the experts and of the plain MLPs. */
    if (mixture->n_experts) json_object_set_new(config, "intermediate_size", json_integer(mixture->ffn_dim));
    if (dense) json_object_set_new(config, "intermediate_size_mlp", json_integer(dense->ffn_dim));
    /* Norms and attention temperature. */
    json_object_set_new(config, "use_qk_norm", json_boolean(find(m, is_normed) != NULL));
    json_object_set_new(config, "attn_temperature_tuning", json_boolean(with_temperature != NULL));
    if (with_temperature) {
        json_object_set_new(config, "attn_scale", json_real(with_temperature->temperature_scale));
        json_object_set_new(config, "floor_scale",
                            json_integer((json_int_t)with_temperature->temperature_floor));
    }
    json_object_set_new(config, "attention_chunk_size", json_integer(chunked ? chunked->window : CHUNK));
}

/* The value of interleave_moe_layer_step: layers step - 1, 2 step - 1, ... have experts, so the first layer
 * with experts determines it. n_layers + 1 if no layer has any. */
static uint32_t moe_step(const Model *m) {
    uint32_t step = 0;
    while (step < m->spec.n_layers && !m->spec.layers[step].n_experts)
        step++;
    return step + 1;
}

/* GgufArch.can: checks that the model agrees with everything that llama.cpp computes by constants: experts in
 * every step-th layer, chunks of 8192 tokens in all but every fourth layer, norms unless there are 128
 * experts, and the temperature of the published models. */
static bool gguf_can(const Model *m, char *why, size_t size) {
    uint32_t step = moe_step(m), n_experts = 0;
    /* First the layers with experts, because their number decides whether there are norms. */
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->n_experts) n_experts = l->n_experts;
        if ((l->n_experts > 0) != ((i + 1) % step == 0))
            return refuse_because(why, size, "requires experts in every nth layer");
    }
    /* Then the layers' windows, norms and temperatures. The scale is compared as float, because that is how
     * llama.cpp has its constant. */
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        bool whole = every_fourth(i);
        if (whole ? !layer_is_global(m, l) : l->window != CHUNK || !l->chunked)
            return refuse_because(why, size, "requires chunks of %d tokens in all but every fourth layer",
                                  CHUNK);
        if (is_normed(l) != (!whole && n_experts != WITHOUT_NORM))
            return refuse_because(
                why, size, "norms queries and keys in all but every fourth layer, and not with %d experts",
                WITHOUT_NORM);
        if (whole ? (float)l->temperature_scale != 0.1f || l->temperature_floor != CHUNK
                  : l->temperature_scale != 0)
            return refuse_because(why, size, "scales queries by 0.1 and %d in every fourth layer", CHUNK);
    }
    return n_experts > 0 || refuse_because(why, size, "requires experts");
}

/* GgufArch.write: in this architecture feed_forward_length is the width of the plain MLPs; the experts' width
 * is in expert_feed_forward_length, which the quirk GGUF_EXPERT_FFN_KEY writes. */
static void write_gguf(const Model *m, Checkpoint *out) {
    const LayerSpec *dense = find(m, is_dense);
    arch_set_u32(out, "interleave_moe_layer_step", moe_step(m));
    if (dense) arch_set_u32(out, "feed_forward_length", dense->ffn_dim);
}

const Family family_llama4 = {
    .name = "llama4_text",
    .tensors = tensors,
    .model = {.norm_eps = 1e-5, .context = 131072},
    .layer = {.rope_base = 500000,
              .n_kv_heads = 8,
              .head_dim = 128,
              .q_norm = QK_NORM_UNIT,
              .k_norm = QK_NORM_UNIT,
              .n_experts = 16,
              .top_k = 1,
              .routing = ROUTING_OF_INPUT,
              .shared_expert = true},
    .rotates = rotates,
    .rotates_where = "all but every fourth layer",
    .hf = {.model_type = "llama4_text",
           .since = "4.51",
           .architecture = "Llama4ForCausalLM",
           .reads = "num_local_experts num_experts_per_tok intermediate_size_mlp interleave_moe_layer_step "
                    "moe_layers use_qk_norm attention_chunk_size layer_types attn_temperature_tuning "
                    "attn_scale floor_scale",
           .ignores = "for_llm_compressor",
           .quirks = HF_INTERLEAVED_ROPE | HF_NO_ROPE_LAYERS_KEY | HF_ATTENTION_BIAS_KEY,
           .rope_scalings = 1u << ROPE_SCALING_LLAMA3,
           .read = read_config,
           .can = can,
           .write = write_config},
    .gguf = {.arch = "llama4",
             .since = "2025-04",
             .quirks = GGUF_INTERLEAVED_ROPE | GGUF_NO_O_BIAS | GGUF_EXPERT_FFN_KEY,
             .rope_scalings = 1u << ROPE_SCALING_LLAMA3,
             .read = read_gguf,
             .can = gguf_can,
             .write = write_gguf},
};

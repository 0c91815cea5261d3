/* Llama 4's text model (transformers' modeling_llama4.py, llama.cpp's llama4). Three layers of four rotate,
 * see only their own chunk of the text, and norm each head of queries and keys without a weight, after the
 * rotation. Each fourth layer sees everything, does not rotate, and multiplies queries by a temperature that
 * grows with their position. Layers with experts have one more expert, which all tokens pass; the router's
 * sigmoid multiplies an expert's input. */
#include <math.h>
#include <string.h>

#include "formats/json.h"
#include "surgery/arch_keys.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

#define FFN "model.layers.%d.feed_forward."
/* All experts' gate or up in one tensor, transposed; HF has the columns of gate, then those of up. */
#define HALF(role, gguf)                                                                                     \
    { role, FFN "experts.gate_up_proj", gguf, FUSED_GATE_UP, FUSED_NOT, true, true }

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

/* llama.cpp's architecture has these numbers as constants and reads no keys for them: the chunk, which layers
 * see everything, and the number of experts of Maverick (128), which has no norms on queries and keys. */
enum { CHUNK = 8192, EVERY = 4, WITHOUT_NORM = 128 };
static const double temperature_scale = 0.1;

/* Layers 3, 7, 11, ... see everything and do not rotate. */
static bool every_fourth(uint32_t layer) {
    return (layer + 1) % EVERY == 0;
}

/* A layer without experts has an MLP of another width and no shared expert. */
static void make_dense(LayerSpec *l, uint32_t ffn) {
    l->n_experts = l->top_k = 0;
    l->routing = ROUTING_OF_CHOSEN;
    l->shared_expert = false;
    l->ffn_dim = ffn;
}

/* Layers that rotate norm queries and keys; the others scale queries by their position. */
static void set_position(LayerSpec *l, bool rotates, bool norm, double scale, double length) {
    l->q_norm = l->k_norm = rotates && norm ? QK_NORM_UNIT : QK_NORM_NONE;
    l->temperature_scale = rotates ? 0 : scale;
    l->temperature_floor = length;
    if (!rotates) layer_drop_rope(l);
}

/* layer_types says "chunked_attention" or "full_attention"; without it, layers that rotate are chunked. */
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

/* Layers with experts are those of moe_layers; without it, every `step`-th. */
static bool read_mixtures(Model *m, const json_t *config, Error *e) {
    uint32_t step = 1, dense = 16384, n = m->spec.n_layers;
    bool *mixture = arena_alloc(&m->arena, n * sizeof *mixture);
    if (!config_read_u32(config, "interleave_moe_layer_step", 1, INT32_MAX, &step, e) ||
        !config_read_u32(config, "intermediate_size_mlp", 1, 1 << 22, &dense, e) ||
        !config_read_experts(m, config, "num_local_experts", e))
        return false;
    for (uint32_t i = 0; i < n; i++)
        mixture[i] = (i + 1) % step == 0;
    if (!config_read_layer_list(m, config, "moe_layers", mixture, e)) return false;
    for (uint32_t i = 0; i < n; i++)
        if (!mixture[i]) make_dense(&m->spec.layers[i], dense);
    return true;
}

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
    if (!(length >= 1 && length <= 1 << 30 && length == floor(length)))
        return error_set(e, ERR_INPUT, "config.json: floor_scale is %g, not a number of tokens", length);
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        set_position(&m->spec.layers[i], rotates[i], norm, tuning ? scale : 0, length);
    return true;
}

/* A window of 0 makes llama.cpp's last layer alone go unrotated, which no model means. */
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

/* As published; a configuration may say otherwise. */
static bool rotates(const Model *m, uint32_t layer) {
    (void)m;
    return !every_fourth(layer);
}

/* The class norms queries and keys in all layers that rotate or in none (use_qk_norm), and scales queries by
 * position in all others or in none (attn_temperature_tuning). */
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

static bool is_dense(const LayerSpec *l) {
    return !l->n_experts;
}

static bool is_normed(const LayerSpec *l) {
    return l->q_norm != QK_NORM_NONE;
}

static bool has_temperature(const LayerSpec *l) {
    return l->temperature_scale != 0;
}

/* What read_config reads. Settings of layers are taken from the first layer that has them. */
static void write_config(const Model *m, json_t *config) {
    const LayerSpec *mixture = model_moe_layer(m), *dense = find(m, is_dense),
                    *with_temperature = find(m, has_temperature), *chunked = model_layer_by_window(m, true);
    json_t *types = json_array(), *moe = json_array();
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        json_array_append_new(types, json_string(l->window ? "chunked_attention" : "full_attention"));
        if (l->n_experts) json_array_append_new(moe, json_integer(i));
    }
    config_set_no_rope_layers(m, config);
    json_object_set_new(config, "layer_types", types);
    json_object_set_new(config, "moe_layers", moe);
    config_set_experts(m, config, "num_local_experts");
    if (mixture->n_experts) json_object_set_new(config, "intermediate_size", json_integer(mixture->ffn_dim));
    if (dense) json_object_set_new(config, "intermediate_size_mlp", json_integer(dense->ffn_dim));
    json_object_set_new(config, "use_qk_norm", json_boolean(find(m, is_normed) != NULL));
    json_object_set_new(config, "attn_temperature_tuning", json_boolean(with_temperature != NULL));
    if (with_temperature) {
        json_object_set_new(config, "attn_scale", json_real(with_temperature->temperature_scale));
        json_object_set_new(config, "floor_scale",
                            json_integer((json_int_t)with_temperature->temperature_floor));
    }
    json_object_set_new(config, "attention_chunk_size", json_integer(chunked ? chunked->window : CHUNK));
}

/* The first layer with experts tells the step: layers step - 1, 2 step - 1, ... have some. */
static uint32_t moe_step(const Model *m) {
    uint32_t step = 0;
    while (step < m->spec.n_layers && !m->spec.layers[step].n_experts)
        step++;
    return step + 1;
}

/* Everything that llama.cpp computes by constants has to be so in the model. */
static bool gguf_can(const Model *m, char *why, size_t size) {
    uint32_t step = moe_step(m), n_experts = 0;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->n_experts) n_experts = l->n_experts;
        if ((l->n_experts > 0) != ((i + 1) % step == 0))
            return refuse_because(why, size, "requires experts in every nth layer");
    }
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

/* feed_forward_length is the width of layers without experts here. */
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
           .quirks = HF_INTERLEAVED_ROPE | HF_NO_ROPE_LAYERS_KEY,
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

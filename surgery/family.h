/* A family: how one kind of checkpoint names its tensors and its settings. The head of
 * surgery/families/families.c tells how to add one. */
#ifndef DEROPE_SURGERY_FAMILY_H
#define DEROPE_SURGERY_FAMILY_H

#include "surgery/fused.h"
#include "surgery/model.h"

/* One row per tensor of the family. "%d" stands for the layer, "%e" for the expert where each has a tensor of
 * its own. */
typedef struct TensorName {
    TensorRole role;
    const char *hf;   /* "model.layers.%d.self_attn.q_proj.weight" */
    const char *gguf; /* "blk.%d.attn_q.weight" */
    /* Several rows may name the same tensor: then this says how they lie in it. */
    Fused hf_fused, gguf_fused;
    bool experts; /* for layers with experts; rows of an MLP's tensors that lack it are for the others */
    bool hf_transposed; /* HF has columns where we have rows */
} TensorName;

#define TENSOR(role_, hf_, gguf_)                                                                            \
    { .role = (role_), .hf = (hf_), .gguf = (gguf_) }
#define TENSOR_OF_EXPERTS(role_, hf_, gguf_)                                                                 \
    { .role = (role_), .hf = (hf_), .gguf = (gguf_), .experts = true }
#define TENSOR_FUSED(role_, hf_, hf_fused_, gguf_, gguf_fused_)                                              \
    { .role = (role_), .hf = (hf_), .gguf = (gguf_), .hf_fused = (hf_fused_), .gguf_fused = (gguf_fused_) }
#define TENSORS_END                                                                                          \
    { .hf = NULL }

/* A key of config.json that the family calls otherwise. */
typedef struct KeyName {
    const char *usual, *own; /* "rms_norm_eps", "layer_norm_eps" */
} KeyName;

typedef struct Family {
    const char *name;               /* "llama": what inspect prints */
    const char *const *model_types; /* config.json "model_type" values, NULL-terminated */
    const char *const *gguf_archs;  /* general.architecture values, NULL-terminated; NULL: none */
    const TensorName *tensors;      /* TENSORS_END at the end; of two rows for one role either may be there */
    const KeyName *keys;            /* ends with a NULL `usual`; NULL: all are called as usual */

    /* What its models have in common, and what holds where a file says nothing: read into every spec first.
     * layer.n_kv_heads 0: as many as heads; layer.head_dim 0: the width divided by the heads. */
    ModelSpec model;
    LayerSpec layer;
    /* Share of a head that rotates; 0: all of it. */
    double rotary_part;
    /* Its q/k rows are interleaved, in HF's files (Cohere) or in GGUFs (llama, granite), not half-split. */
    bool hf_interleaved, gguf_interleaved;
    /* Which layers rotate (NULL: every layer), and the same in words: "layers with a window". */
    bool (*rotates)(const Model *m, uint32_t layer);
    const char *rotates_where;
    /* Windowed layers have a rope base of their own, unscaled (rope_local_base_freq, rope.freq_base_swa). */
    bool window_base;
    /* Its model type is nobody's but its author's: outputs get another. */
    bool custom_code;

    /* The common settings have been read; these add what is particular, per layer. May be NULL. */
    bool (*read_config)(Model *m, const json_t *config, Error *e);
    bool (*read_gguf)(Model *m, const Checkpoint *c, Error *e);

    /* Its own architectures as carriers (surgery/carrier.h): whether they can say what the spec says but for
     * which layers rotate (NULL: no layer has a window), and what they say beside the common settings (NULL:
     * nothing). HF's are asked where config.json is not there or cannot be kept. The carriers that write HF's
     * configuration or GGUFs instead; NULL: own does. */
    const char *config_carrier, *gguf_carrier;
    bool (*config_can)(const Model *m, char *why, size_t why_size);
    void (*write_config)(const Model *m, json_t *config);
    bool (*gguf_can)(const Model *m, char *why, size_t why_size);
    void (*write_gguf)(const Model *m, Checkpoint *out);
    /* The configuration holds the softmax scale: writes it. NULL: it is 1/sqrt(head_dim). What it then says;
     * NULL: the model's. llama.cpp's own scale; NULL: 1/sqrt(head_dim), or a key. q_proj takes what differs
     * from the model's. */
    void (*write_softmax_scale)(const Model *m, json_t *config);
    double (*config_softmax_scale)(const Model *m);
    double (*gguf_softmax_scale)(const ModelSpec *s);
    /* Bits 1 << RopeScalingKind: what rope_scaling and rope.scaling may say; 0: for HF all, for GGUF linear
     * and YaRN, whose keys every architecture reads. */
    uint32_t config_scalings, gguf_scalings;

    /* transformers' class: its name ("LlamaForCausalLM"), and what is odd about its keys. */
    const char *architecture;
    bool attention_bias_key, mlp_bias_key; /* attention_bias and mlp_bias say whether there are any */
    bool no_o_bias;                        /* biases of q, k and v alone */
    bool rotation_key;    /* no_rope_layers says of each layer whether it rotates; so config_can is asked */
    bool rotary_part_key; /* a partial_rotary_factor of 0 stops the rotation */
    bool old_rope_type;   /* rope_scaling's "rope_type" has to be the older "type" */
    bool head_dim_key;    /* a scaled rotation needs head_dim stated */
    bool ffn_of_four;     /* an MLP is four times as wide as the model where its key is absent */
    /* llama.cpp's architecture. */
    bool gguf_no_o_bias;   /* no bias after attention */
    bool gguf_needs_head;  /* output.weight is there, tied or not */
    bool gguf_rounds_yarn; /* YaRN's ramp there ends at whole dimensions, as all of its files have it */
    bool gguf_expert_ffn;  /* the width of an expert has a key of its own */
} Family;

/* NULL-terminated. */
extern const Family *const families[];
const Family *family_by_model_type(const char *model_type);
/* The first that has it; several may (family_has_arch), of them one with `experts`, or one without, first. */
const Family *family_by_gguf_arch(const char *arch, bool experts);
bool family_has_arch(const Family *f, const char *arch);

/* Whether the row is one for this layer (NULL: outside the layers), with experts or without. */
bool row_fits(const TensorName *row, const LayerSpec *l);

/* The names shared by every family of Llama's shape; by those with norms after attention and MLP (Gemma 2,
 * OLMo 2); those of OLMoE; and of Granite SWA, with experts or without. */
extern const TensorName llama_tensors[], sandwich_tensors[], olmoe_tensors[], granite_swa_tensors[];

/* A window this long in a GGUF means that there is none. */
enum { GGUF_NO_WINDOW = 1 << 24 };

/* ---- for the hooks ---- */

/* Windows in all but every `every`-th layer ((i + 1) % every == 0); 0: in all. */
void set_window_pattern(Model *m, uint32_t window, uint64_t every);
/* `layer_types` of a config ("sliding_attention" / "full_attention") and `window` onto the layers. Absent
 * list: nothing happens. */
bool read_layer_types(Model *m, const json_t *config, uint32_t window, Error *e);
/* Layers with a window rotate whole heads unscaled, even where a factor stops the others. */
void unscale_windowed(Model *m);
/* Rotation off in layer i. */
void layer_drop_rope(LayerSpec *l);
/* GGUF: attention.sliding_window_pattern (a flag per layer, or a number n: every nth layer has none; `every`
 * is that n where the key is absent) and `window` onto the layers. */
bool read_gguf_window_pattern(Model *m, const Checkpoint *c, uint32_t window, uint64_t every, Error *e);
/* GGUF: attention.sliding_window, left alone where it is absent. */
bool gguf_window(const Checkpoint *c, uint32_t *window, Error *e);
/* The two keys. */
void write_gguf_window_pattern(const Model *m, Checkpoint *out);
void gguf_write_real(Checkpoint *out, const char *suffix, double v);
/* no_rope_layers of a config: 1 for layers that rotate. */
void write_no_rope_layers(const Model *m, json_t *config);
/* Granite's multipliers in a config. */
void write_multipliers(const Model *m, json_t *config);
/* layer_types and sliding_window of a config; `if_none`: the window where no layer has one, 0: null. */
void write_layer_types(const Model *m, json_t *config, uint32_t if_none);
/* "<arch>.<suffix>" of a GGUF. */
const char *arch_key(char out[128], const Checkpoint *c, const char *suffix);
/* Reads it; `*out` is left alone where the key is absent. False if it is no finite number. */
bool arch_real(const Checkpoint *c, const char *suffix, double *out, Error *e);
/* The same for a key of config.json, absent or null. */
bool config_real(const json_t *config, const char *key, double *out, Error *e);
/* A whole number from `low` to `high`, and true or false, for which Python takes numbers too; left alone
 * where the key is absent or null. */
bool config_count(const json_t *config, const char *key, uint32_t low, uint32_t high, uint32_t *out,
                  Error *e);
bool config_flag(const json_t *config, const char *key, bool *out, Error *e);
/* A list of layers: listed[i] is set for all n_layers; an absent or null list leaves it alone. Numbers beyond
 * the model's layers mean nothing. */
bool config_layers(const Model *m, const json_t *config, const char *key, bool *listed, Error *e);
/* no_rope_layers of a config, or no_rope_layer_interval where it is absent or empty, onto rotates[n_layers].
 */
bool read_no_rope_layers(const Model *m, const json_t *config, bool *rotates, Error *e);
/* The family's own name for a key of config.json. */
const char *config_key(const Family *f, const char *usual);
/* How many experts there are (by `key`) and how many a token passes, onto all layers; absent keys leave what
 * the family has. */
bool config_experts(Model *m, const json_t *config, const char *key, Error *e);
/* The two keys. */
void write_experts(const Model *m, json_t *config, const char *key);
/* A number of tokens, 1 to 2^31 - 1. Null is 0: none; an absent key leaves `*out` alone. */
bool config_window(const json_t *config, const char *key, uint32_t *out, Error *e);

/* ---- the two readers behind model_open ---- */

/* config.json into m->spec (layers allocated), by m->family. */
bool spec_from_config(Model *m, const json_t *config, Error *e);
bool spec_from_gguf(Model *m, const Checkpoint *c, Error *e);

#endif

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

/* A key of config.json to which the family's class gives a name of its own. */
typedef struct KeyName {
    const char *usual, *own; /* "rms_norm_eps", "layer_norm_eps" */
} KeyName;

/* Ways in which a transformers class differs from the common one. The bits of HfClass.quirks. */
typedef enum HfQuirk {
    HF_INTERLEAVED_ROPE = 1 << 0, /* rotation pairs rows 2i and 2i+1 of a head of q and k, not i and i+d/2 */
    HF_ATTENTION_BIAS_KEY = 1 << 1, /* the key attention_bias says whether q, k, v and o have biases */
    HF_MLP_BIAS_KEY = 1 << 2,       /* the key mlp_bias says whether the MLP has biases */
    HF_NO_O_BIAS = 1 << 3,          /* where q, k and v have biases, the output projection has none */
    HF_NO_ROPE_LAYERS_KEY = 1 << 4, /* no_rope_layers says of each layer whether it rotates */
    HF_PARTIAL_ROTARY_KEY = 1 << 5, /* partial_rotary_factor is read, and 0 stops the rotation */
    HF_OLD_ROPE_TYPE_KEY = 1 << 6,  /* rope_scaling needs the key "type", which others call "rope_type" */
    HF_HEAD_DIM_KEY = 1 << 7,       /* head_dim has to be stated where rope_scaling is */
    HF_FFN_DEFAULT_4X = 1 << 8,     /* without a key the MLP has 4 * hidden_size columns */
    HF_CUSTOM_CODE = 1 << 9,        /* the model type exists in its author's code only: outputs get another */
} HfQuirk;

/* A family in transformers: the class, how its config.json is read, and what it can be made to say. */
typedef struct HfClass {
    const char *model_type;   /* "llama": config.json's "model_type", by which the family is found */
    const char *architecture; /* "LlamaForCausalLM": config.json's "architectures"; NULL for custom code */
    const KeyName *keys;      /* ends with a NULL `usual`; NULL: all keys have their usual names */
    uint32_t quirks;          /* HfQuirk bits */
    uint32_t rope_scalings;   /* bits 1 << RopeScalingKind that rope_scaling may name; 0: all of them */
    const char *carrier;      /* the carrier that writes this class where the layers changed; NULL: "own" */
    /* Called when the settings common to all families are read: adds what is particular, per layer. May be
     * NULL, as all hooks here. */
    bool (*read)(Model *m, const json_t *config, Error *e);
    /* Whether the class can say what the spec says, apart from which layers rotate; otherwise false with the
     * reason in `why`. Asked when there is no config.json or it cannot be kept. NULL: it can, if no layer has
     * a window. */
    bool (*can)(const Model *m, char *why, size_t why_size);
    /* Writes into `config` what `read` reads beside the common settings. */
    void (*write)(const Model *m, json_t *config);
    /* Writes the key that holds the softmax scale. NULL: there is none, the class takes 1/sqrt(head_dim) and
     * q_proj is multiplied by the difference. */
    void (*write_softmax_scale)(const Model *m, json_t *config);
    /* The softmax scale that the written key stands for, where it cannot hold every number. NULL: the
     * model's. */
    double (*softmax_scale)(const Model *m);
} HfClass;

/* Ways in which llama.cpp's architecture differs from the common one. The bits of GgufArch.quirks. */
typedef enum GgufQuirk {
    GGUF_INTERLEAVED_ROPE = 1 << 0, /* rotation pairs rows 2i and 2i+1 of a head of q and k */
    GGUF_NO_O_BIAS = 1 << 1,        /* attn_output has no bias */
    GGUF_NEEDS_HEAD = 1 << 2,       /* output.weight has to be there even if it is the embedding's copy */
    GGUF_ROUNDED_YARN = 1 << 3,   /* YaRN's ramp ends at whole dimensions, also where config.json says not */
    GGUF_EXPERT_FFN_KEY = 1 << 4, /* expert_feed_forward_length holds the columns of an expert's MLP */
} GgufQuirk;

/* A family in llama.cpp: the architecture, how its keys are read, and what it can be made to say. */
typedef struct GgufArch {
    const char *arch;       /* "llama": general.architecture, by which the family is found; NULL: none */
    uint32_t quirks;        /* GgufQuirk bits */
    uint32_t rope_scalings; /* bits 1 << RopeScalingKind read beside linear and YaRN, which all read */
    const char *carrier;    /* the carrier that writes this architecture; NULL: "own" */
    /* As HfClass has them, for a GGUF's keys. */
    bool (*read)(Model *m, const Checkpoint *c, Error *e);
    bool (*can)(const Model *m, char *why, size_t why_size);
    void (*write)(const Model *m, Checkpoint *out);
    /* The softmax scale that llama.cpp takes. NULL: 1/sqrt(head_dim), or what a key says. */
    double (*softmax_scale)(const ModelSpec *s);
} GgufArch;

typedef struct Family {
    const char *name; /* "llama": what inspect prints, and the model type of outputs made of a GGUF */
    const TensorName *tensors; /* TENSORS_END at the end; of two rows for one role either may be there */
    /* What its models have in common, and what holds where a file says nothing: every spec starts as a copy.
     * layer.n_kv_heads 0: as many as heads; layer.head_dim 0: hidden_size / n_heads. */
    ModelSpec model;
    LayerSpec layer;
    double rotary_part; /* fraction of each head's dimensions that rotates; 0: all of them */
    /* Whether a layer rotates where nothing was dropped (NULL: every layer does), and which ones those are in
     * words: "layers with a window". */
    bool (*rotates)(const Model *m, uint32_t layer);
    const char *rotates_where;
    /* Layers with a window have a rope base of their own, which no scaling applies to (rope_local_base_freq,
     * rope.freq_base_swa). */
    bool window_base;
    HfClass hf;
    GgufArch gguf;
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
/* Granite's multipliers in a GGUF: embedding_scale, residual_scale, logit_scale (a divisor), attention.scale.
 */
void gguf_write_multipliers(const Model *m, Checkpoint *out);
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

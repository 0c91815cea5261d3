/* A family: how one kind of checkpoint names its tensors and its settings, in transformers and in llama.cpp.
 * Everything here is data and hooks of one constant for each family, `family_NAME` in
 * surgery/families/NAME.c; surgery/families/families.c lists them, and surgery/README.md tells how to add
 * one. Only the families themselves, and the carriers that write the architectures of other families, depend
 * on which family a model belongs to. All other code reads the spec. */
#ifndef DEROPE_SURGERY_FAMILY_H
#define DEROPE_SURGERY_FAMILY_H

#include "surgery/fused.h"
#include "surgery/model.h"

/* A row of a family's table of tensor names. In a name, "%d" stands for the number of the layer. "%e" stands
 * for the number of the expert in formats that store one tensor for each expert. */
typedef struct TensorName {
    TensorRole role;  /* what the tensor does; its shape follows from this and the spec (surgery/role.h) */
    const char *hf;   /* "model.layers.%d.self_attn.q_proj.weight" */
    const char *gguf; /* "blk.%d.attn_q.weight"; "": the architecture has no such tensor */
    /* If several rows have the same name, the file stores their tensors fused into one. These fields say
     * how. */
    Fused hf_fused, gguf_fused;
    bool experts; /* MLP tensors of layers with experts; rows without it are for layers with a plain MLP */
    bool hf_transposed; /* HF's file stores the matrix as [in, out] instead of [out, in] */
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

/* A key of config.json that would change what the class computes in a way that derope does not have. */
typedef struct KeyLimit {
    const char *key; /* "is_causal" */
    /* The only value that is accepted: a number, or 1 and 0 for true and false. null, an empty string and an
     * empty list or mapping count as 0. */
    double neutral;     /* NAN: no value is accepted */
    const char *effect; /* what any other value does, for the error: "tokens attend to later ones" */
} KeyLimit;

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
    HF_OWN_HEAD_DIM =
        1 << 10, /* a head always has hidden_size / n_heads dimensions, whatever head_dim says */
    HF_SCALED_BY_DEFAULT =
        1 << 11, /* without rope_scaling the class has one: "default" is written for none */
} HfQuirk;

/* A family in transformers: its class, how its config.json is read and written, and which models it can
 * express. */
typedef struct HfClass {
    const char *model_type; /* "llama": config.json's "model_type", by which the family is found */
    const char *since;      /* the first release of transformers with the class, "4.28"; NULL: custom code */
    const char *architecture; /* "LlamaForCausalLM": config.json's "architectures"; NULL for custom code */
    const KeyName *keys;      /* ends with a NULL `usual`; NULL: all keys have their usual names */
    /* Second names that transformers 5 takes for a key of the class (its attribute_map), and that win over
     * it: {"num_experts", "num_local_experts"} is a key and its second name. Ends with a NULL `usual`. */
    const KeyName *second_names;
    /* Keys that the class reads beside those of all classes (surgery/config_check.c), separated by spaces:
     * "sliding_window layer_types". */
    const char *reads;
    /* Keys that published files of the family have and that no release of the class reads, separated by
     * spaces. They are ignored without a notice. */
    const char *ignores;
    const KeyLimit *limits; /* ends with a NULL `key`; NULL: none beside those of all classes */
    /* Keys that no other class has, NULL-terminated: an output of another class does not keep them. */
    const char *const *private_keys;
    uint32_t quirks;         /* HfQuirk bits */
    uint32_t rope_scalings;  /* bits 1 << RopeScalingKind that rope_scaling may name; 0: all of them */
    const char *carrier;     /* the carrier that writes this class where the layers changed; NULL: "own" */
    double original_context; /* original_max_position_embeddings where the key is absent; 0: no default */
    /* Where layers with a window have a rope base of their own, its default; 0: all layers have one base.
     * Then rope_parameters has a mapping for each type of layer, and the legacy key rope_scaling is about
     * layers without a window. */
    double window_base;
    const char *window_base_key; /* the legacy key of that base, "rope_local_base_freq"; NULL: none */
    /* Rewrites settings that releases of transformers understand differently into such that all understand
     * alike, before anything is read. Called with the configuration that will be read and written. */
    void (*amend)(Model *m, json_t *config);
    /* Reads the settings that only this family has. It is called after the settings common to all families
     * were read. Like every hook of this struct, it may be NULL. */
    bool (*read)(Model *m, const json_t *config, Error *e);
    /* True if the class can express the spec, not counting which layers have RoPE; otherwise false with the
     * reason in `why`. It is called if there is no config.json, or if the config.json cannot be kept. NULL:
     * the class can express every spec without windows. */
    bool (*can)(const Model *m, char *why, size_t why_size);
    /* Writes into `config` the settings that `read` reads. */
    void (*write)(const Model *m, json_t *config);
    /* Writes the key that holds the softmax scale. NULL: the class has no such key and uses 1/sqrt(head_dim),
     * so q_proj is multiplied by the ratio of the two scales. */
    void (*write_softmax_scale)(const Model *m, json_t *config);
    /* The softmax scale that the class computes from the written key, for keys that cannot hold every number.
     * NULL: it is the scale of the model. */
    double (*softmax_scale)(const Model *m);
} HfClass;

/* Ways in which llama.cpp's architecture differs from the common one. The bits of GgufArch.quirks. */
typedef enum GgufQuirk {
    GGUF_INTERLEAVED_ROPE = 1 << 0, /* rotation pairs rows 2i and 2i+1 of a head of q and k */
    GGUF_NO_O_BIAS = 1 << 1,        /* attn_output has no bias */
    GGUF_NEEDS_HEAD = 1 << 2,       /* output.weight has to be there even if it is the embedding's copy */
    GGUF_ROUNDED_YARN = 1 << 3,   /* YaRN's ramp ends at whole dimensions, also where config.json says not */
    GGUF_EXPERT_FFN_KEY = 1 << 4, /* expert_feed_forward_length holds the columns of an expert's MLP */
    GGUF_TIED_HEAD = 1 << 5,      /* the embedding is the output matrix; there is no output.weight */
} GgufQuirk;

/* A family in llama.cpp: its architecture, how its keys are read and written, and which models it can
 * express. */
typedef struct GgufArch {
    const char *arch;       /* "llama": general.architecture, by which the family is found; NULL: none */
    const char *since;      /* the month from which on llama.cpp has the architecture, "2023-08" */
    uint32_t quirks;        /* GgufQuirk bits */
    uint32_t rope_scalings; /* bits 1 << RopeScalingKind read beside linear and YaRN, which all read */
    const char *carrier;    /* the carrier that writes this architecture; NULL: "own" */
    /* These hooks correspond to those of HfClass, but read and write the keys of a GGUF. */
    bool (*read)(Model *m, const Checkpoint *c, Error *e);
    bool (*can)(const Model *m, char *why, size_t why_size);
    void (*write)(const Model *m, Checkpoint *out);
    /* The softmax scale that llama.cpp uses. NULL: 1/sqrt(head_dim), or the value of a key if there is
     * one. */
    double (*softmax_scale)(const ModelSpec *s);
} GgufArch;

/* A family with its two sides, HfClass and GgufArch, and what both have in common. */
typedef struct Family {
    const char *name; /* "llama": what inspect prints, and the model type of outputs made of a GGUF */
    const TensorName *tensors; /* ends with TENSORS_END; if a role has two rows, a file has one of them */
    /* The initial values of every spec of the family: what its models have in common, and the defaults of
     * keys that a file does not have. layer.n_kv_heads 0 means n_heads; layer.head_dim 0 means hidden_size /
     * n_heads. */
    ModelSpec model;
    LayerSpec layer;
    double rotary_part; /* fraction of each head's dimensions that rotates; 0: all of them */
    /* True if a layer has RoPE in the family as it was published (NULL: every layer has it), and a
     * description of these layers for messages: "layers with a window". */
    bool (*rotates)(const Model *m, uint32_t layer);
    const char *rotates_where;
    /* Layers with a window have a rope base of their own, which no scaling applies to (rope_local_base_freq,
     * rope.freq_base_swa). */
    bool window_base;
    HfClass hf;
    GgufArch gguf;
} Family;

/* True if the row applies to layer `l`. Rows of experts apply to layers with experts, rows of a plain MLP to
 * layers without experts, and all other rows to every layer. `l` is NULL for tensors outside the layers. */
static inline bool row_fits(const TensorName *row, const LayerSpec *l) {
    return !l || !role_is_mlp(row->role) || row->experts == (l->n_experts > 0);
}

#endif

/* The model spec: one description of a model that drives the forward pass, the backward pass, both exporters
 * and `inspect`. It is read from a config.json (spec_config.c) or from a GGUF's keys (spec_gguf.c), changed
 * by the passes, and written by a carrier. Beyond the readers and writers nothing asks which family a model
 * is of.
 *
 * The fields of LayerSpec exist once for every layer, because what context extension changes (which layers
 * rotate, how far they see) differs from layer to layer. */
#ifndef DEROPE_SURGERY_SPEC_H
#define DEROPE_SURGERY_SPEC_H

#include <stdbool.h>
#include <stdint.h>

/* How the rotary frequencies are scaled for contexts longer than the trained one. The formulas are in
 * surgery/rope_frequencies.c. */
typedef enum RopeScalingKind {
    ROPE_SCALING_NONE,
    ROPE_SCALING_LINEAR,   /* position interpolation (arXiv 2306.15595): all frequencies divided by factor */
    ROPE_SCALING_DYNAMIC,  /* NTK-aware: the base grows with the length of the text */
    ROPE_SCALING_YARN,     /* YaRN (arXiv 2309.00071), as transformers computes it */
    ROPE_SCALING_LLAMA3,   /* Llama 3.1: low frequencies are divided by factor, high ones stay */
    ROPE_SCALING_LONGROPE, /* LongRoPE (arXiv 2402.13753): a divisor for every frequency */
} RopeScalingKind;

typedef struct RopeScaling {
    RopeScalingKind kind;
    double factor;           /* how many times longer the context becomes */
    double original_context; /* yarn, llama3, longrope: trained length in tokens; 0: the model's context */
    double low_freq_factor;  /* llama3: wavelengths above original_context / low_freq_factor are scaled ... */
    double high_freq_factor; /* ... and those below original_context / high_freq_factor are not */
    double beta_fast;        /* yarn: frequencies that turn more often than this are not scaled; 32 */
    double beta_slow;        /* yarn: those that turn less often than this are scaled fully; 1 */
    double attention_factor; /* yarn, longrope: multiplies cos and sin; 0: rope_default_attention_factor */
    const double
        *short_factors; /* longrope: n_factors divisors up to original_context; in the model's arena */
    const double *long_factors; /* longrope: n_factors divisors for longer texts; in the model's arena */
    uint32_t n_factors;         /* longrope: rotary_dim / 2 */
    bool truncate;              /* yarn: the ends of its ramp are rounded to whole dimensions */
} RopeScaling;

/* How position enters a layer's attention, beside the causal mask and the window. */
typedef enum Position {
    POSITION_ROPE,    /* all of head_dim rotates */
    POSITION_PARTIAL, /* the first rotary_dim dimensions of each head rotate */
    POSITION_NOPE,    /* nothing rotates */
} Position;

/* RMSNorm of queries or keys before their product. */
typedef enum QkNorm {
    QK_NORM_NONE,
    QK_NORM_HEAD, /* over each head, with a weight of head_dim elements (Qwen3) */
    QK_NORM_FULL, /* over all heads together, with a weight of n_heads * head_dim elements (OLMo 2) */
    QK_NORM_UNIT, /* over each head, without a weight, after the rotation (Llama 4) */
} QkNorm;

typedef enum NormKind { NORM_RMS, NORM_LAYER } NormKind;

/* The nonlinearity of an MLP. All names of it are in activation_info. */
typedef enum Activation {
    ACT_SILU,
    ACT_GELU,      /* exact, by the error function */
    ACT_GELU_TANH, /* the tanh approximation */
    ACT_CLIPPED, /* GPT-OSS: g sigmoid(1.702 g) (u + 1), gate g clipped to at most 7, up u to within 7 of 0 */
    ACT_COUNT
} Activation;

/* How the router's logits become a weight, and what that multiplies. */
typedef enum Routing {
    ROUTING_OF_CHOSEN, /* softmax over the chosen experts' logits; multiplies the expert's output */
    ROUTING_OF_ALL,    /* softmax over all logits, of which the chosen are kept; multiplies the output */
    ROUTING_OF_INPUT,  /* sigmoid of the expert's logit; multiplies the expert's input (Llama 4) */
} Routing;

/* How attention and MLP stand to the residual stream x. */
typedef enum ResidualLayout {
    RESIDUAL_SEQUENTIAL,           /* x += attention(norm(x)); x += mlp(norm(x)) */
    RESIDUAL_PARALLEL,             /* x += attention(norm(x)) + mlp(norm2(x)); both read the layer's input */
    RESIDUAL_PARALLEL_SHARED_NORM, /* x += attention(norm(x)) + mlp(norm(x)), with one norm for both */
} ResidualLayout;

typedef struct LayerSpec {
    /* attention: shapes */
    uint32_t n_heads;    /* query heads */
    uint32_t n_kv_heads; /* key/value heads; n_heads is a multiple (GQA) */
    uint32_t head_dim;   /* dimensions of a head, even */

    /* attention: position */
    Position position;
    uint32_t rotary_dim; /* dimensions of a head that rotate; 0 with POSITION_NOPE */
    double rope_base;    /* theta; kept when rotation is dropped, for outputs whose format demands one */
    RopeScaling scaling;
    uint32_t window; /* tokens that a query sees, itself included; 0: all before it (global attention) */
    bool chunked;    /* the window is a chunk: a query sees its own chunk [k window, (k + 1) window) only */

    /* attention: scores */
    double softmax_scale; /* multiplies the scores; usually 1/sqrt(head_dim) */
    /* Attention temperature (Llama 4): if temperature_scale is not 0, queries at position p are multiplied by
     * 1 + temperature_scale ln(1 + floor((p + 1) / temperature_floor)). */
    double temperature_scale, temperature_floor;
    double softcap; /* scores become softcap * tanh(score / softcap); 0: they stay as they are */
    bool sinks;     /* each head has a learned logit that takes part in the softmax and has no value */

    bool q_bias, k_bias, v_bias, o_bias; /* of the four attention projections */
    bool mlp_bias;                       /* of all the MLP's projections, or of all experts' */
    QkNorm q_norm, k_norm;

    /* the block */
    ResidualLayout residual_layout;
    bool no_pre_norms; /* attention and MLP read the residual stream without a norm (OLMo 2) */
    bool post_norms;   /* the outputs of attention and MLP are normed before they are added */

    /* MLP */
    Activation activation;
    bool no_gate;     /* MLP is down(act(up(x))); otherwise it is down(act(gate(x)) * up(x)) */
    uint32_t ffn_dim; /* columns between up and down; with experts, those of one expert */

    /* mixture of experts */
    uint32_t n_experts; /* 0: a plain MLP */
    uint32_t top_k;     /* how many experts a token is dispatched to */
    bool router_bias;   /* the router has a bias of n_experts elements */
    Routing routing;    /* how experts are weighted */
    bool shared_expert; /* one more expert, which every token passes with weight 1 */
} LayerSpec;

typedef struct ModelSpec {
    uint32_t n_layers;
    uint32_t hidden_size;   /* width of the residual stream */
    uint32_t vocab;         /* rows of the embedding */
    uint32_t context;       /* trained length in tokens, as the checkpoint states it */
    NormKind norm;          /* of all norms but QkNorm, which is always an RMSNorm */
    bool norm_bias;         /* LayerNorms have a bias */
    bool unit_offset_norm;  /* norms multiply by 1 + weight (Gemma in HF's files) */
    double norm_eps;        /* epsilon of all norms */
    bool tied_head;         /* the output projection is the embedding matrix */
    bool head_bias;         /* logits have a bias, one element for each token of the vocabulary */
    double embedding_scale; /* multiplies embeddings; 1 */
    double residual_scale;  /* multiplies the output of attention and MLP before it is added; 1 */
    double logit_scale;     /* multiplies logits; 1. Granite's key logits_scaling is its inverse */
    double logit_softcap;   /* then logits become logit_softcap * tanh(logit / logit_softcap); 0: they stay */
    LayerSpec *layers;      /* n_layers of them, in the model's arena */
} ModelSpec;

/* Layer i, or NULL for -1, which stands for tensors outside the layers. */
static inline const LayerSpec *spec_layer(const ModelSpec *s, int i) {
    return i < 0 ? (const LayerSpec *)0 : &s->layers[i];
}

/* ---- changing a spec ---- */

/* Turns a layer's rotation off. The rope base is kept. */
void layer_drop_rope(LayerSpec *l);
/* Gives every layer a window of `window` tokens but each `every`-th, layers every - 1, 2 every - 1, and so on
 * (counted from 0), which see everything. `every` 0: all layers have it. */
void spec_set_windows(ModelSpec *s, uint32_t window, uint64_t every);
/* Makes the layers that have a window rotate whole heads unscaled, whatever the scaling of the others is. */
void spec_unscale_windowed(ModelSpec *s);
/* True if all layers agree on rope base, scaling, window and position, as in most models. */
bool spec_is_uniform(const ModelSpec *s);

/* ---- names ---- */

/* What an activation is called in different places. */
typedef struct ActivationInfo {
    const char *name;      /* in our JSON: "gelu_tanh" */
    const char *hf[4];     /* in config.json (transformers' ACT2FN); the first is written, all are read */
    const char *mlp;       /* an MLP without a gate: "GELU (tanh)" */
    const char *gated_mlp; /* an MLP with a gate: "GeGLU (tanh)" */
} ActivationInfo;
const ActivationInfo *activation_info(Activation a);
/* By its name in config.json; false if it is not one that derope knows. */
bool activation_from_hf(const char *name, Activation *out);

/* "rope", "partial", "nope" */
const char *position_name(Position p);
/* "none", "linear", "dynamic", "yarn", "llama3", "longrope": transformers' rope_type */
const char *rope_scaling_name(RopeScalingKind k);

#endif

/* The model spec: the one description of a model that drives the forward pass, the backward pass, both
 * exporters and inspect. Per layer it says how position enters. Nothing else asks "is this a Llama?". */
#ifndef DEROPE_SURGERY_SPEC_H
#define DEROPE_SURGERY_SPEC_H

#include <stdbool.h>
#include <stdint.h>

typedef enum RopeScalingKind {
    ROPE_SCALING_NONE,
    ROPE_SCALING_LINEAR,   /* position interpolation: angles / factor */
    ROPE_SCALING_DYNAMIC,  /* NTK by length, transformers' "dynamic" */
    ROPE_SCALING_YARN,     /* arXiv 2309.00071, as transformers computes it */
    ROPE_SCALING_LLAMA3,   /* Llama 3.1's frequency bands */
    ROPE_SCALING_LONGROPE, /* arXiv 2402.13753: a divisor for every frequency, others for long texts */
} RopeScalingKind;

typedef struct RopeScaling {
    RopeScalingKind kind;
    double factor;
    double original_context;                  /* yarn, llama3; 0: the model's own context */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn: 32 and 1 */
    /* yarn, longrope: cos and sin are multiplied by it; 0: 0.1 ln(factor) + 1, or longrope's
     * sqrt(1 + ln(factor) / ln(original_context)) */
    double attention_factor;
    const double *short_factors,
        *long_factors; /* longrope: n_factors = rotary_dim / 2, the model's arena's */
    uint32_t n_factors;
    bool truncate; /* yarn: round the ramp's ends to whole dimensions */
} RopeScaling;

typedef enum Position { POSITION_ROPE, POSITION_PARTIAL, POSITION_NOPE } Position;

/* Of each head, over all heads, or of each head without a weight. */
typedef enum QkNorm { QK_NORM_NONE, QK_NORM_HEAD, QK_NORM_FULL, QK_NORM_UNIT } QkNorm;

typedef enum NormKind { NORM_RMS, NORM_LAYER } NormKind;

typedef enum Activation {
    ACT_SILU,
    ACT_GELU,
    ACT_GELU_TANH,
    ACT_CLIPPED, /* GPT-OSS: gate sigmoid(1.702 gate) (up + 1), gate at most 7, up within 7 of 0 */
} Activation;

/* What a chosen expert's share, made of the router's logits, multiplies. */
typedef enum Routing {
    ROUTING_OF_CHOSEN, /* its output, by a softmax over the chosen */
    ROUTING_OF_ALL,    /* its output, by a softmax over all */
    ROUTING_OF_INPUT,  /* its input, by a sigmoid */
} Routing;

/* How attention and MLP stand to the residual stream x. */
typedef enum ResidualLayout {
    RESIDUAL_SEQUENTIAL, /* x += attention(norm(x)); x += mlp(norm(x)) */
    RESIDUAL_PARALLEL,   /* x += attention(norm(x)) + mlp(norm2(x)): both read what the layer was given */
    RESIDUAL_PARALLEL_SHARED_NORM, /* the same with one norm for both */
} ResidualLayout;

typedef struct LayerSpec {
    uint32_t n_heads, n_kv_heads, head_dim;
    Position position;
    uint32_t rotary_dim; /* rotated dimensions of head_dim; 0 when POSITION_NOPE */
    double rope_base;    /* kept when rotation is dropped, so that it can be told what was */
    RopeScaling scaling;
    uint32_t window; /* a query sees itself and window-1 tokens before; 0: all (global attention) */
    bool chunked;    /* only those in its own chunk of `window` tokens: [0, window), [window, 2 window) ... */
    double softmax_scale; /* scores are multiplied by it; 1/sqrt(head_dim) usually */
    /* Unless 0: queries at position p times 1 + temperature_scale ln(1 + floor((p + 1) / temperature_floor)).
     */
    double temperature_scale, temperature_floor;
    double softcap; /* then become softcap * tanh(score / softcap); 0: they stay */
    bool q_bias, k_bias, v_bias, o_bias, mlp_bias;
    QkNorm q_norm, k_norm;
    bool sinks; /* one learned logit per head in the softmax's denominator */
    ResidualLayout residual_layout;
    bool no_pre_norms; /* attention and MLP, one after the other, read the residual stream as it is */
    bool post_norms;   /* what they give is normed before it is added */
    Activation activation;
    bool no_gate; /* MLP: down(act(up)), else down(act(gate) * up) */
    uint32_t ffn_dim;
    uint32_t n_experts, top_k; /* 0: a plain MLP; else a token passes top_k of them */
    bool router_bias;
    Routing routing;
    bool shared_expert; /* one more, which every token passes */
} LayerSpec;

typedef struct ModelSpec {
    uint32_t n_layers, hidden_size, vocab;
    uint32_t context;      /* trained length, as the checkpoint states it */
    NormKind norm;         /* of all but QK-norm, which is always RMSNorm */
    bool norm_bias;        /* LayerNorm's */
    bool unit_offset_norm; /* norms multiply by 1 + weight (HF's Gemma) */
    double norm_eps;
    bool tied_head;         /* logits use the embedding matrix */
    bool head_bias;         /* a bias per token */
    double embedding_scale; /* embeddings are multiplied by it; 1 */
    double residual_scale;  /* each block's output is multiplied by it before it is added; 1 */
    double logit_scale;     /* logits are multiplied by it; 1 (Granite's logits_scaling is its inverse) */
    double logit_softcap;   /* then become softcap * tanh(logit / softcap); 0: they stay */
    LayerSpec *layers;      /* n_layers, owned by the model's arena */
} ModelSpec;

/* Layer i; NULL for -1, which stands for what is outside the layers. */
static inline const LayerSpec *spec_layer(const ModelSpec *s, int i) {
    return i < 0 ? (const LayerSpec *)0 : &s->layers[i];
}

/* Inverse frequencies (rotary_dim / 2 of them, radians per position) of a layer, scaling applied, for a text
 * of `n_tokens` (only "dynamic" and "longrope" depend on it). Returns what cos and sin are multiplied by. */
double rope_frequencies(const ModelSpec *s, const LayerSpec *l, uint64_t n_tokens, double *inv_freq);

/* The attention factor where none is stated: YaRN's 0.1 ln(factor) + 1, LongRoPE's sqrt(1 + ln(factor) /
 * ln(original_context)); 1 for others and for factors up to 1. */
double rope_usual_factor(const RopeScaling *r);
/* Angles so small that nothing turns: what "linear" says by a factor of 1e30, and "llama3" with bands that
 * leave no frequency as it is. */
RopeScaling rope_stopped(RopeScalingKind kind);
bool rope_stops(const RopeScaling *r);
/* True for scalings that change with the context that is stated. */
bool rope_counts_from_context(const RopeScaling *r);
/* "rope", "partial", "nope" */
const char *position_name(Position p);
/* "none", "linear", "dynamic", "yarn", "llama3", "longrope" */
const char *rope_scaling_name(RopeScalingKind k);
bool rope_scaling_equal(const RopeScaling *a, const RopeScaling *b);
/* True if all layers agree on base, scaling, window and position: most models. */
bool spec_is_uniform(const ModelSpec *s);

#endif

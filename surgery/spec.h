/* The model spec describes the architecture of one model: its sizes, and for each layer how attention, the
 * norms and the MLP are computed. The forward pass, the backward pass, both exporters and `derope inspect`
 * read everything they need to know about the architecture from it.
 *
 * A spec is filled from a config.json (spec_config.c) or from the keys of a GGUF (spec_gguf.c), changed by
 * the passes (surgery/passes/), and turned into the keys of an output by a carrier (surgery/carriers/). Only
 * the readers and writers of files know model families; all other code depends on the spec alone.
 *
 * Every layer has a LayerSpec of its own, even if all layers of a model are equal, because context extension
 * changes single layers: it removes the rotary embedding from some and gives others a window. The functions
 * declared here are defined in spec.c. */
#ifndef DEROPE_SURGERY_SPEC_H
#define DEROPE_SURGERY_SPEC_H

#include <stdbool.h>
#include <stdint.h>

/* How the frequencies of the rotary position embedding (RoPE, arXiv 2104.09864) are scaled for contexts that
 * are longer than the trained one. The formulas are in surgery/rope_frequencies.c. */
typedef enum RopeScalingKind {
    ROPE_SCALING_NONE,
    ROPE_SCALING_LINEAR,   /* position interpolation (arXiv 2306.15595): frequencies are divided by factor */
    ROPE_SCALING_DYNAMIC,  /* dynamic NTK: rope_base grows with the text beyond the model's context */
    ROPE_SCALING_YARN,     /* YaRN (arXiv 2309.00071), computed as transformers computes it */
    ROPE_SCALING_LLAMA3,   /* Llama 3.1: only low frequencies are divided by factor */
    ROPE_SCALING_LONGROPE, /* LongRoPE (arXiv 2402.13753): each frequency has its own divisor */
} RopeScalingKind;

/* The parameters of a scaling. A kind that does not use a field leaves it 0 or at its default. The wavelength
 * of a frequency is the number of tokens in which its dimension pair makes one full turn. */
typedef struct RopeScaling {
    RopeScalingKind kind;
    /* Ratio of the extended context to the trained one, for example 4. */
    double factor;
    /* yarn, llama3, longrope: the trained context in tokens. 0 stands for ModelSpec.context. */
    double original_context;
    /* llama3: frequencies of wavelengths above original_context / low_freq_factor are divided by factor. */
    double low_freq_factor;
    /* llama3: frequencies with a wavelength below original_context / high_freq_factor are unchanged. Between
     * the two wavelengths the result is interpolated. */
    double high_freq_factor;
    /* yarn: frequencies that make more than beta_fast turns (usually 32) within original_context are
     * unchanged. */
    double beta_fast;
    /* yarn: frequencies that make fewer than beta_slow turns (usually 1) within original_context are divided
     * by factor. Between beta_slow and beta_fast a linear ramp over dimension pairs mixes both results. */
    double beta_slow;
    /* yarn, longrope: factor that multiplies both cos and sin. 0 stands for the value that
     * rope_default_attention_factor computes. */
    double attention_factor;
    /* longrope: n_factors divisors, one for each frequency, for texts of up to original_context tokens.
     * Allocated in the arena of the model. */
    const double *short_factors;
    /* longrope: n_factors divisors for texts longer than original_context. Allocated in the same arena. */
    const double *long_factors;
    uint32_t n_factors; /* longrope: number of divisors in each of the two tables, rotary_dim / 2 */
    bool truncate;      /* yarn: round the two ends of the ramp outwards to whole dimension pairs */
} RopeScaling;

/* Which dimensions of queries and keys the rotary embedding rotates. The window, which depends on positions
 * too, is described by other fields of LayerSpec, and all attention is causal. */
typedef enum Position {
    POSITION_ROPE,    /* all head_dim dimensions of each head are rotated */
    POSITION_PARTIAL, /* only the first rotary_dim dimensions of each head are rotated */
    POSITION_NOPE,    /* no dimension is rotated (no positional embedding, NoPE) */
} Position;

/* The RMSNorm that is applied to queries or to keys before the attention scores are computed. */
typedef enum QkNorm {
    QK_NORM_NONE,
    QK_NORM_HEAD, /* each head is normalized by itself; all heads share the weight [head_dim] (Qwen3) */
    QK_NORM_FULL, /* all heads are normalized as one vector; weight [number of heads * head_dim] (OLMo 2) */
    QK_NORM_UNIT, /* each head is normalized by itself, after the rotation; there is no weight (Llama 4) */
} QkNorm;

/* NORM_RMS is RMSNorm (arXiv 1910.07467); NORM_LAYER is LayerNorm, which also subtracts the mean. */
typedef enum NormKind { NORM_RMS, NORM_LAYER } NormKind;

/* The nonlinearity of an MLP. activation_info lists the names that it has in files and reports. */
typedef enum Activation {
    ACT_SILU,      /* x sigmoid(x) */
    ACT_GELU,      /* the exact GELU, computed with the error function */
    ACT_GELU_TANH, /* the approximation of GELU that uses tanh */
    /* GPT-OSS: g sigmoid(1.702 g) (u + 1), with the gate g limited to at most 7 and the output u of the up
     * projection limited to [-7, 7]. */
    ACT_CLIPPED,
    ACT_COUNT /* number of activations */
} Activation;

/* How the weight of an expert is computed from the router's logits, and what the weight multiplies. */
typedef enum Routing {
    ROUTING_OF_CHOSEN, /* softmax over the logits of the chosen experts; multiplies the expert's output */
    ROUTING_OF_ALL,    /* softmax over the logits of all experts; multiplies the chosen expert's output */
    ROUTING_OF_INPUT,  /* sigmoid of the expert's own logit; multiplies the expert's input (Llama 4) */
} Routing;

/* How attention and the MLP of a layer are connected to the residual stream x, a vector of hidden_size
 * elements for each token. */
typedef enum ResidualLayout {
    RESIDUAL_SEQUENTIAL,           /* x += attention(norm1(x)), and after that x += mlp(norm2(x)) */
    RESIDUAL_PARALLEL,             /* x += attention(norm1(x)) + mlp(norm2(x)); both read the layer's input */
    RESIDUAL_PARALLEL_SHARED_NORM, /* x += attention(norm(x)) + mlp(norm(x)); one norm serves both */
} ResidualLayout;

/* One transformer layer. */
typedef struct LayerSpec {
    /* ---- attention: sizes ---- */
    uint32_t n_heads;    /* number of query heads */
    uint32_t n_kv_heads; /* number of key/value heads; it divides n_heads (grouped-query attention, GQA) */
    uint32_t head_dim;   /* number of dimensions of one head, an even number */

    /* ---- attention: positions ---- */
    Position position;   /* which dimensions of a head are rotated */
    uint32_t rotary_dim; /* number of dimensions of a head that are rotated; 0 with POSITION_NOPE */
    /* Base of the rotary frequencies (theta), such as 10000. It keeps its value when the rotation of the
     * layer is removed, because some output formats require the key even then. */
    double rope_base;
    RopeScaling scaling; /* scaling of the rotary frequencies of this layer */
    /* Number of tokens that a query attends to, including its own. 0: the query attends to its own token and
     * to all tokens before it (global attention). */
    uint32_t window;
    /* Chunked attention (Llama 4): the text is divided into chunks of `window` tokens, and a query attends
     * only to tokens of its own chunk that are not after it. false: the window slides with the query. */
    bool chunked;

    /* ---- attention: scores ---- */
    double softmax_scale; /* factor of the scores q k^T before the softmax, usually 1 / sqrt(head_dim) */
    /* Attention temperature (Llama 4): the query at position p is multiplied by
     * 1 + temperature_scale * ln(1 + floor((p + 1) / temperature_floor)), where temperature_floor is a number
     * of tokens. A temperature_scale of 0 turns it off. */
    double temperature_scale, temperature_floor;
    double softcap; /* scores are replaced by softcap * tanh(score / softcap); 0: they are not capped */
    bool sinks;     /* each query head has a learned logit that adds to the softmax's denominator only */

    bool q_bias, k_bias, v_bias,
        o_bias;            /* whether the query, key, value and output projections have a bias */
    bool mlp_bias;         /* whether all projections of the MLP, or of every expert, have one */
    QkNorm q_norm, k_norm; /* norm of the queries and norm of the keys */

    /* ---- norms and the residual stream ---- */
    ResidualLayout residual_layout;
    bool no_pre_norms; /* attention and MLP read the residual stream without a norm before them (OLMo 2) */
    bool post_norms;   /* the outputs of attention and MLP are normalized before they are added to x */

    /* ---- MLP ---- */
    Activation activation;
    bool no_gate;     /* true: the MLP is down(act(up(x))); false: it is down(act(gate(x)) * up(x)) */
    uint32_t ffn_dim; /* number of outputs of up (and gate); in a layer with experts, that of one expert */

    /* ---- mixture of experts ---- */
    uint32_t n_experts; /* number of experts, without the shared one; 0: the layer has a plain MLP */
    uint32_t top_k;     /* number of experts that each token is dispatched to */
    bool router_bias;   /* whether the router adds a bias [n_experts] to its logits */
    Routing routing;    /* how the chosen experts are weighted */
    bool shared_expert; /* there is one more expert of the same size, applied to every token with weight 1 */
} LayerSpec;

/* A whole model. */
typedef struct ModelSpec {
    uint32_t n_layers;      /* number of elements of `layers` */
    uint32_t hidden_size;   /* number of elements of the residual stream for each token */
    uint32_t vocab;         /* number of rows of the embedding matrix */
    uint32_t context;       /* trained context in tokens, as the checkpoint states it */
    NormKind norm;          /* kind of all norms except q_norm and k_norm, which are always RMSNorms */
    bool norm_bias;         /* whether LayerNorms have a bias */
    bool unit_offset_norm;  /* norms multiply by 1 + weight instead of by weight (Gemma in HF's files) */
    double norm_eps;        /* the epsilon that all norms add under the square root */
    bool tied_head;         /* the output projection uses the embedding matrix and has none of its own */
    bool head_bias;         /* the logits have a bias [vocab] */
    double embedding_scale; /* factor of the embeddings; 1 in most models */
    /* Factor of the outputs of attention and MLP before they are added to the residual stream; 1 in most
     * models. */
    double residual_scale;
    /* Factor of the logits before their bias is added, 1 in most models. Granite's key logits_scaling is the
     * inverse of it. */
    double logit_scale;
    /* As the last step, logits are replaced by logit_softcap * tanh(logit / logit_softcap). 0: they are not
     * capped. */
    double logit_softcap;
    LayerSpec *layers; /* n_layers elements, allocated in the arena of the model */
} ModelSpec;

/* Returns layer i (from 0), or NULL if i is -1, the index that tensors outside the layers have. */
static inline const LayerSpec *spec_layer(const ModelSpec *s, int i) {
    return i < 0 ? (const LayerSpec *)0 : &s->layers[i];
}

/* ---- changing a spec ---- */

/* Removes the rotation from a layer: its position becomes POSITION_NOPE, its rotary_dim 0 and its scaling
 * ROPE_SCALING_NONE. rope_base keeps its value. */
void layer_drop_rope(LayerSpec *l);
/* Gives the layers a window of `window` tokens, except for each `every`-th layer, which gets global
 * attention. With `every` 4 the global layers are 3, 7, 11 and so on, counted from 0. With `every` 0 all
 * layers get the window. */
void spec_set_windows(ModelSpec *s, uint32_t window, uint64_t every);
/* Makes every layer that has a window rotate all dimensions of its heads without scaling. Layers without a
 * window stay as they are. For families whose rope scaling applies to global layers only. */
void spec_unscale_windowed(ModelSpec *s);
/* Returns true if rope_base, scaling, window and position are the same in all layers, as in most models. */
bool spec_is_uniform(const ModelSpec *s);

/* ---- names ---- */

/* The names of an activation in files and in reports. */
typedef struct ActivationInfo {
    const char *name; /* name in the JSON that derope prints, such as "gelu_tanh" */
    /* Names in config.json, which are keys of transformers' ACT2FN. All of them are accepted when a model is
     * read; the first one is written. The list ends with NULL. */
    const char *hf[4];
    const char *mlp;       /* name of an MLP without a gate, such as "GELU (tanh)" */
    const char *gated_mlp; /* name of an MLP with a gate, such as "GeGLU (tanh)" */
} ActivationInfo;
/* Returns the names of an activation. */
const ActivationInfo *activation_info(Activation a);
/* Finds the activation that config.json calls `name`. Returns false if derope does not support it. */
bool activation_from_hf(const char *name, Activation *out);

/* Returns the name of a Position in JSON and in tables: "rope", "partial" or "nope". */
const char *position_name(Position p);
/* Returns the name of a kind of scaling: "none", "linear", "dynamic", "yarn", "llama3" or "longrope". Except
 * for "none", these are the values of rope_type in transformers. */
const char *rope_scaling_name(RopeScalingKind k);

#endif

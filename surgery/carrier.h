/* A carrier: a stock architecture, and the metadata of it, that expresses a spec in one format. Adding one is
 * a file in surgery/carriers/ that defines `const Carrier carrier_NAME`, and a line C(NAME) in the table of
 * surgery/carriers/carriers.c, which is in order of preference: the plainest first. */
#ifndef DEROPE_SURGERY_CARRIER_H
#define DEROPE_SURGERY_CARRIER_H

#include "surgery/family.h"

typedef struct Carrier {
    const char *name; /* "own", "smollm3", "granite_swa": what --carrier takes */
    Format format;
    const char *says; /* how it says what it carries: "no_rope_layers and layer_types say it of each layer" */
    const char *runtimes; /* who runs the result as intended: "transformers >= 4.53" */
    bool holds_scale;     /* its metadata holds the softmax scale; otherwise that is folded into q_proj */
    bool needs_sinks;     /* its tensors include attention sinks: neutral ones are added */
    /* HF: biases come all four or not at all, so q/k/v biases get a zero o_proj bias beside them. */
    bool (*needs_o_bias)(const Model *m);
    bool needs_router;         /* its MLP is one expert behind a router, which is added */
    bool needs_head;           /* GGUF: output.weight is there, tied or not */
    bool repeats_kv;           /* its tensors have a key/value head for every query head */
    const TensorName *tensors; /* what it calls its tensors; NULL: as the model's own family does */
    /* Its q/k rows are interleaved; NULL: half-split. */
    bool (*interleaved)(const Model *m);
    /* True if it can say what `m->spec` says; else the reason in `why` ("has no per-layer rotation"). */
    bool (*can)(const Model *m, char *why, size_t why_size);
    /* HF: edits `config`, which is a copy of the source's, or holds the settings common to all families where
     * the source has none. NULL for GGUF carriers. */
    void (*write_hf)(const Model *m, json_t *config);
    /* GGUF: sets keys of `out`, which has the source's keys under the new architecture and the common
     * settings already. NULL for HF carriers. */
    void (*write_gguf)(const Model *m, Checkpoint *out);
    /* What a person should know about the result ("llama.cpp rounds ..."); NULL: there is nothing to tell.
     * The hook itself may be NULL too. */
    const char *(*notice)(const Model *m);
    /* A tensor's last change on its way out; NULL: none. */
    bool (*adapt)(const Model *m, Arena *a, TensorRole role, int layer, Tensor *t, Error *e);
    /* GGUF: general.architecture. HF: NULL. */
    const char *(*arch)(const Model *m);
} Carrier;

/* NULL-terminated, in order of preference. */
extern const Carrier *const carriers[];

/* The first that can, or `name` if given. On failure the error lists every carrier of the format with its
 * reason. If `explain` is not NULL it becomes a JSON array [{"carrier", "can", "why", "runtimes"}]. */
const Carrier *carrier_pick(const Model *m, Format format, const char *name, json_t **explain, Error *e);

/* Those preferred to `chosen`, and why each could not: {"own": "has no windows per layer"}. New reference. */
json_t *carrier_because(const Model *m, const Carrier *chosen);

/* ---- what carriers look at (surgery/carriers/carriers.c); `why` receives the reason of a false ---- */

bool always(const Model *m); /* true, for needs_o_bias and interleaved */

/* True if every layer satisfies it. */
bool all_layers(const Model *m, bool (*test)(const Model *m, const LayerSpec *l));
bool layer_rotates(const Model *m, const LayerSpec *l); /* over all of head_dim */
bool layer_is_nope(const Model *m, const LayerSpec *l);
bool layer_is_global(const Model *m, const LayerSpec *l); /* no window, or one no shorter than the context */
/* The first layer with experts; the first of all if none has any. */
const LayerSpec *mixture_layer(const Model *m);
bool same_rotation(const LayerSpec *a, const LayerSpec *b);
/* The rotating layers agree on base and scaling; *l is the first of them either way, NULL if none rotates. */
bool one_rotation(const Model *m, const LayerSpec **l);
/* The first layer that has a window, or that has none; NULL if there is no such layer. */
const LayerSpec *layer_by_window(const Model *m, bool windowed);
uint32_t window_size(const Model *m); /* of the first layer with a window; 0 if there is none */
/* The layers that have a window agree on its size. */
bool one_window_size(const Model *m, char *why, size_t why_size);
/* All layers have the same window, or none has one. */
bool one_window_for_all(const Model *m, char *why, size_t why_size);
bool one_softmax_scale(const Model *m);
/* Embedding, residual and logit scales are 1. */
bool plain_multipliers(const Model *m);
bool has_sinks(const Model *m); /* that do something */
bool has_qk_norm(const Model *m);
/* The norms on queries and keys are the family's: custom code may have more than the stock class. */
bool family_norms(const Model *m, char *why, size_t why_size);
/* The layers that rotate are those that rotate in the family. */
bool family_rotation(const Model *m, char *why, size_t why_size);
/* One factor on all angles stops what is to be stopped: all layers, or, where those with a window have a base
 * of their own, which nothing scales, the others. */
bool factor_stops(const Model *m, char *why, size_t why_size);
/* The first layer whose rotation a factor scales. */
const LayerSpec *scaled_layer(const Model *m);
/* One rotation for all layers that rotate, those with a window left out where they have a base of their own;
 * *l is the first. */
bool main_rotation(const Model *m, const LayerSpec **l);
/* Llama's layers, with experts or without: RMSNorms before attention and MLP, SwiGLU, no soft caps. */
bool llama_layers(const Model *m, char *why, size_t why_size);
/* The same, and no layer has experts. */
bool llama_block(const Model *m, char *why, size_t why_size);
/* Every layer has the same number of experts, weighted by a softmax over those chosen; none is shared, none
 * has biases. */
bool plain_mixture(const Model *m, char *why, size_t why_size);
/* Writes the reason, returns false. */
bool cannot(char *why, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* HF: the class; the token ids, stated where they are not. */
void config_set_class(json_t *config, const char *architecture, const char *model_type);
void config_set_token_ids(json_t *config);
/* HF: the configuration goes to another class: keys that the family calls otherwise get their usual names,
 * those of custom code go. */
void config_leave_family(const Family *f, json_t *config);
/* HF: rope_theta and rope_scaling in the legacy keys, which transformers 4 and 5 both read. `l` NULL: no
 * layer rotates, and rope_theta becomes `base_if_none`. */
void config_set_rope(const Family *f, json_t *config, const LayerSpec *l, double base_if_none);
/* GGUF: <arch>.rope.* of a rotating layer. */
void gguf_set_rope(const Model *m, Checkpoint *out, const LayerSpec *l);

#endif

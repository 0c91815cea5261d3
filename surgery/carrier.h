/* A carrier is the stock architecture that a result is written as. transformers and llama.cpp run nothing but
 * the architectures that they know, so a model whose layers were changed (rotation dropped in some of them,
 * windows in others) has to be expressed as one that has keys for this. A carrier says which models its
 * architecture can express, what the tensors are called there, and which keys make it compute the same.
 *
 * Carriers are defined in surgery/carriers/, and surgery/carriers/carriers.c lists them in order of
 * preference. surgery/README.md tells how to add one. */
#ifndef DEROPE_SURGERY_CARRIER_H
#define DEROPE_SURGERY_CARRIER_H

#include "surgery/family.h"

/* Whether a rule of a carrier applies to no output, to every output, or to outputs of families that need
 * it. */
typedef enum CarrierRule { RULE_NEVER, RULE_ALWAYS, RULE_BY_FAMILY } CarrierRule;

typedef struct Carrier {
    const char *name; /* "own", "smollm3", "granite_swa": what --carrier takes */
    Format format;    /* FORMAT_HF or FORMAT_GGUF; a name may exist once for each */
    const char *says; /* for users, which keys express the change: "no_rope_layers and layer_types say of each
                         layer ..." */
    /* The first release of transformers (HF) or the month of llama.cpp (GGUF) that runs the result as
     * intended: "4.53", "2025-05". NULL: as soon as the family's own class or architecture exists. See
     * surgery/runtimes.h. */
    const char *since;
    const char *caveat;        /* what else a person should know about runtimes; NULL: nothing */
    const char *arch;          /* GGUF: general.architecture. NULL: the family's own */
    const TensorName *tensors; /* what the tensors are called; NULL: as in the model's own family */

    /* How the tensors differ from the model's. */
    CarrierRule
        interleaved; /* rotation pairs rows 2i and 2i+1 of a head of q and k, not i and i + head_dim/2 */
    CarrierRule needs_o_bias; /* HF: biases of q, k and v come with one of o, so a bias of zeros is added */
    bool holds_scale;         /* a key holds the softmax scale; otherwise it is multiplied into q_proj */
    bool needs_sinks;         /* attention sinks have to be there: neutral ones are added */
    bool needs_router; /* the MLP has to be an expert behind a router: the model's becomes the only one */
    bool needs_head;   /* GGUF: output.weight has to be there, even if it is the embedding's copy */
    bool repeats_kv;   /* there is a key/value head for every query head: they are repeated */
    /* Changes a tensor after all common changes and before it gets its name; NULL: no change. */
    bool (*adapt)(const Model *m, Arena *a, TensorRole role, int layer, Tensor *t, Error *e);

    /* True if the architecture can express m->spec; otherwise false with the reason in `why` ("has no
     * per-layer rotation"), see surgery/model_traits.h. */
    bool (*can)(const Model *m, char *why, size_t why_size);
    /* HF: changes `config` so that it describes the model. `config` is a copy of the source's config.json. If
     * the source has none, it holds the settings common to all families. NULL for GGUF carriers. */
    void (*write_hf)(const Model *m, json_t *config);
    /* GGUF: sets the keys of `out` that are particular to the architecture. `out` already has the keys of the
     * source, renamed to the new architecture, and the settings common to all families. NULL for HF
     * carriers. */
    void (*write_gguf)(const Model *m, Checkpoint *out);
    /* Returns a notice for the user about the result ("llama.cpp rounds ..."), or NULL if there is none. The
     * hook may be NULL, which also means that there is no notice. */
    const char *(*notice)(const Model *m);
} Carrier;

#endif

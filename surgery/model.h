/* A checkpoint understood: its spec, and its tensors under HF names and in HF layout whatever file they
 * came from (q and k rows half-split, whatever the file has). Passes change the spec, the tensors'
 * descriptions and the configuration; export turns the result into a checkpoint of either format. */
#ifndef DEROPE_SURGERY_MODEL_H
#define DEROPE_SURGERY_MODEL_H

#include "formats/checkpoint.h"
#include "formats/tensor_views.h"
#include "surgery/role.h"

struct Carrier;    /* surgery/carrier.h */
struct TensorName; /* surgery/family.h */

typedef struct ModelTensor {
    TensorRole role;
    int layer;                    /* -1: not in a layer */
    const struct TensorName *row; /* by which it was found; NULL if new or ROLE_OTHER */
    Tensor tensor;                /* name and layout as HF has it; of all experts in one */
    const Tensor *origin;         /* the source checkpoint's own tensor, the first expert's; NULL if new */
} ModelTensor;

typedef struct Model {
    Checkpoint *source;          /* borrowed; must outlive the model */
    const struct Family *family; /* surgery/family.h */
    ModelSpec spec;              /* what it is now */
    ModelSpec source_spec;       /* what it was when opened */
    json_t *config; /* HF config as passes changed it; from GGUF: rebuilt, or restored from derope.* */
    ModelTensor *tensors;
    size_t n_tensors;
    uint64_t new_context;      /* set_context, 0: kept */
    bool neutral_sinks;        /* its attention sinks do nothing: a carrier asked for them */
    const Checkpoint *weights; /* the tensors that are bound: the source's, or `view`'s */
    Checkpoint *view;          /* the source's with packed weights as plain ones; NULL: it packs none */
    bool quantized_config; /* its quantization_config is of a kind that is not read: only metadata changes */
    bool interleaved;      /* the q/k rows of the source are */
    double *unfold;        /* per layer: what undoes the softmax scale in a GGUF's queries; NULL: none is */
    bool dequantised;      /* an export to HF turned ggml's blocks into F32 */
    bool config_only;      /* opened without weights, to be trained from random ones */
    uint32_t *role_index;  /* model_tensor's table: (layer + 1, role) -> position + 1 */
    size_t tensor_capacity;
    json_t *passes;  /* array: what was applied, with arguments, for the manifest */
    json_t *notices; /* array of strings: what a person should know ("context kept at 2048 ...") */
    size_t told;     /* how many of them a person has seen */
    TransposeCache transpose_cache;
    Arena arena;
} Model;

/* Reads the spec by the family's table and binds every tensor to its role, checking shapes against the spec.
 * Errors name the tensor or the key, what was found and what was expected. */
Model *model_open(Checkpoint *source, Error *e);
/* The same from a configuration alone: no tensors, for training from random weights. */
Model *model_open_config(Checkpoint *source, Error *e);
void model_close(Model *m);
/* NULL if the model has none. `layer` -1 for EMBED, HEAD, FINAL_NORM. */
ModelTensor *model_tensor(const Model *m, TensorRole role, int layer);
/* Adds or replaces a tensor (it becomes TENSOR_NEW or CHANGED by its description). */
ModelTensor *model_set_tensor(Model *m, TensorRole role, int layer, const Tensor *t);
/* A row's name in HF's or GGUF's way. `expert` matters where each has a tensor; -1: "*", for all. */
void tensor_name(const struct TensorName *row, int layer, int expert, Format format, char out[128]);
/* The family's name for a role, in HF's or GGUF's way. */
void model_tensor_name(const Model *m, TensorRole role, int layer, Format format, char out[128]);
/* Reorders the rows of each head between halves and interleaved pairs. */
bool model_permute_rows(Model *m, Tensor *t, TensorRole role, const LayerSpec *l, bool to_interleaved,
                        Error *e);
void model_notice(Model *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- export: model -> checkpoint of a format, by a carrier ---- */

typedef struct ExportOptions {
    Format format;       /* FORMAT_HF or FORMAT_GGUF */
    const char *carrier; /* NULL: the first that can */
    bool has_dtype;      /* convert 2-D weights (norms, biases, sinks stay F32 in GGUF) */
    DType dtype;
    bool plain; /* packed weights come out plain, even where HF's own form could be kept */
} ExportOptions;

/* Builds the output checkpoint: tensors (still lazy, over the source's bytes), configuration or metadata,
 * tokenizer in the form the target wants, derope.* keys. It borrows from the model. `*carrier` (may be NULL)
 * receives the carrier chosen. */
Checkpoint *model_export(Model *m, const ExportOptions *o, const struct Carrier **carrier, Error *e);

/* Name, size and XXH3-128 of every file the source was read from. New reference. */
json_t *manifest_sources(const Model *m);
/* Hash of a GGUF's keys, types and values in their order, the manifest's own key left out. */
void manifest_keys_hash(const Checkpoint *c, char out[33]);
/* The manifest that a checkpoint of ours carries; NULL, without an error, if it has none. New reference. */
json_t *manifest_read(const Checkpoint *c, Error *e);
/* Per layer {"position", "window", "rope"}: what an output must still say when it is read again. */
json_t *manifest_layers(const ModelSpec *s);
/* The manifest (derope.json): tool version, carrier, sources, passes, notices, layers, side files (HF) or the
 * hash of all keys (GGUF), per tensor dtype, shape, status and hash; the members of `extra` (tokens seen,
 * losses, recipe; may be NULL) beside them. `out`: by model_export, hashed by a writer. New reference. */
json_t *manifest_build(const Model *m, const struct Carrier *carrier, const Checkpoint *out,
                       const json_t *sources, const json_t *extra);

#endif

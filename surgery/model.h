/* A model: a checkpoint whose architecture is known (model.c). It has a spec, which says layer by layer what
 * the model computes, and a table of tensors with their roles. The tensors of all families and file formats
 * are in one layout: they have HF's names, q, k and v are separate, experts are stacked, and the rows that
 * RoPE rotates are in halves (surgery/rotary_rows.h). Passes (surgery/pass.h) change it, recal/ trains it,
 * and surgery/export.h makes checkpoints of it.
 *
 * surgery/model_open.h makes a model of a checkpoint, surgery/model_bind.h finds its tensors, and
 * surgery/family.h has the names of the tensors. */
#ifndef DEROPE_SURGERY_MODEL_H
#define DEROPE_SURGERY_MODEL_H

#include "formats/checkpoint.h"
#include "formats/tensor_views.h"
#include "surgery/role.h"

struct Family;     /* surgery/family.h */
struct TensorName; /* surgery/family.h */

/* A tensor of the model. Its shape is the one that role_shape gives for its role. */
typedef struct ModelTensor {
    TensorRole role;
    int layer; /* 0 to n_layers - 1; -1 for tensors outside the layers and for ROLE_OTHER */
    const struct TensorName
        *row;      /* the row of the family's table by which it was found; NULL: new, or no role */
    Tensor tensor; /* under its HF name; "*" stands for the expert where all are stacked */
    const Tensor
        *origin; /* the tensor of Model.weights that it was made of, expert 0's of a stack; NULL: new */
} ModelTensor;

typedef struct Model {
    /* ---- where it comes from ---- */
    Checkpoint *source;        /* what was opened; borrowed, has to outlive the model */
    const Checkpoint *weights; /* the tensors that are bound: the source's, or those of `view` */
    Checkpoint *view;          /* the source with fp8 or mxfp4 weights as plain tensors; NULL: it has none */
    const struct Family *family; /* how its tensors and settings are called */
    json_t *config;      /* the source's config.json, also if a GGUF carried it in a key, as it is understood
                          * (surgery/config_amend.h); NULL: none */
    bool config_amended; /* `config` says the same as the file in other words: outputs get a new file */
    const char *wrapper; /* the model type of the multimodal model whose text model this is; NULL: none */
    /* What names in an HF file have in place of the first part of the family's names ("model."), and in
     * front of names without that part (lm_head). Set when the tensors are bound. */
    const char *name_base, *name_head;
    bool config_only;      /* opened without weights, to be trained from random ones */
    bool quantized_config; /* packed in a way that is not read (GPTQ, ...): weights can be copied, not
                              converted */
    bool interleaved;      /* the source pairs rows 2i and 2i + 1 of a head of q and k */
    double *unfold; /* GGUF, per layer: what queries are multiplied by to undo the scale that they were given,
                     * if config.json and llama.cpp disagree about the softmax scale; NULL: nothing to undo */
    ModelSpec source_spec; /* the spec as it was read; passes leave it alone */

    /* ---- what it is now ---- */
    ModelSpec spec;
    uint64_t
        new_context; /* tokens, set by the pass set_context: the length that outputs state; 0: the source's */
    bool neutral_sinks;   /* it has attention sinks, but they are so small that they change no result */
    ModelTensor *tensors; /* in the order of the source */
    size_t n_tensors;
    json_t *passes;  /* array of {"pass": name, arguments...}: what was applied, for the manifest */
    json_t *notices; /* array of strings (surgery/notices.h): from opening and from passes */

    /* ---- memory ---- */
    uint32_t
        *role_index; /* model_tensor's table, [n_layers + 1][ROLE_COUNT]: position in `tensors` + 1, or 0 */
    size_t tensor_capacity;
    TransposeCache transpose_cache; /* what tensors that HF has transposed are read through */
    Arena arena;                    /* owns names, row orders, the layers of both specs */
} Model;

void model_close(Model *m);

/* The tensor of a role; NULL if the model has none. `layer` is -1 for roles outside the layers (ROLE_EMBED,
 * ...). */
ModelTensor *model_tensor(const Model *m, TensorRole role, int layer);
/* Sets the tensor of a role: replaces an existing one, or adds one, whose status is then TENSOR_NEW. Its name
 * becomes the family's name for the role. The bytes of `t` have to outlive the model. */
ModelTensor *model_set_tensor(Model *m, TensorRole role, int layer, const Tensor *t);
/* Appends a tensor as it is (for surgery/model_bind.c). */
ModelTensor *model_append_tensor(Model *m, const ModelTensor *t);
/* Rebuilds the index that model_tensor uses (role_index) from `tensors`, for n_layers layers. */
void model_index_tensors(Model *m);

/* The name that a row of a family's table stands for, in the way of HF or GGUF. `expert` matters for rows
 * that name a tensor of each expert; -1 puts "*" there, for all of them. */
void tensor_name(const struct TensorName *row, int layer, int expert, Format format, char out[128]);
/* The family's name for a role; "" if it has none. */
void model_tensor_name(const Model *m, TensorRole role, int layer, Format format, char out[128]);

#endif

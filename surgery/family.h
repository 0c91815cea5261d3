/* A family: how one kind of checkpoint names its tensors and its settings. Adding a family is a file in
 * surgery/families/ and a line in the table of surgery/families/families.c. */
#ifndef DEROPE_SURGERY_FAMILY_H
#define DEROPE_SURGERY_FAMILY_H

#include "surgery/model.h"

/* One row per tensor of the family. "%d" stands for the layer. */
typedef struct TensorName {
    TensorRole role;
    const char *hf;   /* "model.layers.%d.self_attn.q_proj.weight" */
    const char *gguf; /* "blk.%d.attn_q.weight" */
} TensorName;

typedef struct Family {
    const char *name;                 /* "llama": what inspect prints */
    const char *const *model_types;   /* config.json "model_type" values, NULL-terminated */
    const char *const *architectures; /* config.json "architectures" values, NULL-terminated */
    const char *const *gguf_archs;    /* general.architecture values, NULL-terminated */
    const TensorName *tensors;        /* ends with a NULL hf */
    bool gguf_interleaved; /* its GGUF stores q/k rows interleaved (llama, granite), not half-split (qwen2) */
    /* Fill `m->spec` (layers allocated by the caller from num_hidden_layers / block_count). Common keys have
     * been read already; these hooks add what is particular. May be NULL. */
    bool (*read_config)(Model *m, const json_t *config, Error *e);
    bool (*read_gguf)(Model *m, const Checkpoint *c, Error *e);
} Family;

/* NULL-terminated. */
extern const Family *const families[];
const Family *family_by_name(const char *name);

#endif

/* The files of an HF folder beside the weights: config.json, the tokenizer's files, and all others that the
 * source has. An HF output is made of them and the tensors; a GGUF carries them in keys, so that converting
 * it back gives the same folder. For that the files alone are built, without the tensors of an HF output. */
#ifndef DEROPE_SURGERY_EXPORT_HF_H
#define DEROPE_SURGERY_EXPORT_HF_H

#include "surgery/export_state.h"
#include "surgery/export_tensors.h"
#include "surgery/tokenizer/conversion.h"

/* What the files depend on beside the model. */
typedef struct HfFilesRequest {
    const Model *m;
    const Carrier *carrier; /* of FORMAT_HF: writes config.json */
    MatrixTypes matrices;   /* of the HF output's tensors, for "torch_dtype" */
    bool keeps_packed;      /* the weights stay packed, so that quantization_config stays true */
    json_t *notices;        /* appended to */
} HfFilesRequest;

/* Adds the files to `to`, a checkpoint of FORMAT_HF. A file that says what it said before keeps its very
 * bytes. */
bool export_hf_files(const HfFilesRequest *r, Checkpoint *to, Error *e);
/* What a conversion of the tokenizer, from keys to files or back, has to know about the model. */
ConversionTarget export_tokenizer_target(const Model *m, json_t *notices);
/* All of an HF output that is no tensor: the files and safetensors' __metadata__. */
bool export_hf(Export *x);

#endif

/* The state of an export in progress, shared by export.c, export_tensors.c, export_added.c, export_hf.c and
 * export_gguf.c while they build one output. This header declares only a type and has no source file. Callers
 * of an export include surgery/export.h instead. */
#ifndef DEROPE_SURGERY_EXPORT_STATE_H
#define DEROPE_SURGERY_EXPORT_STATE_H

#include "surgery/carrier.h"
#include "surgery/export.h"
#include "surgery/quant_mix.h"

typedef struct Export {
    const Model *m;         /* never changed by an export */
    const Carrier *carrier; /* the stock architecture that the output is written as */
    Checkpoint *out;        /* what is being built; its arena holds all that the export makes */
    ModelTensor *tensors;   /* a copy of m->tensors, index by index, in the types that this output has */
    const QuantMix
        *mix;  /* GGUF: chooses the types of matrices; NULL: ExportOptions.dtype is for all of them */
    bool pure; /* `mix` chooses no types and only says what general.file_type is */
    ExportReport *report; /* result for the caller; functions append notices to it */
    json_t *dtypes; /* GGUF: object, HF tensor name -> type before it was widened; becomes DEROPE_DTYPES */
    json_t
        *carried; /* GGUF: object, HF tensor name -> dtype and shape of those kept in keys: DEROPE_TENSORS */
    bool keeps_packed; /* HF: fp8 or mxfp4 weights and their scales are copied as the source has them */
    Error *e;
} Export;

#endif

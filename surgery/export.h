/* Export: a model becomes a checkpoint of a format, ready to be written.
 *
 * The way of one tensor through the program, from the mapped file to the output:
 *   1. checkpoint_open (formats/) maps the file. A Tensor says where its rows lie and in which type; nothing
 *      is decoded before step 6.
 *   2. model_open (surgery/model_open.h) finds the tensor's role by the family's table of names, and brings
 *      it into the one layout that all families share: projections apart instead of fused, experts stacked,
 *      rows of q and k in halves. Row orders, scales and types are fields of the Tensor, so this costs no
 *      memory for weights.
 *   3. Passes (surgery/pass.h) change the model's spec. Most touch no tensor at all.
 *   4. model_export picks a carrier (surgery/carrier.h), the stock architecture that the result is written
 *      as, and copies the table of tensors in the output's types (surgery/cast.h).
 *   5. export_tensors.c gives each tensor the carrier's name and layout: the softmax scale goes into q_proj
 *      where no key holds it, rows are interleaved, parts are fused, experts separated; export_added.c adds
 *      what the carrier needs beside them. export_hf.c or export_gguf.c writes the configuration:
 *      config.json, or the keys.
 *   6. hf_write or gguf_write (formats/) asks for the rows, one chunk after the other. A tensor that nobody
 *      touched is copied byte for byte; the hash of every tensor goes into the manifest (surgery/manifest.h).
 */
#ifndef DEROPE_SURGERY_EXPORT_H
#define DEROPE_SURGERY_EXPORT_H

#include "surgery/model.h"

struct Carrier;  /* surgery/carrier.h */
struct QuantMix; /* surgery/quant_mix.h */

typedef struct ExportOptions {
    Format format;       /* FORMAT_HF or FORMAT_GGUF */
    const char *carrier; /* its name; NULL: the first that can express the model */
    bool has_dtype;      /* the output has a type of its own: `dtype` (norms and biases stay F32 in a GGUF) */
    DType dtype;
    /* The output has a mix of types: `dtype` is its base. NULL: `dtype` is for all matrices. With `pure` the
     * mix says only what general.file_type is. */
    const struct QuantMix *mix;
    bool pure;
    bool allow_nonfinite; /* write values that a type cannot hold instead of failing (Tensor.allow_nonfinite)
                           */
} ExportOptions;

/* What an export tells beside the checkpoint. Zero-initialise it, and free it with export_report_free. */
typedef struct ExportReport {
    const struct Carrier *carrier; /* the one that was chosen */
    json_t *notices;               /* array of strings: a copy of the model's, then those of this export */
    size_t n_reencoded; /* tensors in blocks whose values change, so that they are rounded once more */
    bool dequantized;   /* HF: ggml's blocks, which safetensors cannot hold, become F32 */
} ExportReport;

/* Builds the output checkpoint: tensors (still undecoded, over the source's bytes), configuration or keys,
 * the tokenizer in the form that the format has, and the keys derope.* of a GGUF. The checkpoint borrows from
 * the model, which has to outlive it. The model is not changed: any number of exports in any order give the
 * same bytes. The report (may be NULL) is filled as far as the export came, also on failure, which returns
 * NULL. */
Checkpoint *model_export(const Model *m, const ExportOptions *o, ExportReport *report, Error *e);
void export_report_free(ExportReport *report);

#endif

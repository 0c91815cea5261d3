/* Between the files that build an output checkpoint (model_export): its tensors, and all that stands beside
 * them.
 */
#ifndef DEROPE_SURGERY_EXPORT_H
#define DEROPE_SURGERY_EXPORT_H

#include "surgery/carrier.h"

typedef struct Export {
    Model *m;
    const Carrier *carrier;
    Checkpoint *out;
    json_t *dtypes;  /* GGUF: what was widened */
    json_t *carried; /* GGUF: tensors that travel in keys */
    bool packed;     /* HF: packed weights go on as the source has them */
    Error *e;
} Export;

/* False with an error where the softmax scale would have to go into packed weights. */
bool export_check_scale(const Export *x);
/* True where HF's own form of packed weights can be kept: nothing changed them, or their names. */
bool export_keeps_packed(const Export *x, const ExportOptions *o);
/* All tensors into x->out, as the carrier names and lays them out. */
bool export_tensors(Export *x);

#endif

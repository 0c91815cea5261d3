/* Packed weights (fp8, mxfp4: surgery/quantized.h) in an HF output. A model has them as ordinary tensors. If
 * no weight has been changed, the output gets the quantized values and scales of the source, byte for
 * byte. */
#ifndef DEROPE_SURGERY_EXPORT_PACKED_H
#define DEROPE_SURGERY_EXPORT_PACKED_H

#include "surgery/export_state.h"

/* True if the output can keep the packed form: its format is HF and asks for no other type, and no packed
 * weight has changed its values, its type or its name. */
bool export_keeps_packed(const Export *x, const ExportOptions *o);
/* Adds the source's packed weights and their scales. */
void export_add_packed(Export *x);

#endif

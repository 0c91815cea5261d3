/* Reads a Hugging Face folder in a zip (hf_zip.c). */
#ifndef DEROPE_FORMATS_HF_ZIP_H
#define DEROPE_FORMATS_HF_ZIP_H

#include "formats/zip_map.h"

/* A Hugging Face folder in a zip, at its root or in the one folder that it holds. Weights have to be stored
 * and are read in place; other files may be deflated. */
bool hf_zip_parse(Checkpoint *c, ZipMap *zip, bool without_weights, Error *e);

#endif

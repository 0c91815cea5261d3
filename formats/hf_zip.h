/* Reads a Hugging Face folder that lies in a zip file (hf_zip.c). */
#ifndef DEROPE_FORMATS_HF_ZIP_H
#define DEROPE_FORMATS_HF_ZIP_H

#include "formats/zip_map.h"

/* Fills the empty `c` from the zip: a folder at the zip's root, or the one folder that all its entries lie
 * in. Weights have to be stored, that is, not compressed, because they are read in place from the mapped zip;
 * other files may be deflated. `without_weights` reads configuration and tokenizer alone. All names and
 * extents of the zip are checked first (zip_map_check). Errors are ERR_INPUT. */
bool hf_zip_parse(Checkpoint *c, ZipMap *zip, bool without_weights, Error *e);

#endif

/* Reads a PyTorch checkpoint in its zip form (torch_zip.c). */
#ifndef DEROPE_FORMATS_TORCH_ZIP_H
#define DEROPE_FORMATS_TORCH_ZIP_H

#include "formats/zip_map.h"

/* A state dict saved by torch.save in its zip form. */
bool torch_zip_read(Checkpoint *c, const char *path, Error *e);
bool torch_zip_parse(Checkpoint *c, ZipMap *zip, Error *e);
bool torch_zip_is(const ZipMap *zip); /* has a NAME/data.pkl */

#endif

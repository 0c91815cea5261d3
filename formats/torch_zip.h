/* Reads a state dict that torch.save wrote in its zip form, the default since PyTorch 1.6 (torch_zip.c).
 *
 * The zip holds one folder NAME (torch/serialization.py, _save): NAME/data.pkl is a pickle
 * (formats/unpickle.h) that describes the tensors, NAME/data/KEY holds the bytes of storage KEY, and
 * NAME/byteorder says "little". No code of the file is ever run. */
#ifndef DEROPE_FORMATS_TORCH_ZIP_H
#define DEROPE_FORMATS_TORCH_ZIP_H

#include "formats/zip_map.h"

/* Fills `c` with the tensors of the file's state dict. The dict may be the pickled object itself or one of
 * its entries, as in {"model": {...}, "epoch": 3}. Entries that are not tensors are listed in c->left_out.
 * Tensors that are not contiguous in their storage are gathered when they are read. ERR_INPUT for a
 * TorchScript program, a pickled module, two state dicts, tensors that reach outside their storage, and
 * anything else that is not a state dict. */
bool torch_zip_read(Checkpoint *c, const char *path, Error *e);

/* Does the same with an open zip. */
bool torch_zip_parse(Checkpoint *c, ZipMap *zip, Error *e);

/* True if the zip has an entry NAME/data.pkl and therefore is to be read by this reader. */
bool torch_zip_is(const ZipMap *zip);

#endif

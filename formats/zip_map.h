/* A mapped zip file, whose entries libzip finds: PyTorch's checkpoints and folders packed into one file.
 *
 * Stored entries are their bytes in the mapped file; deflated ones are unpacked into memory when they are
 * opened. Names in the zip are looked up, never written to disk. */
#ifndef DEROPE_FORMATS_ZIP_MAP_H
#define DEROPE_FORMATS_ZIP_MAP_H

#include "formats/checkpoint.h"

typedef struct ZipMap ZipMap;

/* An entry's bytes; they live as long as the checkpoint. */
typedef struct ZipEntry {
    ByteSource source; /* without a map: reading it compares the checksum first */
    const char *name;
    const uint8_t *bytes; /* source.size of them, unchecked until zip_entry_check */
    uint32_t crc;         /* 0: none was computed (torch.serialization.set_crc32_options(False)) */
    bool checked;
} ZipEntry;

/* `file` is mapped and belongs to `c`. The ZipMap is needed only while entries are being opened. */
ZipMap *zip_map_open(Checkpoint *c, const ByteSource *file, Error *e);
void zip_map_close(ZipMap *z);
const char *zip_map_path(const ZipMap *z);
uint64_t zip_map_count(const ZipMap *z);
const char *zip_map_name(const ZipMap *z, uint64_t i); /* "" if it has none; as long as `z` is open */
bool zip_map_has(const ZipMap *z, const char *name);
bool zip_map_is_compressed(const ZipMap *z, const char *name); /* there, and not stored as it is */
/* NULL with an ERR_INPUT that names file and entry: absent, encrypted, compressed by something other than
 * deflate, unpacking to far more than the file, or not within the file. */
ZipEntry *zip_map_entry(ZipMap *z, const char *name, Error *e);
/* Compares the checksum, once. */
bool zip_entry_check(ZipEntry *x, Error *e);
/* Every name stays within a folder and is there once; every entry's bytes lie in the file, and none twice. */
bool zip_map_check(ZipMap *z, Error *e);

#endif

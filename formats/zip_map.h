/* A mapped zip file and the places of its entries (zip_map.c): for PyTorch checkpoints (formats/torch_zip.h)
 * and Hugging Face folders in a zip (formats/hf_zip.h).
 *
 * libzip parses the file (PKWARE's APPNOTE.TXT, with zip64). The bytes of a stored (uncompressed) entry are
 * read directly from the mapped file, so opening a model of many gigabytes takes no time. A deflated entry is
 * unpacked into memory when it is opened. The names of entries are only compared, and never used as names of
 * files on disk, so a hostile name cannot make the program write anywhere. */
#ifndef DEROPE_FORMATS_ZIP_MAP_H
#define DEROPE_FORMATS_ZIP_MAP_H

#include "formats/checkpoint.h"

/* An open zip. It is needed only while entries are being opened; the entries belong to the checkpoint. */
typedef struct ZipMap ZipMap;

/* The bytes of an entry, valid as long as the checkpoint. */
typedef struct ZipEntry {
    ByteSource source; /* `map` is NULL, so that bytes are read through its `read` function, whose first call
                          compares the checksum of the whole entry */
    const char *name;  /* in the zip */
    const uint8_t *bytes; /* (source.size), not yet compared with the checksum unless `checked` */
    uint32_t crc; /* CRC-32 in the zip's directory; 0: torch.save can be told to compute no checksums */
    bool checked; /* the checksum was compared and agrees */
} ZipEntry;

/* Opens the zip in `file`, a mapping of `c`. NULL with ERR_INPUT if it is not a whole zip file. */
ZipMap *zip_map_open(Checkpoint *c, const ByteSource *file, Error *e);
void zip_map_close(ZipMap *z); /* NULL is allowed */

/* The path of the file, the number of entries, and the name of entry `i` ("" if it has none), valid while `z`
 * is. */
const char *zip_map_path(const ZipMap *z);
uint64_t zip_map_count(const ZipMap *z);
const char *zip_map_name(const ZipMap *z, uint64_t i);

/* True if there is an entry of this name. */
bool zip_map_has(const ZipMap *z, const char *name);
/* True if there is an entry of this name and it is compressed. */
bool zip_map_is_compressed(const ZipMap *z, const char *name);

/* Opens an entry. NULL with ERR_INPUT, which names file and entry, if it is absent, encrypted, compressed by
 * a method other than deflate, would unpack to more than 100 times the size of the file, or does not lie
 * within the file. */
ZipEntry *zip_map_entry(ZipMap *z, const char *name, Error *e);

/* Compares the bytes of an entry with its checksum. Only the first call for an entry computes the checksum.
 * Fails with ERR_INPUT if they differ. */
bool zip_entry_check(ZipEntry *x, Error *e);

/* Checks the zip as a whole: each name stays within a folder (no "..", no root, no drive letter) and occurs
 * once, the bytes of each entry lie in the file, and no two entries share bytes. */
bool zip_map_check(ZipMap *z, Error *e);

#endif

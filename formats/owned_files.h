/* Which files of a folder derope wrote (owned_files.c). They are those that the folder's manifest lists, and
 * only they may be replaced or removed; everything else in the folder is somebody else's. */
#ifndef DEROPE_FORMATS_OWNED_FILES_H
#define DEROPE_FORMATS_OWNED_FILES_H

#include <jansson.h>

#include "formats/error.h"

/* Reads the manifest of `folder` and returns an object whose keys are the files it lists, relative to the
 * folder ("config.json"), the manifest itself included. A value is the XXH3-128 that the file was written
 * with, or "" for the manifest and for weights, whose tensors have hashes of their own. New reference. NULL
 * without an error (e->code is ERR_NONE) if there is no manifest, and with ERR_FAILED if it cannot be read
 * or is none of derope's. */
json_t *owned_files(const char *folder, Error *e);

/* True if the file at `path` does not have the content that it was written with; `hash` is a value of the
 * object above. */
bool owned_file_edited(const char *path, const char *hash);

/* Gives an edited file another name, so that it is not lost when it is written again: "FOLDER/NAME.edited",
 * or ".edited-2" and so on if that exists. */
bool owned_file_keep(const char *path, const char *folder, const char *name, Error *e);

#endif

/* Replacing a folder without losing what others have put into it (output_folder.c).
 *
 * A folder that derope wrote may hold files that it did not write: a LICENSE, a .git, notes. When the folder
 * is written again, only files that its manifest lists are removed; all others are moved into the new folder.
 * A listed file that was edited is moved too, under the name NAME.edited.
 *
 * The steps, with OUT as the folder and TMP as the new one, which is complete and flushed to disk:
 *   1. TMP, ".OUT.tmp-PID", is renamed to ".OUT.old-PID". A folder of the first name may be removed by any
 *      later run; one of the second name is only emptied as in step 3.
 *   2. ".OUT.old-PID" and OUT are exchanged in one call, so OUT is complete at any moment.
 *   3. What the manifest in ".OUT.old-PID" does not list is moved to OUT. The rest is removed, the manifest
 *      last, and then the empty folder.
 * If the process dies between 1 and 3, the next run that looks at OUT does step 3 (output_folder_recover).
 * File systems that cannot exchange two folders need two renames for step 2; between them there is no OUT,
 * and the next run renames the old folder back. */
#ifndef DEROPE_FORMATS_OUTPUT_FOLDER_H
#define DEROPE_FORMATS_OUTPUT_FOLDER_H

#include <stdbool.h>

#include "formats/error.h"

/* True if the existing folder `path` may be replaced: it is empty, or has a manifest of derope and can be
 * written to. The error (ERR_FAILED) names what else is in it. `name` is what messages call the folder. */
bool output_folder_may_replace(const char *path, const char *name, Error *e);

/* True if an output may write a file `file` ("config.json") into the folder that replaces `path`: ERR_FAILED
 * if there is something of that name that derope did not write. */
bool output_folder_has_room(const char *path, const char *file, Error *e);

/* Puts the complete folder `temp` in the place of `path`, where there may be nothing, or a folder that may be
 * replaced. After a failure, nothing that was at `path` is lost: either it is unchanged, or the new folder is
 * there, and the error says which files of the old one could not be moved and where they are. */
bool output_folder_place(const char *temp, const char *path, Error *e);

/* Finishes what a killed process has begun at `path`. ERR_FAILED if files that it left cannot be moved back;
 * the error names them. Does nothing if another process is writing the folder at this moment. */
bool output_folder_recover(const char *path, Error *e);

#endif

/* Removing a file, or a folder with all that is in it (remove_tree.c). */
#ifndef DEROPE_FORMATS_REMOVE_TREE_H
#define DEROPE_FORMATS_REMOVE_TREE_H

#include <stdbool.h>

/* Removes the file `path`, or the folder `path` with everything in it, up to 32 levels deep. Symbolic links
 * are removed and not followed. `folder` is an open descriptor of `path` where the caller has one and `path`
 * is a folder, otherwise -1; with it a folder without subfolders is removed even if no more files can be
 * opened. Returns whether nothing is left of `path`; otherwise errno has the reason.
 *
 * Allocates no memory and makes only system calls that a signal handler may make, so that temporary outputs
 * can be removed when memory has run out and when a signal ends the program. */
bool remove_tree(const char *path, int folder);

#endif

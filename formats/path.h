/* Paths as the kernel sees them, for code that has to know whether two names lead to one place (path.c).
 * formats/text.h has path_length, which only looks at the text. */
#ifndef DEROPE_FORMATS_PATH_H
#define DEROPE_FORMATS_PATH_H

#include <limits.h>
#include <stdbool.h>

/* Writes the canonical form of `path` to `out`: absolute, without ".", ".." and slashes at its end, and with
 * all symbolic links replaced by what they lead to. The last parts of the path need not exist. If `follow` is
 * false, the last component is kept even if it is a symbolic link, because a file that is renamed to that
 * path replaces the link and not what the link leads to. Returns false with errno set if the path is empty or
 * too long, or if the current folder is gone. */
bool path_resolve(const char *path, bool follow, char out[PATH_MAX]);

/* Writes the folder that holds `path`, which has no slash at its end. A name without a slash lies in ".", a
 * name like "/x" in "/". */
void path_parent(const char *path, char out[PATH_MAX]);

/* The part of `path` after its last slash. */
const char *path_name(const char *path);

/* True if `path` is `folder` or lies in it. Both are canonical. */
bool path_lies_in(const char *path, const char *folder);

/* True if the two paths name one file or folder, also by way of symbolic or hard links. False if one of them
 * does not exist, unless both are the same text. */
bool path_same_file(const char *a, const char *b);

/* Renames a file or folder unless there is something at `to`: false with errno set, EEXIST in that case. */
bool path_move(const char *from, const char *to);

#endif

/* Completion scripts for shells, made from the tables of verbs and options (`derope help --completion
 * SHELL`): they complete verbs, flags, the choices of a flag's value, and file names where a path is
 * expected. */
#ifndef DEROPE_CMD_COMPLETION_H
#define DEROPE_CMD_COMPLETION_H

#include "formats/buffer.h"

/* Fills `names` with the shells that there are scripts for, at most `max`, and returns how many. */
size_t completion_shells(const char **names, size_t max);
/* Appends the script for "bash", "zsh" or "fish"; ERR_USAGE for another shell. */
bool completion_script(const char *shell, Buffer *out, Error *e);

#endif

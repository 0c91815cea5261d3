/* The table of verbs: the one list that main, help, the man page and the completions go by. Adding a verb is
 * a file in cmd/verbs/ that defines `const Verb verb_NAME`, and its two lines in verb_table.c. */
#ifndef DEROPE_CMD_VERB_TABLE_H
#define DEROPE_CMD_VERB_TABLE_H

#include "cmd/verb.h"

/* NULL-terminated, in the order of help. */
extern const Verb *const verbs[];
/* The verb of that name; NULL with "unknown verb 'convrt'; did you mean 'convert'? ..." (ERR_USAGE). */
const Verb *verb_by_name(const char *name, Error *e);

#endif

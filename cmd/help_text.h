/* Help for people at a terminal, printed from the tables of verbs, options and recipe sections. Lines are at
 * most 100 columns wide. The man page (cmd/man_page.h) has the same content in another form. */
#ifndef DEROPE_CMD_HELP_TEXT_H
#define DEROPE_CMD_HELP_TEXT_H

#include "cmd/verb.h"

/* Prints the list of verbs, and the flags and conventions that all verbs share. */
void help_overview(Buffer *out);
/* Prints the help of one verb: usage, description, flags with their defaults, examples. */
void help_verb(const Verb *v, Buffer *out);
/* Prints every key of a recipe, with its type, range and default. */
void help_recipe(Buffer *out);

#endif

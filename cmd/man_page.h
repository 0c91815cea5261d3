/* The man page derope.1, made from the tables of verbs, options and recipe sections (`derope help --man`). */
#ifndef DEROPE_CMD_MAN_PAGE_H
#define DEROPE_CMD_MAN_PAGE_H

#include "formats/buffer.h"

/* Appends the page in the man macro package of roff. */
void man_page(Buffer *out);

#endif

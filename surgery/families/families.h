/* The registry of families. A Family (surgery/family.h) describes one kind of checkpoint: how transformers
 * and llama.cpp name its tensors and settings. surgery/README.md tells how to add one. The functions are
 * defined in families.c, each family in a file of its own beside it. */
#ifndef DEROPE_SURGERY_FAMILIES_FAMILIES_H
#define DEROPE_SURGERY_FAMILIES_FAMILIES_H

#include "surgery/family.h"

/* All of them, NULL-terminated. */
extern const Family *const families[];

/* The family with this model_type of config.json; NULL if there is none. */
const Family *family_by_model_type(const char *model_type);
/* The family with this general.architecture; NULL if there is none. Several families may share an
 * architecture (llama.cpp runs Llama, Mistral and Mixtral as "llama"). Of these the first is returned that
 * has experts if `experts` is true, or none if it is false; if no family fits, the first with the
 * architecture. */
const Family *family_by_gguf_arch(const char *arch, bool experts);
/* The family whose class a stock runtime has: `f` itself, or for DroPE's custom code the family of the same
 * name. */
const Family *family_stock(const Family *f);
/* True if llama.cpp runs the family as this architecture. */
bool family_has_arch(const Family *f, const char *arch);

#endif

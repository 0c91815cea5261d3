/* The flags of passes (surgery/pass.h) on a command line: --drop-rope, --sliding-window and so on, which
 * convert, ppl, logits, generate and recal share. */
#ifndef DEROPE_CMD_SURGERY_FLAGS_H
#define DEROPE_CMD_SURGERY_FLAGS_H

#include "surgery/pass.h"

/* What was asked for. Start from {0}; surgery_flags_free releases it. */
typedef struct SurgeryFlags {
    json_t *given;        /* {pass name: [{"pass": name, arguments...}, ...]}, NULL: nothing */
    bool drop_rope_alone; /* --drop-rope stood without a list of layers */
} SurgeryFlags;

/* The pass flag of that name ("drop-rope"), with its pass in `*pass`; NULL if there is none. */
const PassFlag *surgery_flag_by_name(const char *name, const Pass **pass);
/* Notes down a flag with its value, which is NULL where the flag stands alone. ERR_USAGE if the value makes
 * no sense by itself, or the flag was given before and may not be repeated. */
bool surgery_flag_set(SurgeryFlags *f, const Pass *pass, const PassFlag *flag, const char *value, Error *e);
/* What to add to the error about one operand too many, which may have been meant as the value of --drop-rope;
 * "" if that flag did not stand alone. */
const char *surgery_flags_hint(const SurgeryFlags *f);
/* Applies the passes to the model, in the order of the table of passes, whatever their order on the line. */
bool surgery_flags_apply(const SurgeryFlags *f, Model *m, Error *e);
/* Releases what was collected; `f` itself is the caller's. */
void surgery_flags_free(SurgeryFlags *f);

#endif

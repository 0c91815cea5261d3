/* The flags of passes (surgery/pass.h) on a command line: --drop-rope, --sliding-window and so on, which
 * convert, ppl, logits, generate and recal share. */
#ifndef DEROPE_CMD_SURGERY_FLAGS_H
#define DEROPE_CMD_SURGERY_FLAGS_H

#include "surgery/pass.h"

/* The pass flags that were given. Initialize with {0}; free with surgery_flags_free. */
typedef struct SurgeryFlags {
    json_t *given;        /* {pass name: [{"pass": name, arguments...}, ...]}; NULL if no flag was given */
    bool drop_rope_alone; /* --drop-rope was given without a list of layers */
} SurgeryFlags;

/* Returns the flag of that name ("drop-rope"), and sets *pass to its pass. NULL if no pass has such a flag.
 */
const PassFlag *surgery_flag_by_name(const char *name, const Pass **pass);
/* Records a flag with its value; `value` is NULL for a flag without one. ERR_USAGE if the value is invalid,
 * or if the flag was given before and must not be repeated. */
bool surgery_flag_set(SurgeryFlags *f, const Pass *pass, const PassFlag *flag, const char *value, Error *e);
/* What to add to the error about one operand too many, which may have been meant as the value of --drop-rope;
 * "" if that flag did not stand alone. */
const char *surgery_flags_hint(const SurgeryFlags *f);
/* Applies the passes to the model. Their order is that of the table of passes, not that of the command line.
 */
bool surgery_flags_apply(const SurgeryFlags *f, Model *m, Error *e);
/* Releases what was collected; `f` itself is the caller's. */
void surgery_flags_free(SurgeryFlags *f);

#endif

/* The table of verbs. This is the only file that names every verb; main.c, help_text.c, man_page.c and
 * completion.c go over the table. */
#include "cmd/verb_table.h"

#include <string.h>

#include "surgery/nearest_name.h"

/* Each is defined in the file of cmd/verbs/ that has its name. */
extern const Verb verb_inspect, verb_convert, verb_recal, verb_run, verb_plan, verb_ppl, verb_eval,
    verb_generate, verb_logits, verb_tokenize, verb_detokenize, verb_diff, verb_verify, verb_help,
    verb_version;

/* clang-format off */
/* In the order in which help lists them. */
const Verb *const verbs[] = {
    &verb_inspect,
    &verb_convert,
    &verb_recal,
    &verb_run,
    &verb_plan,
    &verb_ppl,
    &verb_eval,
    &verb_generate,
    &verb_logits,
    &verb_tokenize,
    &verb_detokenize,
    &verb_diff,
    &verb_verify,
    &verb_help,
    &verb_version,
    NULL,
};
/* clang-format on */

/* The names are collected while the table is searched, so that an error can suggest the nearest one. */
const Verb *verb_by_name(const char *name, Error *e) {
    const char *names[sizeof verbs / sizeof *verbs];
    size_t n = 0;
    for (; verbs[n]; n++) {
        if (strcmp(verbs[n]->name, name) == 0) return verbs[n];
        names[n] = verbs[n]->name;
    }
    const char *near = nearest_name(name, names, n);
    error_set(e, ERR_USAGE, "unknown verb '%s'%s%s%s (derope help lists them)", name,
              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return NULL;
}

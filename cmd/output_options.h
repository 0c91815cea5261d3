/* The table of what can be said about an output: the keys of a recipe's `outputs` and the flags of the verbs
 * that write a model. The values are stored in an OutputRequest (cmd/output.h). */
#ifndef DEROPE_CMD_OUTPUT_OPTIONS_H
#define DEROPE_CMD_OUTPUT_OPTIONS_H

#include "surgery/option.h"

extern const Option output_request_options[]; /* ends with a NULL name */

#endif

/* Parsing a verb's command line by its tables of options.
 *
 * Flags and operands may stand in any order, and after "--" everything is an operand. A flag is written in
 * full, as --name value or --name=value: abbreviations are refused, because a script that uses one would
 * change its meaning when a flag is added. A flag that may stand alone (--drop-rope) takes its value joined
 * on only. */
#ifndef DEROPE_CMD_COMMAND_LINE_H
#define DEROPE_CMD_COMMAND_LINE_H

#include "cmd/verb.h"

/* Takes one operand into the verb's struct; false with ERR_USAGE if there are too many. */
typedef bool (*TakeOperand)(void *arguments, const char *operand, Error *e);

/* Sets every option of the verb to its default, then stores the flags of argv[1], ... into `arguments`, the
 * struct that the verb's groups describe, and hands over the operands. Errors are ERR_USAGE and name the
 * flag. */
bool command_line_parse(const Verb *v, int argc, char **argv, void *arguments, TakeOperand take, Error *e);

/* Operands for verbs that only collect them. */
enum { MAX_OPERANDS = 256 };
typedef struct Operands {
    const char *list[MAX_OPERANDS]; /* borrowed from argv, in order */
    size_t n;
} Operands;
/* A TakeOperand for structs that begin with an Operands. */
bool operands_take(void *arguments, const char *operand, Error *e);

/* Verbs whose only option is --json have this struct, and these groups, which describe it. */
typedef struct JsonArguments {
    Operands operands;
    bool json;
} JsonArguments;
extern const OptionGroup json_arguments_groups[];

/* "derope" and the arguments, quoted as a shell would need them; the caller frees it. */
char *command_line_text(int argc, char *const *argv);

#endif

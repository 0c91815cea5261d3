/* derope version: prints the version of the program, from surgery/version.h. Manifests and the keys of a
 * run's steps contain the same text. */
#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "surgery/version.h"

/* The function of the verb (cmd/verb.h). */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    /* The verb takes neither flags nor operands. */
    Operands operands = {.n = 0};
    if (!command_line_parse(self, argc, argv, &operands, operands_take, e)) return false;
    if (operands.n) return cmd_usage(e, "no operand is needed, not '%s'", operands.list[0]);
    printf("derope %s\n", DEROPE_VERSION);
    return true;
}

const Verb verb_version = {
    .name = "version",
    .summary = "print the version of the program",
    .operands = "",
    .about = "Prints the version, as `derope --version` does.",
    .run = run,
};

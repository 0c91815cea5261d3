/* What signals do to the program (signals.c). */
#ifndef DEROPE_CMD_SIGNALS_H
#define DEROPE_CMD_SIGNALS_H

/* Installs the handlers: SIGINT, SIGTERM and SIGHUP ask the verb to stop (cmd_stop in cmd/cmd.h), and a
 * second one ends the program at once; SIGBUS, which a mapped input raises when it is truncated, ends it with
 * an error that names the file; SIGPIPE is ignored, so that writing to a closed pipe is an ordinary error. */
void signals_install(void);

#endif

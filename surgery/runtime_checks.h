/* What keeps a runtime from running a checkpoint although it has the architecture: settings that it takes for
 * something else than derope does, and types and values at which it stops (runtime_checks.c). Each check says
 * what the runtime does with this very configuration and these very tensors, as its source has it.
 * surgery/runtimes.h asks here. */
#ifndef DEROPE_SURGERY_RUNTIME_CHECKS_H
#define DEROPE_SURGERY_RUNTIME_CHECKS_H

#include "formats/checkpoint.h"

/* True if transformers computes what a folder means. `config` is its config.json; `legacy` is true for the
 * releases before 5. Otherwise `why` receives the rest of a sentence that begins with "no, it". */
bool runtime_check_transformers(const Checkpoint *c, const json_t *config, bool legacy, char *why,
                                size_t size);
/* The same for llama.cpp and a GGUF. */
bool runtime_check_llama_cpp(const Checkpoint *c, char *why, size_t size);

#endif

/* Reads an output again before it gets its final name, and compares it with the model that it was asked to be
 * (export_check.c). Hashes show that bytes were stored as computed; this shows that the file says what was
 * asked, so that an error in a writer never becomes a wrong file. */
#ifndef DEROPE_SURGERY_EXPORT_CHECK_H
#define DEROPE_SURGERY_EXPORT_CHECK_H

#include "surgery/carrier.h"

/* Opens `path`, a finished output under whatever name, like any other checkpoint. Its tensors have to be
 * those of `out` in name, type and shape, and its spec that of `asked`. A GGUF is read twice, by its keys
 * alone, as llama.cpp does, and with the config.json that travels in it. `carrier` is what the output was
 * written as. ERR_FAILED, naming what differs; no weights are decoded. */
bool export_check(const Model *asked, const Carrier *carrier, const Checkpoint *out, const char *path,
                  Error *e);

#endif

/* Fuzz target: config.json of a model without weights, as the reader of settings sees it. */
#include "surgery/model.h"
#include "surgery/model_open.h"
#include "surgery/spec_json.h"
#include "tests/fuzz/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    checkpoint_set_file(c, "config.json", data, n);
    Error e = {0};
    Model *m = model_open_config(c, &e);
    if (m)
        json_decref(spec_to_json(&m->spec));
    else
        expect(e.code == ERR_INPUT, "no refusal", &e);
    model_close(m);
    checkpoint_close(c);
    return 0;
}

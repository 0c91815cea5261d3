/* Fuzz target: JSON. What the parser accepts must be printable, and the printed text must parse to the same
 * value. */
#include "formats/json.h"
#include "tests/fuzz/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    Error e = {0};
    json_t *v = json_parse("x", data, n, &e);
    if (!v) {
        expect(e.code == ERR_INPUT, "no refusal", &e);
        return 0;
    }
    Buffer text = {0};
    json_print(v, n % 3, &text);
    json_t *again = json_parse("printed", text.data, text.size, &e);
    expect(again && json_equal(v, again), "printed JSON is another value", &e);
    json_decref(again);
    json_decref(v);
    buffer_free(&text);
    return 0;
}

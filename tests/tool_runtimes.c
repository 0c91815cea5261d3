/* Prints, as JSON, which runtime releases derope knows, and since when each carrier and each family is run:
 * what surgery/runtimes.h, Carrier.since, HfClass.since and GgufArch.since hold. tests/peers/ compares it
 * with the runtimes themselves and with the tables of surgery/README.md. */
#include <stdio.h>

#include "formats/json.h"
#include "surgery/carriers/carriers.h"
#include "surgery/families/families.h"
#include "surgery/runtimes.h"

static json_t *text_or_null(const char *text) {
    return text ? json_string(text) : json_null();
}

static const char *format_name(Format f) {
    return f == FORMAT_GGUF ? "GGUF" : "HF";
}

static json_t *all_runtimes(void) {
    json_t *list = json_array();
    for (const Runtime *r = runtimes; r->name; r++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", r->name, "version", r->version,
                                              "format", format_name(r->format)));
    return list;
}

static json_t *all_carriers(void) {
    json_t *list = json_array();
    for (const Carrier *const *c = carriers; *c; c++) {
        char text[100] = "as the family's own";
        if ((*c)->since) runtime_since_text((*c)->format, (*c)->since, text, sizeof text);
        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:s, s:s}", "name", (*c)->name, "format",
                                              format_name((*c)->format), "since", text_or_null((*c)->since),
                                              "runtimes", text, "says", (*c)->says));
    }
    return list;
}

static json_t *all_families(void) {
    json_t *list = json_array();
    for (const Family *const *f = families; *f; f++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:o, s:o}", "name", (*f)->name, "model_type",
                                              (*f)->hf.model_type, "hf_since", text_or_null((*f)->hf.since),
                                              "arch", text_or_null((*f)->gguf.arch), "gguf_since",
                                              text_or_null((*f)->gguf.since)));
    return list;
}

int main(void) {
    json_t *o = json_pack("{s:o, s:o, s:o}", "runtimes", all_runtimes(), "carriers", all_carriers(),
                          "families", all_families());
    Buffer out = {0};
    json_print(o, 1, &out);
    puts(buffer_string(&out));
    buffer_free(&out);
    json_decref(o);
    return 0;
}

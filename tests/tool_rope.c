/* What a config.json means: tool_rope CONFIG N_TOKENS prints, as JSON, the spec and per layer the inverse
 * frequencies for a text of that length and the factor of cos and sin. */
#include <stdio.h>
#include <stdlib.h>

#include "formats/checkpoint.h"
#include "formats/file.h"
#include "formats/json.h"
#include "surgery/model.h"
#include "surgery/model_open.h"
#include "surgery/rope_frequencies.h"
#include "surgery/spec_json.h"

static json_t *frequencies(const ModelSpec *s, const LayerSpec *l, uint64_t n_tokens) {
    double *inv_freq = xcalloc(l->head_dim, sizeof *inv_freq);
    double factor = rope_frequencies(s, l, n_tokens, inv_freq);
    json_t *list = json_array();
    for (uint32_t i = 0; i < l->rotary_dim / 2; i++)
        json_array_append_new(list, json_real(inv_freq[i]));
    free(inv_freq);
    return json_pack("{s:o, s:f}", "inv_freq", list, "factor", factor);
}

int main(int argc, char **argv) {
    Error e = {0};
    Buffer text = {0};
    if (argc != 3 || !file_read(argv[1], 1 << 20, &text, &e)) return 2;
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    c->path = argv[1];
    checkpoint_set_file(c, "config.json", text.data, text.size);
    Model *m = model_open_config(c, &e);
    if (!m) {
        fprintf(stderr, "%s\n", e.message);
        return e.code;
    }
    json_t *o = json_pack("{s:o, s:[]}", "spec", spec_to_json(&m->spec), "rope");
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        json_array_append_new(json_object_get(o, "rope"),
                              frequencies(&m->spec, &m->spec.layers[i], strtoull(argv[2], NULL, 10)));
    Buffer out = {0};
    json_print(o, 0, &out);
    puts(buffer_string(&out));
    buffer_free(&out);
    buffer_free(&text);
    json_decref(o);
    model_close(m);
    checkpoint_close(c);
    return 0;
}

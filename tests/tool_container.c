/* What a container holds, for comparison with other readers:
 *   tool_container dump MODEL    one JSON object: metadata, tensors with hex of their bytes
 *   tool_container copy MODEL OUT [SHARD_BYTES]    OUT: *.gguf, else a folder */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/gguf_write.h"
#include "formats/hf_write.h"
#include "formats/json.h"
#include "formats/text.h"

static json_t *hex_of(const void *bytes, uint64_t n) {
    Buffer b = {0};
    for (uint64_t i = 0; i < n; i++)
        buffer_printf(&b, "%02x", ((const uint8_t *)bytes)[i]);
    json_t *v = json_string(buffer_string(&b));
    buffer_free(&b);
    return v;
}

static json_t *tensor_json(const Tensor *t, Error *e) {
    uint64_t n = tensor_bytes(t);
    void *bytes = big_alloc(n + 1, 1, t->name, e);
    if (!bytes || !tensor_read_rows(t, 0, t->n_rows, bytes, e)) return NULL;
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    json_t *v = json_pack("{s:s, s:s, s:o, s:o}", "name", t->name, "dtype", dtype_info(t->dtype)->name,
                          "shape", shape, "bytes", hex_of(bytes, n));
    free(bytes);
    return v;
}

static bool dump(const Checkpoint *c, Error *e) {
    json_t *tensors = json_array(), *meta = json_array();
    for (size_t i = 0; i < c->n_tensors; i++) {
        json_t *t = tensor_json(&c->tensors[i], e);
        if (!t) return false;
        json_array_append_new(tensors, t);
    }
    for (size_t i = 0; i < c->n_meta; i++) {
        const MetaEntry *m = &c->meta[i];
        json_array_append_new(meta, json_pack("{s:s, s:i, s:i, s:I, s:o}", "key", m->key, "type", m->type,
                                              "elem", m->elem_type, "count", (json_int_t)m->count, "bytes",
                                              hex_of(m->bytes, m->size)));
    }
    json_t *all = json_pack("{s:o, s:o, s:O?}", "tensors", tensors, "meta", meta, "metadata", c->st_metadata);
    Buffer text = {0};
    json_print(all, 0, &text);
    puts(buffer_string(&text));
    buffer_free(&text);
    json_decref(all);
    return true;
}

static bool copy(Checkpoint *c, const char *out, const char *shard, Error *e) {
    WriteOptions o = {.max_shard_size = shard ? strtoull(shard, NULL, 10) : 0};
    size_t n = strlen(out);
    return n > 5 && text_ends_with(out, ".gguf") ? gguf_write(c, out, &o, e) : hf_write(c, out, &o, e);
}

int main(int argc, char **argv) {
    Error e = {0};
    bool copying = argc >= 4 && strcmp(argv[1], "copy") == 0;
    if (!copying && (argc != 3 || strcmp(argv[1], "dump") != 0)) return ERR_USAGE;
    Checkpoint *c = checkpoint_open(argv[2], &e);
    bool ok = c && (copying ? copy(c, argv[3], argv[4], &e) : dump(c, &e));
    if (!ok) fprintf(stderr, "%s\n", e.message);
    checkpoint_close(c);
    return ok ? 0 : e.code;
}

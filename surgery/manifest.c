/* derope.json: what was made from what, tensor by tensor. */
#include <stdio.h>
#include <string.h>

#include "formats/file.h"
#include "formats/hash.h"
#include "surgery/carrier.h"
#include "surgery/version.h"

json_t *manifest_sources(const Model *m) {
    json_t *list = json_array();
    const char *last = "";
    for (const Mapping *f = m->source->mappings; f; f = f->next) {
        char hash[33];
        if (!f->source.map || strcmp(f->source.path, last) == 0) continue;
        last = f->source.path;
        hash_bytes(f->source.map, f->source.size, hash);
        const char *slash = strrchr(f->source.path, '/');
        json_array_insert_new(list, 0,
                              json_pack("{s:s, s:I, s:s}", "file", slash ? slash + 1 : f->source.path,
                                        "bytes", (json_int_t)f->source.size, "xxh3_128", hash));
    }
    return list;
}

static json_t *tensor_row(const Tensor *t) {
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    return json_pack("{s:s, s:s, s:o, s:s, s:s}", "name", t->name, "dtype", dtype_info(t->dtype)->name,
                     "shape", shape, "status", tensor_status_name(tensor_status(t)), "xxh3_128", t->hash);
}

json_t *manifest_build(const Model *m, const Carrier *carrier, const Checkpoint *out, const json_t *sources,
                       const json_t *extra) {
    json_t *tensors = json_array();
    for (size_t i = 0; i < out->n_tensors; i++)
        json_array_append_new(tensors, tensor_row(&out->tensors[i]));
    json_t *manifest = json_pack("{s:s, s:s, s:s, s:O, s:O, s:O}", "derope", DEROPE_VERSION, "carrier",
                                 carrier->name, "runtimes", carrier->runtimes, "sources", sources, "passes",
                                 m->passes, "notices", m->notices);
    if (extra) json_object_update(manifest, (json_t *)extra);
    json_object_set_new(manifest, "tensors", tensors);
    return manifest;
}

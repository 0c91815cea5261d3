/* The manifest, derope.json in a folder and a key in a GGUF: what an output was made of, by which passes, and
 * hashes of all that it contains (manifest.h lists the members). The verbs that write outputs build it;
 * `verify`, `inspect`, `run` and `eval` read it back. Everything in it follows from its arguments: it has no
 * dates and no paths, so the same recipe gives the same bytes. */
#include "surgery/manifest.h"

#include <stdio.h>
#include <string.h>

#include "formats/checkpoint.h"
#include "formats/file_names.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "surgery/carriers/carriers.h"
#include "surgery/derope_keys.h"
#include "surgery/spec_json.h"
#include "surgery/version.h"

/* Hashes every file that the source was mapped from, which reads all of them whole. */
json_t *manifest_sources(const Model *m) {
    json_t *list = json_array();
    const char *last = "";
    /* Mappings are in the reverse order of opening, and the entries of a zip have one path. */
    for (const Mapping *f = m->source->mappings; f; f = f->next) {
        char hash[33];
        if (!f->source.map || strcmp(f->source.path, last) == 0) continue;
        last = f->source.path;
        hash_bytes(f->source.map, f->source.size, hash);
        /* Only the file's name is recorded: its folder is a matter of the machine. */
        const char *slash = strrchr(f->source.path, '/');
        json_array_insert_new(list, 0,
                              json_pack("{s:o, s:I, s:s}", "file",
                                        json_text(slash ? slash + 1 : f->source.path), "bytes",
                                        (json_int_t)f->source.size, "xxh3_128", hash));
    }
    return list;
}

/* One element of "tensors": name, type, shape, how the bytes relate to the source's ("status"), and the hash
 * that the writer computed while it wrote the tensor. */
static json_t *tensor_row(const Tensor *t) {
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    return json_pack("{s:s, s:s, s:o, s:s, s:s}", "name", t->name, "dtype", dtype_info(t->dtype)->name,
                     "shape", shape, "status", tensor_status_name(tensor_status(t)), "xxh3_128", t->hash);
}

/* "files": name, size and hash of each file beside the weights. The manifest itself is left out, since it
 * cannot contain its own hash. */
static json_t *side_files(const Checkpoint *out) {
    json_t *list = json_array();
    for (size_t i = 0; i < out->n_files; i++) {
        const SideFile *f = &out->files[i];
        char hash[33];
        if (strcmp(f->name, MANIFEST_FILE) == 0) continue;
        hash_bytes(f->bytes, f->size, hash);
        json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "file", f->name, "bytes",
                                              (json_int_t)f->size, "xxh3_128", hash));
    }
    return list;
}

/* One hash over all keys of a GGUF except the manifest's own, which cannot contain its own hash. Keys are
 * hashed in the order of the file. */
void manifest_keys_hash(const Checkpoint *c, char out[33]) {
    Hash *h = hash_new();
    for (size_t i = 0; i < c->n_meta; i++) {
        const MetaEntry *m = &c->meta[i];
        if (strcmp(m->key, MANIFEST_KEY) == 0) continue;
        /* Name with its NUL, type, element type, value: no two lists of keys give the same bytes. */
        uint8_t kind[2] = {(uint8_t)m->type, m->type == META_ARRAY ? (uint8_t)m->elem_type : 0};
        hash_update(h, m->key, strlen(m->key) + 1);
        hash_update(h, kind, sizeof kind);
        hash_update(h, m->bytes, m->size);
    }
    hash_finish(h, out);
}

/* The manifest is a key in a GGUF and a file in a folder. NULL without an error means that there is none. */
json_t *manifest_read(const Checkpoint *c, Error *e) {
    size_t n;
    const char *text = c->format == FORMAT_GGUF ? meta_string(c, MANIFEST_KEY, &n) : NULL;
    if (text) return json_parse(MANIFEST_KEY, text, n, e);
    return c->format == FORMAT_GGUF ? NULL : checkpoint_json(c, MANIFEST_FILE, e);
}

/* A short form of the spec's layers: only what the passes of derope change, which is position, window and
 * rotation. */
json_t *manifest_layers(const ModelSpec *s) {
    json_t *spec = spec_to_json(s), *list = json_array();
    const json_t *all = json_object_get(spec, "layers");
    for (size_t i = 0; i < json_array_size(all); i++) {
        /* Layers without rotation have no member "rope". */
        const json_t *l = json_array_get(all, i), *rope = json_object_get(l, "rope");
        json_t *row = json_pack("{s:O, s:O}", "position", json_object_get(l, "position"), "window",
                                json_object_get(l, "window"));
        if (rope) json_object_set(row, "rope", (json_t *)rope);
        json_array_append_new(list, row);
    }
    json_decref(spec);
    return list;
}

/* `report` is that of the export which made `out`, `sources` the value of manifest_sources, and `extra` (or
 * NULL) an object whose members are added. */
json_t *manifest_build(const Model *m, const ExportReport *report, const Checkpoint *out,
                       const json_t *sources, const json_t *extra) {
    const Carrier *carrier = report->carrier;
    char runtimes[200]; /* "transformers 4.53 and later", by the releases that have the architecture */
    carrier_runtimes(carrier, m->family, runtimes, sizeof runtimes);
    /* Order matters to readers only, but it is kept, for the manifest's bytes are compared. */
    json_t *tensors = json_array();
    for (size_t i = 0; i < out->n_tensors; i++)
        json_array_append_new(tensors, tensor_row(&out->tensors[i]));
    json_t *manifest = json_pack("{s:s, s:s, s:s, s:O, s:O, s:O, s:o}", "derope", DEROPE_VERSION, "carrier",
                                 carrier->name, "runtimes", runtimes, "sources", sources, "passes", m->passes,
                                 "notices", report->notices, "layers", manifest_layers(&m->spec));
    json_object_set_new(manifest, "carrier_says", json_string(carrier->says));
    json_object_set_new(manifest, "carrier_because", carrier_because(m, carrier));
    /* Members that only the caller knows, such as the recipe, its key, and the losses of training. */
    if (extra) json_object_update(manifest, (json_t *)extra);
    /* Everything that is no tensor: a folder's files are hashed one by one, a GGUF's keys together. */
    if (out->format == FORMAT_GGUF) {
        char hash[33];
        manifest_keys_hash(out, hash);
        json_object_set_new(manifest, "keys_xxh3_128", json_string(hash));
    } else {
        json_object_set_new(manifest, "files", side_files(out));
        json_object_set(manifest, "weights", out->weight_files);
    }
    json_object_set_new(manifest, "tensors", tensors);
    return manifest;
}

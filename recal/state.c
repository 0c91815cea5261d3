/* Saves and loads the state of a training run. The file consists of
 *     8 bytes   "derope-1"
 *     8 bytes   length of the header, a little-endian integer
 *     header    JSON: key, tokens, steps, seconds, first, last, adam_step, losses
 *     fp32      the weights, then AdamW's first and second moments, n_weights floats each
 *     32 bytes  XXH3-128 of all bytes before it, as hexadecimal digits */
#include "recal/state.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/checkpoint.h"
#include "formats/file.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/output.h"
#include "surgery/options.h"
#include "surgery/spec_json.h"

/* The training loop (train.c) saves a state about once a minute, on an interruption and at its end, and loads
 * it when a run is resumed. A run that was interrupted then goes on with the same numbers as one that was
 * not. */
static const char magic[8] = "derope-1";

/* Adds a net's spec and weights to the hash. */
static void hash_net(Hash *h, const Net *n) {
    Buffer b = {0};
    /* The spec is part of the key because a change of it, such as dropping RoPE, changes no weight. */
    json_t *spec = spec_to_json(n->spec);
    json_print(spec, 0, &b);
    hash_update(h, b.data, b.size);
    hash_update(h, n->weights, n->n_weights * sizeof *n->weights);
    json_decref(spec);
    buffer_free(&b);
}

/* The key is a hash of everything that the result of the training depends on: options, text, model and
 * teacher. */
StateKey state_key(const Net *n, const Net *teacher, const int32_t *ids, size_t n_ids,
                   const TrainOptions *o) {
    StateKey k;
    Buffer b = {0};
    /* Options are hashed as text, so the key does not depend on the padding or the order of the struct. */
    options_print(train_options, o, &b);
    buffer_printf(&b, "weights=%zu\n", n->n_weights);
    Hash *h = hash_new();
    hash_update(h, b.data, b.size);
    hash_update(h, ids, n_ids * sizeof *ids);
    hash_net(h, n);
    if (teacher) hash_net(h, teacher);
    buffer_free(&b);
    hash_finish(h, k.hash);
    return k;
}

/* Writes bytes to the file and adds them to the file's hash. */
static bool write_part(int fd, Hash *h, const void *bytes, size_t n, const char *path, Error *e) {
    hash_update(h, bytes, n);
    return fd_write(fd, bytes, n, path, e);
}

bool state_save(const char *path, const StateKey *key, const Net *n, const AdamW *o, const TrainResult *r,
                Error *e) {
    Output out;
    if (!output_begin(&out, path, false, true, e)) return false;
    /* Step 1: build the header. */
    json_t *head =
        json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:I, s:O}", "key", key->hash, "tokens",
                  (json_int_t)r->tokens, "steps", (json_int_t)r->steps, "seconds", r->seconds, "first",
                  r->first, "last", r->last, "adam_step", (json_int_t)o->step, "losses", r->losses);
    Buffer text = {0};
    json_print(head, 0, &text);
    json_decref(head);
    /* Step 2: write a temporary file in the same folder, and compute its hash while writing. */
    uint64_t size = text.size;
    size_t bytes = n->n_weights * sizeof(float);
    char digest[33];
    Hash *h = hash_new();
    int fd = file_open_output(out.temp, 0, NULL);
    bool ok = fd >= 0 || error_errno(e, "%s", path);
    ok = ok && write_part(fd, h, magic, sizeof magic, path, e) &&
         write_part(fd, h, &size, sizeof size, path, e) && write_part(fd, h, text.data, text.size, path, e) &&
         write_part(fd, h, n->weights, bytes, path, e) && write_part(fd, h, o->m, bytes, path, e) &&
         write_part(fd, h, o->v, bytes, path, e);
    hash_finish(h, digest);
    ok = ok && fd_write(fd, digest, 32, path, e);
    if (fd >= 0) ok = file_close_output(fd, path, ok ? e : NULL) && ok;
    /* Step 3: rename the temporary file to the final path. The rename is atomic, so there is a complete state
     * at any time, the old one or the new one. */
    ok = ok && output_commit(&out, e);
    output_discard(&out);
    buffer_free(&text);
    return ok;
}

/* Checks the magic, size and hash of a state file for net `n`, and sets *header to the length of its header.
 */
static bool check_file(const ByteSource *f, const Net *n, uint64_t *header, Error *e) {
    uint64_t floats = 3 * (uint64_t)n->n_weights * sizeof(float);
    if (f->size < 16 || memcmp(f->map, magic, sizeof magic) != 0)
        return error_set(e, ERR_INPUT, "%s: not a training state", f->path);
    /* The length of the file must match exactly, which also finds files that were cut short before the
     * costly hash is computed. */
    memcpy(header, f->map + 8, sizeof *header);
    if (*header > f->size || f->size != 16 + *header + floats + 32)
        return error_set(
            e, ERR_INPUT,
            "%s: %llu bytes, a state of this model has %llu after a header that is said to have %llu",
            f->path, (unsigned long long)f->size, (unsigned long long)(16 + floats + 32),
            (unsigned long long)*header);
    char digest[33];
    /* The digits at the end are the hash of everything before them. */
    hash_bytes(f->map, f->size - 32, digest);
    return memcmp(digest, f->map + f->size - 32, 32) == 0 ||
           error_set(e, ERR_INPUT, "%s: damaged (its hash does not match)", f->path);
}

bool state_load(const char *path, const StateKey *key, Net *n, AdamW *o, TrainResult *r, Error *e) {
    /* The file is mapped instead of read, because it is three times as large as the weights. The checkpoint
     * serves only as the owner of the mapping. */
    Checkpoint *owner = checkpoint_new(FORMAT_HF);
    const ByteSource *f = checkpoint_map(owner, path, e);
    uint64_t header = 0;
    json_t *head = f && check_file(f, n, &header, e) ? json_parse(path, f->map + 16, header, e) : NULL;
    bool ok = head != NULL;
    /* A state of another run must never be continued: the result would depend on what happened to lie
     * there. */
    const char *its_key = json_get_string(head, "key");
    if (ok && (!its_key || strcmp(its_key, key->hash) != 0))
        ok = error_set(
            e, ERR_INPUT,
            "%s: was made with other options, data or model; remove it to start again, or repeat the command "
            "that made it",
            path);
    if (ok) {
        size_t bytes = n->n_weights * sizeof(float);
        /* The fp32 blocks lie in the order in which state_save wrote them. */
        const uint8_t *p = f->map + 16 + header;
        memcpy(n->weights, p, bytes);
        memcpy(o->m, p + bytes, bytes);
        memcpy(o->v, p + 2 * bytes, bytes);
        json_get_u64(head, "adam_step", &o->step);
        json_get_u64(head, "tokens", &r->tokens);
        json_get_u64(head, "steps", &r->steps);
        json_get_f64(head, "seconds", &r->seconds);
        json_get_f64(head, "first", &r->first);
        json_get_f64(head, "last", &r->last);
        json_decref(r->losses);
        r->losses = json_incref(json_object_get(head, "losses"));
    }
    json_decref(head);
    checkpoint_close(owner);
    return ok;
}

/* Writes GGUF version 3: see formats/gguf.h for the format.
 *
 * The manifest is a key-value and so lies before the data, but it contains the hashes of the tensors, which
 * are known only after the data was written. The header is therefore written twice: first with hashes of
 * zeros, then, in place, with the real ones. Both have the same length. */
#include "formats/gguf_write.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "formats/file_names.h"
#include "formats/meta.h"
#include "formats/output.h"
#include "formats/tensor_writer.h"

/* Numbers are little-endian in the file, as in memory. */
static void put_u32(Buffer *b, uint32_t v) {
    buffer_append(b, &v, sizeof v);
}

static void put_u64(Buffer *b, uint64_t v) {
    buffer_append(b, &v, sizeof v);
}

/* A string in GGUF's encoding: its length as u64, then its bytes without a terminating zero. */
static void put_string(Buffer *b, const char *s, size_t n) {
    put_u64(b, n);
    buffer_append(b, s, n);
}

/* Writes all key-values: the key, the type of the value, the value. Values are kept in the encoding of the
 * file, so their bytes are copied; an array has the type and number of its elements before them. */
static void put_meta(Buffer *b, const Checkpoint *c) {
    for (size_t i = 0; i < c->n_meta; i++) {
        const MetaEntry *m = &c->meta[i];
        put_string(b, m->key, strlen(m->key));
        put_u32(b, m->type);
        if (m->type == META_ARRAY) {
            put_u32(b, m->elem_type);
            put_u64(b, m->count);
        }
        buffer_append(b, m->bytes, m->size);
    }
}

/* The next multiple of the alignment, from `n` on. */
static uint64_t aligned(uint64_t n, uint64_t alignment) {
    return (n + alignment - 1) / alignment * alignment;
}

/* Writes the tensor table: name, rank, dimensions (fastest first), type and offset of each tensor. Offsets
 * are relative to the data section, and each tensor begins at a multiple of the alignment. ggml limits ranks
 * to GGML_MAX_DIMS (4) and names to GGML_MAX_NAME (64, with the terminating zero). */
static bool put_tensor_table(Buffer *b, const Checkpoint *c, Error *e) {
    uint64_t offset = 0;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const Tensor *t = &c->tensors[i];
        /* What neither the format nor ggml can hold is refused before anything is written. */
        const DTypeInfo *d = dtype_info(t->dtype);
        if (d->ggml < 0)
            return error_set(e, ERR_FAILED, "tensor '%s': a GGUF cannot hold elements of type %s", t->name,
                             d->name);
        if (t->rank > 4)
            return error_set(e, ERR_FAILED, "tensor '%s': rank %u, at most 4 in a GGUF", t->name, t->rank);
        if (strlen(t->name) >= 64)
            return error_set(e, ERR_FAILED,
                             "tensor '%s': its name is longer than 63 bytes, the limit of ggml", t->name);
        /* The row itself. */
        put_string(b, t->name, strlen(t->name));
        put_u32(b, t->rank);
        for (uint32_t r = t->rank; r; r--)
            put_u64(b, t->shape[r - 1]);
        put_u32(b, (uint32_t)d->ggml);
        put_u64(b, offset);
        offset = aligned(offset + tensor_bytes(t), c->alignment);
    }
    return true;
}

/* Writes the part of the header before the tensor table: magic, version, counts and key-values. */
static void put_keys(Buffer *b, const Checkpoint *c) {
    buffer_append(b, "GGUF", 4);
    put_u32(b, 3);
    put_u64(b, c->n_tensors);
    put_u64(b, c->n_meta);
    put_meta(b, c);
}

/* Prints a checkpoint's key-values as a GGUF without tensors, for surgery/gguf_keys.c: the keys of a shallow
 * copy whose number of tensors is 0. */
void gguf_print_keys(const Checkpoint *c, Buffer *out) {
    Checkpoint keys = *c;
    keys.n_tensors = 0;
    put_keys(out, &keys);
}

/* Builds all that comes before the data, padded to the alignment. The manifest is asked for each time,
 * because its text depends on the hashes. */
static bool build_header(Buffer *b, Checkpoint *c, const WriteOptions *o, Error *e) {
    /* The manifest becomes a key-value like any other. */
    if (o->manifest) {
        Buffer text = {0};
        bool ok = o->manifest(o->manifest_context, c, &text, e);
        if (ok) meta_set_string(c, MANIFEST_KEY, (const char *)text.data, text.size);
        buffer_free(&text);
        if (!ok) return false;
    }
    /* The same buffer serves both headers. */
    b->size = 0;
    put_keys(b, c);
    if (!put_tensor_table(b, c, e)) return false;
    while (b->size % c->alignment)
        buffer_byte(b, 0);
    return true;
}

/* Writes the whole file to d->fd: the header, the data with padding after each tensor, and the header again
 * over the first one. */
static bool write_all(TensorWriter *d, Checkpoint *c, Error *e) {
    Buffer header = {0};
    bool ok =
        build_header(&header, c, d->options, e) && fd_write(d->fd, header.data, header.size, d->path, e);
    /* The data of each tensor, padded to the alignment. This fills the hashes. */
    size_t first_size = header.size;
    for (size_t i = 0; ok && i < c->n_tensors; i++) {
        Tensor *t = &c->tensors[i];
        uint64_t bytes = tensor_bytes(t);
        ok = tensor_writer_add(d, t, e) && tensor_writer_pad(d, aligned(bytes, c->alignment) - bytes, e);
    }
    /* The header again, now with the real hashes. */
    if (ok && d->options->manifest) {
        ok = build_header(&header, c, d->options, e);
        if (ok && header.size != first_size)
            ok = error_set(e, ERR_FAILED, "%s: the manifest changed its length from %zu to %zu", d->path,
                           first_size, header.size);
        if (ok && lseek(d->fd, 0, SEEK_SET) != 0) ok = error_errno(e, "%s", d->path);
        ok = ok && fd_write(d->fd, header.data, header.size, d->path, e);
    }
    buffer_free(&header);
    return ok;
}

/* c->alignment and the key general.alignment must say the same. The key, which came with the metadata of the
 * source, has precedence; a default of 32 needs no key. */
static void settle_alignment(Checkpoint *c) {
    uint64_t a;
    if (meta_u64(c, "general.alignment", &a) && a && !(a & (a - 1)) && a <= UINT32_MAX)
        c->alignment = (uint32_t)a;
    else if (c->alignment != 32)
        meta_set_u32(c, "general.alignment", c->alignment);
}

/* Writes to a temporary file, which gets its final name only when everything succeeded (formats/output.h).
 * output_discard is called after success too and then only frees memory. */
bool gguf_write(Checkpoint *c, const char *path, const WriteOptions *o, Error *e) {
    Output out;
    if (!output_begin(&out, path, false, o->force, e)) return false;
    tensors_blank_hashes(c);
    settle_alignment(c);
    TensorWriter d = {.path = path, .options = o, .total = tensors_total_bytes(c)};
    d.fd = open(out.temp, O_WRONLY | O_CLOEXEC);
    bool ok = d.fd >= 0 || error_errno(e, "%s", path);
    ok = ok && write_all(&d, c, e);
    if (d.fd >= 0 && close(d.fd) != 0 && ok) ok = error_errno(e, "%s", path);
    ok = ok && output_commit(&out, e);
    output_discard(&out);
    return ok;
}

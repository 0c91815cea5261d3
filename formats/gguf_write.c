/* Writes a checkpoint as a GGUF file of version 3. formats/gguf.h describes the format.
 * surgery/export.c builds the checkpoint of an output, and cmd/output.c calls gguf_write for it. In this file
 * "header" means everything before the data of the tensors: magic, version, counts, key-value pairs, tensor
 * table and padding.
 *
 * The manifest of derope is stored as a key-value pair, so it is part of the header. It contains a hash of
 * each tensor, and the hashes are computed while the data is written, after the header. The header is
 * therefore written twice: first with zeros for the hashes, and after the data once more at the start of the
 * file with the computed hashes. A hash always has the same number of digits, so both headers have the same
 * length. */
#include "formats/gguf_write.h"
#include "formats/file.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "formats/file_names.h"
#include "formats/meta.h"
#include "formats/output.h"
#include "formats/tensor_writer.h"

/* Appends a 32-bit integer in little-endian byte order. The memory of all supported machines has this order
 * too, so the bytes are copied. */
static void put_u32(Buffer *b, uint32_t v) {
    buffer_append(b, &v, sizeof v);
}

/* Appends a 64-bit integer in little-endian byte order. */
static void put_u64(Buffer *b, uint64_t v) {
    buffer_append(b, &v, sizeof v);
}

/* Appends a string of `n` bytes as GGUF stores it: the length as a 64-bit integer, then the bytes without a
 * terminating zero. */
static void put_string(Buffer *b, const char *s, size_t n) {
    put_u64(b, n);
    buffer_append(b, s, n);
}

/* Appends all key-value pairs. Each consists of the key, the type of the value and the value. The value of an
 * array begins with the type and the number of its elements. A MetaEntry holds the elements and all other
 * values in the encoding of the file (formats/meta.h), so their bytes are copied. */
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

/* Returns the smallest multiple of `alignment` that is at least `n`, both in bytes. */
static uint64_t aligned(uint64_t n, uint64_t alignment) {
    return (n + alignment - 1) / alignment * alignment;
}

/* Appends the tensor table. It has one row for each tensor: name, rank, dimensions (the fastest one first,
 * the reverse of Tensor.shape), ggml type, and offset of the tensor in the data section. Each tensor begins
 * at a multiple of the alignment. A tensor that ggml could not load is an error: ggml limits the rank to
 * GGML_MAX_DIMS (4) and the name to GGML_MAX_NAME (64 bytes with the terminating zero). */
static bool put_tensor_table(Buffer *b, const Checkpoint *c, Error *e) {
    uint64_t offset = 0; /* of the current tensor, in bytes from the start of the data section */
    for (size_t i = 0; i < c->n_tensors; i++) {
        const Tensor *t = &c->tensors[i];
        /* Refuse tensors that a GGUF cannot hold. Nothing has been written to the file yet. */
        const DTypeInfo *d = dtype_info(t->dtype);
        if (d->ggml < 0)
            return error_set(e, ERR_FAILED, "tensor '%s': a GGUF cannot hold elements of type %s", t->name,
                             d->name);
        if (t->rank > 4)
            return error_set(e, ERR_FAILED, "tensor '%s': rank %u, at most 4 in a GGUF", t->name, t->rank);
        if (strlen(t->name) >= 64)
            return error_set(e, ERR_FAILED,
                             "tensor '%s': its name is longer than 63 bytes, the limit of ggml", t->name);
        /* Append the row of the tensor. */
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

/* Appends the part of the header before the tensor table: the magic "GGUF", the version 3, the number of
 * tensors, the number of key-value pairs, and the pairs. */
static void put_keys(Buffer *b, const Checkpoint *c) {
    buffer_append(b, "GGUF", 4);
    put_u32(b, 3);
    put_u64(b, c->n_tensors);
    put_u64(b, c->n_meta);
    put_meta(b, c);
}

/* Appends a GGUF that has the key-value pairs of the checkpoint and no tensors. surgery/gguf_keys.c uses it
 * to keep the pairs in a file of their own. The function works on a shallow copy of the checkpoint, in which
 * the number of tensors is set to 0. */
void gguf_print_keys(const Checkpoint *c, Buffer *out) {
    Checkpoint keys = *c;
    keys.n_tensors = 0;
    put_keys(out, &keys);
}

/* Builds the whole header in `b`, padded to a multiple of the alignment, at which the data section begins. If
 * the output has a manifest, its text is generated again in each call, because it contains the current hashes
 * of the tensors. */
static bool build_header(Buffer *b, Checkpoint *c, const WriteOptions *o, Error *e) {
    /* Store the text of the manifest as a key-value pair of the checkpoint. */
    if (o->manifest) {
        Buffer text = {0};
        bool ok = o->manifest(o->manifest_context, c, &text, e);
        if (ok) meta_set_string(c, MANIFEST_KEY, (const char *)text.data, text.size);
        buffer_free(&text);
        if (!ok) return false;
    }
    /* Replace the header that an earlier call left in the buffer. */
    b->size = 0;
    put_keys(b, c);
    if (!put_tensor_table(b, c, e)) return false;
    /* Pad with zeros up to the start of the data section. */
    while (b->size % c->alignment)
        buffer_byte(b, 0);
    return true;
}

/* Writes the complete file to d->fd: the header, the data of all tensors, and, if the output has a manifest,
 * the final header in the place of the first one. */
static bool write_all(TensorWriter *d, Checkpoint *c, Error *e) {
    /* Write the header, in which the hashes are zeros. */
    Buffer header = {0};
    bool ok =
        build_header(&header, c, d->options, e) && fd_write(d->fd, header.data, header.size, d->path, e);
    /* Write the data of each tensor, padded to the alignment. tensor_writer_add sets its hash. */
    size_t first_size = header.size;
    for (size_t i = 0; ok && i < c->n_tensors; i++) {
        Tensor *t = &c->tensors[i];
        uint64_t bytes = tensor_bytes(t);
        ok = tensor_writer_add(d, t, e) && tensor_writer_pad(d, aligned(bytes, c->alignment) - bytes, e);
    }
    /* Write the header again with the computed hashes. A header of another length would overwrite data. */
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

/* Makes c->alignment (in bytes) and the key general.alignment agree. If the source had the key and its value
 * is a power of two, c->alignment is set to this value. Otherwise the key is set to c->alignment, except for
 * 32, which is the default of the format and needs no key. */
static void settle_alignment(Checkpoint *c) {
    uint64_t a;
    if (meta_u64(c, "general.alignment", &a) && a && !(a & (a - 1)) && a <= UINT32_MAX)
        c->alignment = (uint32_t)a;
    else if (c->alignment != 32)
        meta_set_u32(c, "general.alignment", c->alignment);
}

/* Writes to a temporary file and renames it to `path` when everything has succeeded (formats/output.h), so
 * that a failure leaves no incomplete file. output_discard removes the temporary file after a failure; after
 * a success it only frees memory. */
bool gguf_write(Checkpoint *c, const char *path, const WriteOptions *o, Error *e) {
    /* Create the temporary file, and bring the checkpoint to its initial state: zeros for all hashes. */
    Output out;
    if (!output_begin(&out, path, false, o->force, e)) return false;
    tensors_blank_hashes(c);
    settle_alignment(c);
    TensorWriter d = {.path = path, .options = o, .total = tensors_total_bytes(c)};
    d.fd = file_open_output(out.temp, 0, NULL);
    bool ok = d.fd >= 0 || error_errno(e, "%s", path);
    /* Write the file, close it, and give it its final name. */
    ok = ok && write_all(&d, c, e);
    if (d.fd >= 0) ok = file_close_output(d.fd, path, ok ? e : NULL) && ok;
    ok = ok && (!o->check || o->check(o->check_context, out.temp, e));
    ok = ok && output_commit(&out, e);
    output_discard(&out);
    return ok;
}

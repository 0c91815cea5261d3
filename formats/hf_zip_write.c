/* Writes a Hugging Face folder as one zip: see formats/hf_zip_write.h. hf_write.c calls it with the list of
 * files from hf_files.c.
 *
 * libzip asks for the bytes of each entry through one callback (entry_command) and hands over the bytes of
 * the zip through another (file_command), so only one piece is ever in memory. It writes the entries in the
 * order in which they were added, so that the hashes of all tensors are known when the manifest, the last
 * entry, is read. The format is described in PKWARE's APPNOTE.TXT. */
#include "formats/hf_zip_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "formats/tensor_writer.h"

enum {
    ALIGNMENT = 64, /* bytes; the data of weights begins at a multiple of it */
    /* The extra field by which Android's zipalign pads: the alignment as u16, then zeros. Other readers skip
     * extra fields that they do not know (APPNOTE, 4.5). */
    PADDING = 0xd935,
    BUFFERED = 1 << 20 /* bytes that stdio collects before it writes */
};

/* The zip being written. */
typedef struct ZipWrite {
    Checkpoint *c;
    const WriteOptions *options;
    const char *path; /* for messages */
    FILE *out;
    uint64_t done, total; /* bytes of tensor data, for progress */
    zip_error_t error;    /* what callbacks report to libzip; `e` has the precise message */
    Error *e;             /* never NULL */
} ZipWrite;

/* An entry of the zip, and how far libzip has read it. */
typedef struct Entry {
    ZipWrite *w;
    const HfFile *file;
    Buffer manifest;      /* its text, if this is the manifest */
    uint64_t size;        /* bytes, known before the entry is written */
    size_t tensor;        /* index of the tensor being read; n_tensors when all are read */
    TensorStream stream;  /* of that tensor, once it is opened */
    const uint8_t *piece; /* the bytes to hand out next */
    size_t left;          /* how many of them */
} Entry;

/* Reports a failure to libzip, which passes it on to zip_close. */
static zip_int64_t failed(ZipWrite *w) {
    zip_error_set(&w->error, ZIP_ER_WRITE, errno);
    return -1;
}

/* ---- entries: libzip reads ---- */

/* Makes the manifest again, now that the hashes are known. Its length was fixed when the entry was added. */
static bool renew_manifest(Entry *x) {
    x->manifest.size = 0;
    if (!hf_manifest_text(x->w->c, x->w->options, &x->manifest, x->w->e)) return false;
    return x->manifest.size == x->size ||
           error_set(x->w->e, ERR_FAILED, "%s: the manifest changed its length from %llu to %zu", x->w->path,
                     (unsigned long long)x->size, x->manifest.size);
}

/* Called when libzip opens an entry, just before it reads it: the first piece is the file's bytes, or the
 * manifest's text. */
static bool begin_entry(Entry *x) {
    x->piece = x->file->bytes;
    x->left = x->file->n_bytes;
    x->tensor = 0;
    if (!x->file->is_manifest) return true;
    if (!renew_manifest(x)) return false;
    x->piece = x->manifest.data;
    x->left = x->manifest.size;
    return true;
}

/* If the current piece is used up, gets the next one from the tensors. Leaves x->left at 0 when there is
 * none. */
static bool next_piece(Entry *x) {
    ZipWrite *w = x->w;
    while (!x->left && x->tensor < x->file->n_tensors) {
        if (w->options->stop && *w->options->stop)
            return error_set(w->e, ERR_INTERRUPTED, "%s: interrupted; nothing was left behind", w->path);
        if (!x->stream.tensor) x->stream = tensor_stream(x->file->tensors[x->tensor]);
        if (!tensor_stream_next(&x->stream, &x->piece, &x->left, w->e)) return false;
        w->done += x->left;
        if (x->left && w->options->progress)
            w->options->progress(w->options->progress_context, w->done, w->total);
        /* The tensor has ended. */
        if (x->left) continue;
        tensor_stream_close(&x->stream);
        x->tensor++;
    }
    return true;
}

/* Copies up to `n` bytes of the entry to libzip; 0 at its end, -1 after a failure. */
static zip_int64_t read_entry(Entry *x, uint8_t *out, zip_uint64_t n) {
    zip_uint64_t given = 0;
    while (given < n) {
        if (!next_piece(x)) return failed(x->w);
        if (!x->left) break;
        size_t take = x->left < n - given ? x->left : n - given;
        memcpy(out + given, x->piece, take);
        x->piece += take;
        x->left -= take;
        given += take;
    }
    return (zip_int64_t)given;
}

/* The source of an entry (libzip, zip_source_function(3)). It can be read once, from the beginning. */
static zip_int64_t entry_command(void *context, void *data, zip_uint64_t n, zip_source_cmd_t command) {
    Entry *x = context;
    zip_stat_t *st = data;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        return begin_entry(x) ? 0 : failed(x->w);
    case ZIP_SOURCE_READ:
        return read_entry(x, data, n);
    case ZIP_SOURCE_CLOSE:
        tensor_stream_close(&x->stream);
        return 0;
    case ZIP_SOURCE_STAT:
        zip_stat_init(st);
        st->size = x->size;
        st->valid = ZIP_STAT_SIZE;
        return sizeof *st;
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&x->w->error, data, n);
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE,
                                              ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, -1);
    case ZIP_SOURCE_FREE:
        return 0;
    default:
        zip_error_set(&x->w->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

/* ---- the file: libzip writes ---- */

/* Turns the success of a stdio function into libzip's result, 0 or -1, and sets the message from errno unless
 * there is one already. */
static zip_int64_t stdio_result(ZipWrite *w, bool ok) {
    if (ok) return 0;
    if (w->e->code == ERR_NONE)
        error_errno(w->e, "%s: cannot write at offset %lld", w->path, (long long)ftello(w->out));
    return failed(w);
}

/* Moves the write position. libzip seeks back to fill in sizes and checksums of a local header once they are
 * known. */
static zip_int64_t seek_file(ZipWrite *w, void *data, zip_uint64_t n) {
    zip_source_args_seek_t *to = ZIP_SOURCE_GET_ARGS(zip_source_args_seek_t, data, n, &w->error);
    return to ? stdio_result(w, fseeko(w->out, to->offset, to->whence) == 0) : -1;
}

/* The file that the zip is written to. It is opened, closed and renamed by our caller, so most commands have
 * nothing to do. */
static zip_int64_t file_command(void *context, void *data, zip_uint64_t n, zip_source_cmd_t command) {
    ZipWrite *w = context;
    switch (command) {
    case ZIP_SOURCE_WRITE:
        return stdio_result(w, fwrite(data, 1, n, w->out) == n) == 0 ? (zip_int64_t)n : -1;
    case ZIP_SOURCE_SEEK_WRITE:
        return seek_file(w, data, n);
    case ZIP_SOURCE_TELL_WRITE:
        return ftello(w->out);
    case ZIP_SOURCE_COMMIT_WRITE:
        return stdio_result(w, fflush(w->out) == 0);
    case ZIP_SOURCE_OPEN: /* zip_open checks that the file exists */
    case ZIP_SOURCE_BEGIN_WRITE:
    case ZIP_SOURCE_ROLLBACK_WRITE:
    case ZIP_SOURCE_REMOVE:
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    case ZIP_SOURCE_STAT:
        zip_stat_init(data);
        return sizeof(zip_stat_t);
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&w->error, data, n);
    case ZIP_SOURCE_SUPPORTS:
        return ZIP_SOURCE_SUPPORTS_WRITABLE;
    default: /* a new zip is never read */
        zip_error_set(&w->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

/* ---- both together ---- */

/* Bytes of the local file header that libzip writes before the data of an entry (APPNOTE, 4.3.7): 30 fixed
 * bytes, the name, and a zip64 field of 20 bytes if the size does not fit in 32 bits. */
static uint64_t header_bytes(const HfFile *f, uint64_t size) {
    return 30 + strlen(f->name) + (size > UINT32_MAX ? 20 : 0);
}

/* The size of the extra field that moves the data of an entry, which would begin at offset `at`, to a
 * multiple of ALIGNMENT. 0 if it already lies there. The field has 4 bytes of header and at least the 2 bytes
 * of the alignment. */
static uint64_t padding_for(uint64_t at) {
    uint64_t n = (ALIGNMENT - at % ALIGNMENT) % ALIGNMENT;
    return n && n < 6 ? n + ALIGNMENT : n;
}

/* Adds the extra field of `n` bytes, with its header of 4, to entry `i`: the alignment as u16, then zeros.
 * libzip writes the header. */
static bool add_padding(zip_t *z, zip_uint64_t i, uint64_t n) {
    uint8_t field[2 * ALIGNMENT] = {ALIGNMENT};
    return !n || zip_file_extra_field_set(z, i, PADDING, ZIP_EXTRA_FIELD_NEW, field, (zip_uint16_t)(n - 4),
                                          ZIP_FL_LOCAL) == 0;
}

/* Adds an entry to the zip. `*at` is the offset at which it begins, and is moved to where the next one
 * begins. */
static bool add_entry(zip_t *z, Entry *x, uint64_t *at) {
    uint64_t header = header_bytes(x->file, x->size);
    uint64_t padding = x->file->n_tensors ? padding_for(*at + header) : 0;
    *at += header + padding + x->size;
    /* The entry is stored without compression, and its date is a constant, so that equal models give equal
     * zips. */
    zip_source_t *source = zip_source_function(z, entry_command, x);
    zip_int64_t i = source ? zip_file_add(z, x->file->name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (i < 0) {
        zip_source_free(source);
        return false;
    }
    return zip_set_file_compression(z, (zip_uint64_t)i, ZIP_CM_STORE, 0) == 0 &&
           zip_file_set_dostime(z, (zip_uint64_t)i, 0, 1 << 5 | 1, 0) ==
               0 && /* 1 January 1980, the first date */
           add_padding(z, (zip_uint64_t)i, padding);
}

/* Finds the size of an entry. The manifest is made with hashes of zeros for this. */
static bool measure(ZipWrite *w, Entry *x) {
    x->size = x->file->n_bytes + x->file->tensor_bytes;
    if (!x->file->is_manifest) return true;
    tensors_blank_hashes(w->c);
    bool ok = hf_manifest_text(w->c, w->options, &x->manifest, w->e);
    x->size = x->manifest.size;
    return ok;
}

/* Adds all entries; zip_close then writes the zip and calls the callbacks. */
static bool write_entries(ZipWrite *w, zip_t *z, Entry *entries, const HfFiles *files) {
    uint64_t at = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < files->n; i++) {
        entries[i] = (Entry){.w = w, .file = &files->files[i]};
        ok = measure(w, &entries[i]) && add_entry(z, &entries[i], &at);
    }
    ok = ok && zip_close(z) == 0;
    if (ok) return true;
    if (w->e->code == ERR_NONE && zip_error_code_zip(zip_get_error(z)) == ZIP_ER_MEMORY) memory_used_up();
    if (w->e->code == ERR_NONE) error_set(w->e, ERR_FAILED, "%s: %s", w->path, zip_strerror(z));
    zip_discard(z);
    return false;
}

/* The callbacks always need an Error to write to, so a local one is used and copied at the end. */
bool hf_zip_write(Checkpoint *c, const HfFiles *files, const char *temp, const char *path,
                  const WriteOptions *o, Error *e) {
    Error reason = {0};
    ZipWrite w = {.c = c, .options = o, .path = path, .total = tensors_total_bytes(c), .e = &reason};
    zip_error_init(&w.error);
    w.out = fopen(temp, "r+b");
    if (!w.out) return error_errno(e, "%s", path);
    setvbuf(w.out, NULL, _IOFBF, BUFFERED);
    /* Open the zip on our file, add the entries, write it. */
    zip_source_t *file = zip_source_function_create(file_command, &w, &w.error);
    zip_t *z = file ? zip_open_from_source(file, ZIP_CREATE | ZIP_TRUNCATE, &w.error) : NULL;
    if (!z && zip_error_code_zip(&w.error) == ZIP_ER_MEMORY) memory_used_up();
    Entry *entries = xcalloc(files->n, sizeof *entries);
    bool ok = z ? write_entries(&w, z, entries, files)
                : error_set(&reason, ERR_FAILED, "%s: %s", path, zip_error_strerror(&w.error));
    /* A source belongs to the zip once that is open, and to us before. */
    if (!z && file) zip_source_free(file);
    for (size_t i = 0; i < files->n; i++)
        buffer_free(&entries[i].manifest);
    free(entries);
    if (fclose(w.out) != 0 && ok) ok = error_errno(&reason, "%s", path);
    zip_error_fini(&w.error);
    if (!ok && e) *e = reason;
    return ok;
}

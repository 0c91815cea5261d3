/* Streams of tensor bytes and the file writer built on them: see formats/tensor_writer.h. gguf_write.c and
 * hf_write.c write tensors to files through TensorWriter; hf_zip_write.c takes the stream itself, because
 * libzip asks for bytes. Every byte that is written passes through the stream's hash, which ends up in
 * Tensor.hash for the manifest. */
#include "formats/tensor_writer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "formats/hash.h"
#include "formats/output.h"

enum {
    PIECE = 2 << 20,  /* bytes produced at a time; progress and interruption are handled after each */
    FLUSH = 32 << 20, /* bytes after which the kernel is asked to start writing to disk */
};

/* Asks the kernel to start writing dirty pages to disk while the next tensors are being computed. Without it,
 * all of a large file would be left to the fsync at the end. */
static void start_flush(TensorWriter *w, size_t n) {
    w->unflushed += n;
    if (w->unflushed < FLUSH) return;
    sync_file_range(w->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    w->unflushed = 0;
}

/* Writes one piece, unless the user has interrupted the run, and reports the progress. */
static bool write_piece(TensorWriter *w, const void *bytes, size_t n, Error *e) {
    if (w->options->stop && *w->options->stop)
        return error_set(e, ERR_INTERRUPTED, "%s: interrupted; nothing was left behind", w->path);
    if (!fd_write(w->fd, bytes, n, w->path, e)) return false;
    start_flush(w, n);
    w->done += n;
    if (w->options->progress) w->options->progress(w->options->progress_context, w->done, w->total);
    return true;
}

/* ---- reading a tensor in pieces ---- */

/* Nothing is read or allocated for rows before the first piece is asked for. */
TensorStream tensor_stream(Tensor *t) {
    return (TensorStream){.tensor = t, .hash = hash_new()};
}

/* A stream that was abandoned after an error still has its hash, whose only way to be freed is to finish
 * it. */
void tensor_stream_close(TensorStream *s) {
    char unused[33];
    if (s->hash) hash_finish(s->hash, unused);
    free(s->rows);
    *s = (TensorStream){0};
}

/* Reads the next rows of a tensor that is not mapped, as many as fit into PIECE bytes but at least one. `*n`
 * stays 0 at the end. */
static bool next_rows(TensorStream *s, const uint8_t **bytes, size_t *n, Error *e) {
    const Tensor *t = s->tensor;
    uint64_t row = tensor_row_bytes(t);
    if (!row || s->at >= t->n_rows) return true;
    uint64_t step = row < PIECE ? PIECE / row : 1;
    if (step > t->n_rows) step = t->n_rows;
    if (!s->rows && !(s->rows = big_alloc(step, row, t->name, e))) return false;
    uint64_t take = t->n_rows - s->at < step ? t->n_rows - s->at : step;
    if (!tensor_read_rows_counted(t, s->at, take, s->rows, &s->tensor->nonfinite, e)) return false;
    *bytes = s->rows;
    *n = take * row;
    s->at += take;
    return true;
}

/* Hands out the next piece: of a mapped tensor in place, where s->at counts bytes; of others in s->rows,
 * where it counts rows. Every piece is hashed, and what is not finite in it is counted. `*n` = 0 tells the
 * caller that the stream has ended and that Tensor.hash is set. */
bool tensor_stream_next(TensorStream *s, const uint8_t **bytes, size_t *n, Error *e) {
    const uint8_t *map = tensor_map(s->tensor);
    *n = 0;
    if (s->at == 0) s->tensor->nonfinite = (NonFinite){0};
    if (map) {
        /* A piece is a whole number of blocks. */
        const DTypeInfo *d = dtype_info(s->tensor->dtype);
        uint64_t left = tensor_bytes(s->tensor) - s->at, piece = PIECE - PIECE % d->block_bytes;
        *bytes = map + s->at;
        *n = left < piece ? left : piece;
        nonfinite_scan(s->tensor->dtype, *bytes, *n / d->block_bytes * d->block_elems, &s->tensor->nonfinite);
        s->at += *n;
    } else if (!next_rows(s, bytes, n, e)) {
        return false;
    }
    if (*n) {
        hash_update(s->hash, *bytes, *n);
    } else {
        hash_finish(s->hash, s->tensor->hash);
        s->hash = NULL;
    }
    return true;
}

/* ---- appending to a file ---- */

/* Writes a tensor piece by piece. */
bool tensor_writer_add(TensorWriter *w, Tensor *t, Error *e) {
    TensorStream s = tensor_stream(t);
    const uint8_t *bytes;
    size_t n;
    bool ok;
    while ((ok = tensor_stream_next(&s, &bytes, &n, e)) && n && (ok = write_piece(w, bytes, n, e))) {}
    tensor_stream_close(&s);
    return ok;
}

/* Padding does not count as progress. */
bool tensor_writer_pad(TensorWriter *w, uint64_t n, Error *e) {
    static const uint8_t zeros[4096];
    for (; n; n -= n < sizeof zeros ? n : sizeof zeros)
        if (!fd_write(w->fd, zeros, n < sizeof zeros ? n : sizeof zeros, w->path, e)) return false;
    return true;
}

/* Before anything is written, hashes are 32 zeros, which take the same space in the first header of a GGUF as
 * the real ones. */
void tensors_blank_hashes(Checkpoint *c) {
    for (size_t i = 0; i < c->n_tensors; i++)
        memset(c->tensors[i].hash, '0', sizeof c->tensors[i].hash - 1);
}

/* The sum that progress is measured against. */
uint64_t tensors_total_bytes(const Checkpoint *c) {
    uint64_t total = 0;
    for (size_t i = 0; i < c->n_tensors; i++)
        total += tensor_bytes(&c->tensors[i]);
    return total;
}

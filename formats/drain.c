#include "formats/drain.h"

#include <fcntl.h>
#include <stdlib.h>

#include "formats/file.h"
#include "formats/hash.h"

enum { PIECE = 2 << 20, FLUSH = 32 << 20 };

/* Has the disk work on what is written while we go on, so that the fsync at the end finds little left. */
static void start_flush(Drain *d, size_t n) {
    d->unflushed += n;
    if (d->unflushed < FLUSH) return;
    sync_file_range(d->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    d->unflushed = 0;
}

static bool put(Drain *d, Hash *h, const void *bytes, size_t n, Error *e) {
    if (d->options->stop && *d->options->stop)
        return error_set(e, ERR_INTERRUPTED, "%s: interrupted; nothing was left behind", d->path);
    if (!fd_write(d->fd, bytes, n, d->path, e)) return false;
    hash_update(h, bytes, n);
    start_flush(d, n);
    d->done += n;
    if (d->options->progress) d->options->progress(d->options->progress_context, d->done, d->total);
    return true;
}

static bool put_mapped(Drain *d, Hash *h, const uint8_t *map, uint64_t n, Error *e) {
    for (uint64_t at = 0; at < n; at += PIECE)
        if (!put(d, h, map + at, n - at < PIECE ? n - at : PIECE, e)) return false;
    return true;
}

static bool put_rows(Drain *d, Hash *h, const Tensor *t, Error *e) {
    if (!t->n_rows) return true;
    uint64_t row = tensor_bytes(t) / t->n_rows;
    if (!row) return true;
    uint64_t step = row < PIECE ? PIECE / row : 1;
    if (step > t->n_rows) step = t->n_rows;
    void *piece = big_alloc(step, row, t->name, e);
    bool ok = piece != NULL;
    for (uint64_t i = 0; ok && i < t->n_rows; i += step) {
        uint64_t rows = t->n_rows - i < step ? t->n_rows - i : step;
        ok = tensor_read_rows(t, i, rows, piece, e) && put(d, h, piece, rows * row, e);
    }
    free(piece);
    return ok;
}

bool drain_tensor(Drain *d, Tensor *t, Error *e) {
    Hash *h = hash_new();
    const void *map = tensor_map(t);
    bool ok = map ? put_mapped(d, h, map, tensor_bytes(t), e) : put_rows(d, h, t, e);
    hash_finish(h, t->hash);
    return ok;
}

bool drain_zeros(Drain *d, uint64_t n, Error *e) {
    static const uint8_t zeros[4096];
    for (; n; n -= n < sizeof zeros ? n : sizeof zeros)
        if (!fd_write(d->fd, zeros, n < sizeof zeros ? n : sizeof zeros, d->path, e)) return false;
    return true;
}

uint64_t drain_total(const Checkpoint *c) {
    uint64_t total = 0;
    for (size_t i = 0; i < c->n_tensors; i++)
        total += tensor_bytes(&c->tensors[i]);
    return total;
}

/* Entries of a zip as ranges of the mapped file: see formats/zip_map.h. torch_zip.c and hf_zip.c read weights
 * through this file without unpacking them.
 *
 * libzip parses the central directory, but has no function that says at which offset the data of an entry
 * begins: that depends on the local file header, whose extra field may differ from the one in the directory.
 * Therefore libzip reads the mapped file through a source of our own (window_command); when it is asked for
 * the first byte of an entry, the source sees the offset at which it reads. See find_bytes. */
#include "formats/zip_map.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>
#include <zlib.h>

enum {
    MAX_EXPANSION = 100
}; /* how many times the size of the file its deflated entries may take in memory */

/* The mapped file as a source for libzip. */
typedef struct Window {
    const uint8_t *map; /* (size) */
    uint64_t size;      /* bytes */
    uint64_t at;        /* read position */
    uint64_t last_read; /* offset at which the last read began */
    zip_error_t error;
} Window;

/* Reads for libzip: copies up to `n` bytes from the mapping and remembers at which offset. */
static zip_int64_t window_read(Window *w, void *out, zip_uint64_t n) {
    if (n > w->size - w->at) n = w->size - w->at;
    memcpy(out, w->map + w->at, n);
    w->last_read = w->at;
    w->at += n;
    return (zip_int64_t)n;
}

/* libzip asks for the size of the source to find the central directory at its end. */
static zip_int64_t window_stat(const Window *w, zip_stat_t *st) {
    zip_stat_init(st);
    st->size = w->size;
    st->valid = ZIP_STAT_SIZE;
    return sizeof *st;
}

/* The callback of a seekable, read-only source (libzip, zip_source_function(3)). `data` and `n` are the
 * command's operands; -1 reports the error in w->error. */
static zip_int64_t window_command(void *context, void *data, zip_uint64_t n, zip_source_cmd_t command) {
    Window *w = context;
    zip_int64_t to;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        w->at = 0;
        return 0;
    case ZIP_SOURCE_READ:
        return window_read(w, data, n);
    case ZIP_SOURCE_SEEK:
        to = zip_source_seek_compute_offset(w->at, w->size, data, n, &w->error);
        if (to < 0) return -1;
        w->at = (uint64_t)to;
        return 0;
    case ZIP_SOURCE_TELL:
        return (zip_int64_t)w->at;
    case ZIP_SOURCE_STAT:
        return window_stat(w, data);
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&w->error, data, n);
    case ZIP_SOURCE_SUPPORTS:
        return ZIP_SOURCE_SUPPORTS_SEEKABLE;
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    default:
        zip_error_set(&w->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

/* A zip that is being read. Entries belong to the checkpoint's arena and outlive it. */
struct ZipMap {
    Checkpoint *c;
    const ByteSource *file;
    Window window;
    zip_t *zip;
    ZipEntry **entries; /* (n_entries) by number in the zip; NULL until opened */
    uint64_t n_entries;
    uint64_t unpacked; /* bytes that deflated entries take in memory */
};

/* Ends the program if libzip failed for want of memory; otherwise the caller reports what it knows. */
static void check_memory(const zip_error_t *error) {
    if (zip_error_code_zip(error) == ZIP_ER_MEMORY) memory_used_up();
}

/* Opens the zip, for which libzip reads the central directory. If that succeeds, libzip frees the source
 * later; otherwise it has to be freed here. */
ZipMap *zip_map_open(Checkpoint *c, const ByteSource *file, Error *e) {
    ZipMap *z = xcalloc(1, sizeof *z);
    z->c = c;
    z->file = file;
    z->window = (Window){.map = file->map, .size = file->size};
    zip_error_init(&z->window.error);
    zip_error_t why;
    zip_error_init(&why);
    /* The window becomes a source, and the source a zip. */
    zip_source_t *source = zip_source_function_create(window_command, &z->window, &why);
    z->zip = source ? zip_open_from_source(source, ZIP_RDONLY, &why) : NULL;
    if (!z->zip) {
        check_memory(&why);
        error_set(e, ERR_INPUT, "%s: not a complete zip file: %s", file->path, zip_error_strerror(&why));
        if (source) zip_source_free(source);
    } else {
        z->n_entries = (uint64_t)zip_get_num_entries(z->zip, 0);
        z->entries = xcalloc(z->n_entries, sizeof *z->entries);
    }
    zip_error_fini(&why);
    if (z->zip) return z;
    zip_map_close(z);
    return NULL;
}

/* Entries that were opened stay valid, because their bytes belong to the checkpoint. */
void zip_map_close(ZipMap *z) {
    if (!z) return;
    if (z->zip) zip_discard(z->zip);
    zip_error_fini(&z->window.error);
    free(z->entries);
    free(z);
}

/* For messages. */
const char *zip_map_path(const ZipMap *z) {
    return z->file->path;
}

uint64_t zip_map_count(const ZipMap *z) {
    return z->n_entries;
}

/* libzip may return NULL for an entry without a readable name, which then is "". */
const char *zip_map_name(const ZipMap *z, uint64_t i) {
    const char *name = zip_get_name(z->zip, i, 0);
    if (!name) check_memory(zip_get_error(z->zip));
    return name ? name : "";
}

/* Names are compared exactly, including case. */
bool zip_map_has(const ZipMap *z, const char *name) {
    bool has = zip_name_locate(z->zip, name, 0) >= 0;
    if (!has) check_memory(zip_get_error(z->zip));
    return has;
}

/* False also if there is no such entry. */
bool zip_map_is_compressed(const ZipMap *z, const char *name) {
    zip_stat_t st;
    bool known = zip_stat(z->zip, name, 0, &st) == 0;
    if (!known) check_memory(zip_get_error(z->zip));
    return known && st.comp_method != ZIP_CM_STORE;
}

/* ---- entries ---- */

/* Compares the CRC-32 of the entry's bytes with the one that the zip states, once. A CRC of 0 can also mean
 * that none was computed, so an entry whose true CRC is 0 (one in 2^32) is not checked. */
bool zip_entry_check(ZipEntry *x, Error *e) {
    if (x->checked || !x->crc) return true;
    uint32_t crc = (uint32_t)crc32_z(0, x->bytes, x->source.size);
    if (crc != x->crc)
        return error_set(e, ERR_INPUT, "%s: %.300s: its checksum is %08x, but the zip states %08x: damaged",
                         x->source.path, x->name, crc, x->crc);
    x->checked = true;
    return true;
}

/* ByteSource.read of an entry. The checksum covers the whole entry, so the first read goes through all of
 * it. */
static bool read_entry(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e) {
    ZipEntry *x = s->context;
    if (!zip_entry_check(x, e)) return false;
    memcpy(out, x->bytes + offset, n);
    return true;
}

/* Finds the offset in the file at which the data of an entry, compressed or not, begins. Opening the entry
 * raw (ZIP_FL_COMPRESSED) and reading a byte makes libzip skip the local header; the window remembers where
 * that read began. False if the `size` bytes do not lie in the file. */
static bool find_bytes(ZipMap *z, uint64_t number, uint64_t size, uint64_t *at) {
    uint8_t first;
    zip_file_t *f = zip_fopen_index(z->zip, number, ZIP_FL_COMPRESSED | ZIP_FL_ENCRYPTED);
    bool ok = f && zip_fread(f, &first, 1) == 1;
    if (!ok) check_memory(f ? zip_file_get_error(f) : zip_get_error(z->zip));
    *at = z->window.last_read;
    if (f) zip_fclose(f);
    return ok && size <= z->file->size && *at <= z->file->size - size;
}

/* Reports an entry whose bytes would reach beyond the file. */
static bool outside(const ZipMap *z, const char *name, uint64_t size, Error *e) {
    return error_set(e, ERR_INPUT, "%s: %.300s: its %llu bytes do not lie within the %llu bytes of the file",
                     z->file->path, name, (unsigned long long)size, (unsigned long long)z->file->size);
}

/* Finds the bytes of a stored entry in the mapped file. An empty entry has no bytes to find. */
static bool locate(ZipMap *z, ZipEntry *x, uint64_t number, const zip_stat_t *st, Error *e) {
    uint64_t at = 0;
    if (st->size && (st->comp_size != st->size || !find_bytes(z, number, st->size, &at)))
        return outside(z, x->name, st->size, e);
    x->bytes = z->file->map + at;
    return true;
}

/* Mapping.close of an unpacked entry. */
static void free_unpacked(Mapping *m) {
    free(m->source.context);
}

/* Unpacks a deflated entry into memory. The limit on the total protects against zip bombs, which expand a
 * thousandfold. */
static bool unpack(ZipMap *z, ZipEntry *x, uint64_t number, uint64_t size, Error *e) {
    uint64_t limit = z->file->size * MAX_EXPANSION;
    if (size > limit || z->unpacked > limit - size)
        return error_set(
            e, ERR_INPUT,
            "%s: %.300s: would unpack to %llu bytes, more than %d times the size of the file; refused",
            z->file->path, x->name, (unsigned long long)size, MAX_EXPANSION);
    uint8_t *bytes = big_alloc(size, 1, x->source.path, e);
    if (!bytes) return false;
    /* The checkpoint frees the memory when it is closed. */
    ByteSource owner = {.path = x->source.path, .size = size, .context = bytes};
    checkpoint_add_mapping(z->c, &owner, free_unpacked);
    z->unpacked += size;
    /* Unpack, and read one byte past the end so that libzip compares the checksum. */
    zip_file_t *f = zip_fopen_index(z->zip, number, 0);
    uint8_t past; /* libzip compares the checksum when a read reaches the end */
    bool ok = f && zip_fread(f, bytes, size) == (zip_int64_t)size && zip_fread(f, &past, 1) == 0;
    if (!ok) check_memory(f ? zip_file_get_error(f) : zip_get_error(z->zip));
    if (!ok)
        error_set(e, ERR_INPUT, "%s: %.300s: cannot be unpacked to its %llu bytes: %s", z->file->path,
                  x->name, (unsigned long long)size, f ? zip_file_strerror(f) : zip_strerror(z->zip));
    if (f) zip_fclose(f);
    /* libzip has compared the checksum, so it is not compared again. */
    x->bytes = bytes;
    x->checked = true;
    return ok;
}

/* Opens an entry by name, or returns the one that was opened before: several tensors may lie in one storage.
 * NULL with an error on failure. */
ZipEntry *zip_map_entry(ZipMap *z, const char *name, Error *e) {
    zip_int64_t number = zip_name_locate(z->zip, name, 0);
    zip_stat_t st;
    if (number < 0 || zip_stat_index(z->zip, (zip_uint64_t)number, 0, &st) != 0) {
        check_memory(zip_get_error(z->zip));
        error_set(e, ERR_INPUT, "%s: has no entry %.300s", z->file->path, name);
        return NULL;
    }
    if (z->entries[number]) return z->entries[number];
    /* How the bytes are found depends on how the entry is compressed. */
    ZipEntry *x = arena_alloc(&z->c->arena, sizeof *x);
    x->name = arena_strdup(&z->c->arena, name);
    x->crc = st.crc;
    x->source = (ByteSource){.path = z->file->path, .size = st.size, .read = read_entry, .context = x};
    bool ok;
    if (st.encryption_method != ZIP_EM_NONE)
        ok = error_set(e, ERR_INPUT, "%s: %.300s: encrypted", z->file->path, name);
    else if (st.comp_method == ZIP_CM_STORE)
        ok = locate(z, x, (uint64_t)number, &st, e);
    else if (st.comp_method == ZIP_CM_DEFLATE)
        ok = unpack(z, x, (uint64_t)number, st.size, e);
    else
        ok = error_set(e, ERR_INPUT,
                       "%s: %.300s: compressed by method %u; only stored and deflated entries are supported",
                       z->file->path, name, st.comp_method);
    return ok ? z->entries[number] = x : NULL;
}

/* ---- the zip as a whole ---- */

/* Name and extent of an entry, for checking all entries against each other. */
typedef struct Extent {
    const char *name;
    uint64_t at, size;
} Extent;

/* Orders for qsort: by name, and by place with the name for entries at the same place. */
static int by_name(const void *a, const void *b) {
    return strcmp(((const Extent *)a)->name, ((const Extent *)b)->name);
}

static int by_place(const void *a, const void *b) {
    const Extent *x = a, *y = b;
    return x->at != y->at ? (x->at < y->at ? -1 : 1) : by_name(a, b);
}

/* True if the name stays within a folder: no "..", no root, no drive letter, no backslash, which Windows
 * takes as a separator. */
static bool stays_in_folder(const char *name) {
    if (!*name || *name == '/' || strchr(name, '\\') || strchr(name, ':')) return false;
    for (const char *p = name; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        if (p[0] == '.' && p[1] == '.' && (!p[2] || p[2] == '/')) return false;
    return true;
}

/* Checks all entries against each other: sorted by name to find duplicates and names that lead out of the
 * folder, then by place to find overlaps. Overlapping entries are another way to build a zip bomb. */
static bool check_extents(const ZipMap *z, Extent *x, uint64_t n, Error *e) {
    qsort(x, n, sizeof *x, by_name);
    for (uint64_t i = 0; i < n; i++) {
        if (!stays_in_folder(x[i].name))
            return error_set(e, ERR_INPUT, "%s: entry '%.300s': not a name within a folder", z->file->path,
                             x[i].name);
        if (i && strcmp(x[i].name, x[i - 1].name) == 0)
            return error_set(e, ERR_INPUT, "%s: entry '%.300s' occurs twice", z->file->path, x[i].name);
    }
    qsort(x, n, sizeof *x, by_place);
    /* Entries without bytes cannot overlap. */
    const Extent *last = NULL;
    for (uint64_t i = 0; i < n; i++) {
        if (!x[i].size) continue;
        if (last && x[i].at < last->at + last->size)
            return error_set(e, ERR_INPUT, "%s: entries '%.200s' and '%.200s' overlap", z->file->path,
                             last->name, x[i].name);
        last = &x[i];
    }
    return true;
}

/* Checks the zip as a whole before it is read as a folder. It takes O(n log n) time for n entries; each is
 * opened once to find its bytes. */
bool zip_map_check(ZipMap *z, Error *e) {
    Extent *x = xcalloc(z->n_entries, sizeof *x);
    bool ok = true;
    for (uint64_t i = 0; ok && i < z->n_entries; i++) {
        zip_stat_t st;
        x[i].name = zip_map_name(z, i);
        if (zip_stat_index(z->zip, i, 0, &st) != 0) check_memory(zip_get_error(z->zip));
        if (zip_stat_index(z->zip, i, 0, &st) != 0)
            ok = error_set(e, ERR_INPUT, "%s: entry %llu cannot be read", z->file->path,
                           (unsigned long long)i);
        else if (st.comp_size && !find_bytes(z, i, x[i].size = st.comp_size, &x[i].at))
            ok = outside(z, x[i].name, st.comp_size, e);
    }
    ok = ok && check_extents(z, x, z->n_entries, e);
    free(x);
    return ok;
}

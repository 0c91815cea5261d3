/* Reads a Hugging Face folder in a zip file: see formats/hf_zip.h. This file implements struct Folder of
 * formats/hf_folder.h for the entries of a zip; hf_folder.c then reads weights, index and side files in the
 * same way as on disk. Weights are used where they lie in the mapped zip, without unpacking. */
#include "formats/hf_zip.h"

#include <stdlib.h>
#include <string.h>

#include "formats/container.h"
#include "formats/file_names.h"
#include "formats/hf_folder.h"
#include "formats/text.h"

/* The context of the functions of struct Folder below. */
typedef struct ZipFolder {
    ZipMap *zip;
    char *prefix; /* "" if the folder is the root of the zip, else "NAME/"; owned */
} ZipFolder;

/* The name of the entry for a file of the folder, allocated from `a`. */
static const char *full_name(const Folder *f, Arena *a, const char *name) {
    return arena_printf(a, "%s%s", ((const ZipFolder *)f->context)->prefix, name);
}

/* Folder.has. The arena only holds the name of the entry during the call. */
static bool zipped_has(const Folder *f, const char *name) {
    const ZipFolder *p = f->context;
    Arena a = {0};
    bool has = zip_map_has(p->zip, full_name(f, &a, name));
    arena_free(&a);
    return has;
}

/* A source for the bytes of an entry where they lie in memory; messages call it "ZIP/ENTRY". */
static const ByteSource *source_of(Checkpoint *c, const Folder *f, const ZipEntry *x) {
    ByteSource *s = arena_alloc(&c->arena, sizeof *s);
    s->path = arena_printf(&c->arena, "%s/%s", f->path, x->name);
    s->map = x->bytes;
    s->size = x->source.size;
    return s;
}

/* Folder.map: opens an entry and compares its checksum, because side files are read as a whole anyway. */
static const ByteSource *zipped_map(const Folder *f, Checkpoint *c, const char *name, Error *e) {
    const ZipFolder *p = f->context;
    ZipEntry *x = zip_map_entry(p->zip, full_name(f, &c->arena, name), e);
    return x && zip_entry_check(x, e) ? source_of(c, f, x) : NULL;
}

/* Folder.read_weights. The checksum of weights is not compared: that would read all of them before the first
 * tensor is used, and a safetensors file outside a zip has no checksum either. */
static bool zipped_weights(const Folder *f, Checkpoint *c, const char *name, Error *e) {
    const ZipFolder *p = f->context;
    /* Deflated weights would have to be unpacked as a whole, so they are refused. */
    const char *full = full_name(f, &c->arena, name);
    if (zip_map_is_compressed(p->zip, full))
        return error_set(e, ERR_INPUT,
                         "%s: %.300s: compressed; weights are read in place and have to be stored (zip -0)",
                         f->path, full);
    ZipEntry *x = zip_map_entry(p->zip, full, e);
    return x && container_parse(c, source_of(c, f, x), e);
}

/* Order of strings, for qsort. */
static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Whether an entry lies in a folder within the model's that is a model, or an adapter, by itself: some folder
 * on its path has a config.json. */
static bool in_other_model(const ZipFolder *p, const char *entry) {
    static const char *const marks[] = {CONFIG_FILE, ADAPTER_CONFIG_FILE};
    Arena a = {0};
    bool found = false;
    for (const char *slash = strchr(entry + strlen(p->prefix), '/'); slash; slash = strchr(slash + 1, '/'))
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
            found |= zip_map_has(p->zip, arena_printf(&a, "%.*s/%s", (int)(slash - entry), entry, marks[i]));
    arena_free(&a);
    return found;
}

/* The name within the folder if the entry is a side file there: not hidden, not weights, not of another
 * model. NULL otherwise. What lies in folders within and is no side file is entered in c->not_carried. */
static const char *companion(Checkpoint *c, const ZipFolder *p, const char *entry) {
    size_t n = strlen(p->prefix);
    const char *name = entry + n;
    if (strncmp(entry, p->prefix, n) != 0 || !*name || *name == '.' || text_ends_with(name, "/")) return NULL;
    if (!strchr(name, '/')) return hf_is_weights(name) ? NULL : name;
    if (strstr(name, "/.") || strncmp(name, "__MACOSX/", 9) == 0) return NULL; /* hidden, or litter */
    if (in_other_model(p, entry)) {
        hf_leave_out(c, name);
        return NULL;
    }
    return hf_carries_nested(c, name, 0) ? name : NULL;
}

/* Folder.read_side_files: adds the side files sorted by name, so that the result does not depend on the order
 * of the entries. */
static bool zipped_side_files(const Folder *f, Checkpoint *c, Error *e) {
    const ZipFolder *p = f->context;
    /* Collect the names of the side files. */
    const char **names = xcalloc(zip_map_count(p->zip), sizeof *names);
    size_t n = 0;
    for (uint64_t i = 0; i < zip_map_count(p->zip); i++) {
        const char *name = companion(c, p, zip_map_name(p->zip, i));
        if (name) names[n++] = name;
    }
    /* Add them in the order of their names. */
    qsort(names, n, sizeof *names, by_text);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        const ByteSource *s = zipped_map(f, c, names[i], e);
        ok = s != NULL;
        if (ok) checkpoint_add_file(c, names[i], s->map, s->size);
    }
    free(names);
    return ok;
}

/* True for files that the archiver of macOS adds beside the folder. */
static bool is_litter(const char *name) {
    return strncmp(name, "__MACOSX/", 9) == 0 || strcmp(name, ".DS_Store") == 0;
}

/* "NAME/" if all entries lie in one folder NAME, else "". The result is owned by the caller. */
static char *common_folder(const ZipMap *zip) {
    const char *first = NULL;
    size_t n = 0;
    for (uint64_t i = 0; i < zip_map_count(zip); i++) {
        const char *name = zip_map_name(zip, i), *slash = strchr(name, '/');
        /* An entry outside any folder, or in another folder than the first one, means that there is no
         * common folder. */
        if (is_litter(name)) continue;
        if (!slash || (first && strncmp(first, name, n) != 0)) return xstrdup("");
        first = name;
        n = (size_t)(slash - name) + 1;
    }
    char *folder = xcalloc(n + 1, 1);
    if (n) memcpy(folder, first, n);
    return folder;
}

/* True if any entry of the zip is a weights file or an index, in whatever folder. */
static bool holds_weights(const ZipFolder *p) {
    for (uint64_t i = 0; i < zip_map_count(p->zip); i++)
        if (hf_is_weights(zip_map_name(p->zip, i))) return true;
    return false;
}

/* Names and extents of all entries are checked before any of them is used. A zip without config.json and
 * without weights is refused here, because the reader of folders would report only a missing weights file. */
bool hf_zip_parse(Checkpoint *c, ZipMap *zip, bool without_weights, Error *e) {
    if (!zip_map_check(zip, e)) return false;
    ZipFolder p = {.zip = zip, .prefix = common_folder(zip)};
    /* hf_folder.c sees the zip through these functions only. */
    Folder f = {.path = zip_map_path(zip),
                .context = &p,
                .has = zipped_has,
                .map = zipped_map,
                .read_weights = zipped_weights,
                .read_side_files = zipped_side_files};
    c->format = FORMAT_HF;
    if (!zipped_has(&f, CONFIG_FILE) && !holds_weights(&p)) {
        free(p.prefix);
        return error_set(
            e, ERR_INPUT,
            "%s: a zip file without NAME/data.pkl (PyTorch), and without config.json or weights (a "
            "Hugging Face folder)",
            f.path);
    }
    bool ok = without_weights ? zipped_side_files(&f, c, e) : hf_read_folder(c, &f, e);
    free(p.prefix);
    return ok;
}

/* Writes Hugging Face folders to disk: see formats/hf_write.h. hf_files.c lists the files with their content,
 * and this file writes one after the other; hf_zip_write.c writes the same list into a zip. The manifest is
 * last in the list, because its hashes are known only when all tensors are written. */
#include "formats/hf_write.h"
#include "formats/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/hf_files.h"
#include "formats/hf_zip_write.h"
#include "formats/output.h"
#include "formats/tensor_writer.h"
#include "formats/text.h"

/* Makes the folders within the output that the path of a file leads through. `path` is changed for a moment
 * at each slash behind its first `start` bytes. */
static bool make_folders(char *path, size_t start, Error *e) {
    for (char *slash = strchr(path + start, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        bool ok = mkdir(path, 0777) == 0 || errno == EEXIST || error_errno(e, "%s", path);
        *slash = '/';
        if (!ok) return false;
    }
    return true;
}

/* Writes one file of the list: its bytes (of a shard, the header), then the data of its tensors, or the text
 * of the manifest. O_EXCL makes it an error if two files of the list have the same name. */
static bool write_file(TensorWriter *d, Checkpoint *c, const char *folder, const HfFile *f, Error *e) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, f->name) >= (int)sizeof path)
        return error_set(e, ERR_FAILED, "%s/%s: the path is too long", folder, f->name);
    if (!make_folders(path, strlen(folder) + 1, e)) return false;
    /* Create the file and write the bytes that are there already. */
    Buffer manifest = {0};
    d->path = path;
    d->fd = file_open_output(path, O_CREAT | O_EXCL, e);
    bool ok = d->fd >= 0;
    ok = ok && fd_write(d->fd, f->bytes, f->n_bytes, path, e);
    /* Then what is computed while writing. */
    for (size_t i = 0; ok && i < f->n_tensors; i++)
        ok = tensor_writer_add(d, f->tensors[i], e);
    if (ok && f->is_manifest)
        ok = hf_manifest_text(c, d->options, &manifest, e) &&
             fd_write(d->fd, manifest.data, manifest.size, path, e);
    if (d->fd >= 0) ok = file_close_output(d->fd, path, ok ? e : NULL) && ok;
    buffer_free(&manifest);
    return ok;
}

/* Writes all files of the list into an existing folder. They share one writer, so that progress counts the
 * whole folder. */
static bool write_folder(Checkpoint *c, const HfFiles *f, const char *folder, const WriteOptions *o,
                         Error *e) {
    TensorWriter d = {.options = o, .total = tensors_total_bytes(c)};
    for (size_t i = 0; i < f->n; i++)
        if (!write_file(&d, c, folder, &f->files[i], e)) return false;
    return true;
}

/* True if the output is to be a zip. A path that is only ".zip" is a hidden folder. */
bool hf_is_zip(const char *path) {
    return strlen(path) > 4 && text_ends_with(path, ".zip");
}

/* Writes under a temporary name, which becomes the final one only if everything succeeded (formats/output.h).
 * The list of files is the same for a folder and for a zip. */
bool hf_write(Checkpoint *c, const char *path, const WriteOptions *o, Error *e) {
    Output out;
    bool zip = hf_is_zip(path);
    if (!output_begin(&out, path, !zip, o->force, e)) return false;
    /* List, check that no file of somebody else's is in the way, write, rename. */
    HfFiles files = {0};
    bool ok = hf_files_list(&files, c, o, e);
    for (size_t i = 0; ok && !zip && i < files.n; i++)
        ok = output_has_room(&out, files.files[i].name, e);
    ok =
        ok && (zip ? hf_zip_write(c, &files, out.temp, path, o, e) : write_folder(c, &files, out.temp, o, e));
    ok = ok && (!o->check || o->check(o->check_context, out.temp, e));
    ok = ok && output_commit(&out, e);
    hf_files_free(&files);
    output_discard(&out);
    return ok;
}

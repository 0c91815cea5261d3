/* Opens folders and files of all kinds, the entry point of the readers for everything above formats/: see
 * formats/checkpoint_open.h. Folders go to hf_folder.c, zip files to torch_zip.c or hf_zip.c, all other files
 * to container.c. */
#include "formats/checkpoint_open.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/container.h"
#include "formats/file.h"
#include "formats/hf_folder.h"
#include "formats/hf_zip.h"
#include "formats/torch_zip.h"

/* Reads a zip file, which is either one of torch.save or a zipped Hugging Face folder. The ZipMap is needed
 * only while entries are being found; their bytes lie in the mapping, which `c` owns. */
bool checkpoint_read_zip(Checkpoint *c, const char *path, bool without_weights, Error *e) {
    const ByteSource *file = checkpoint_map(c, path, e);
    ZipMap *zip = file ? zip_map_open(c, file, e) : NULL;
    bool ok =
        zip && (torch_zip_is(zip) ? torch_zip_parse(c, zip, e) : hf_zip_parse(c, zip, without_weights, e));
    zip_map_close(zip);
    return ok;
}

/* Reads configuration and tokenizer, without weights, of a folder or of a zip of one. A path that does not
 * exist goes to the folder reader, whose error names it. */
static bool read_config(Checkpoint *c, const char *path, Error *e) {
    ContainerKind kind;
    struct stat st;
    if (stat(path, &st) != 0 || S_ISDIR(st.st_mode)) return hf_read_side_files(c, path, e);
    if (!container_kind(path, &kind, e)) return false;
    return kind == CONTAINER_ZIP ? checkpoint_read_zip(c, path, true, e)
                                 : error_set(e, ERR_INPUT, "%s: neither a folder nor a zip of one", path);
}

/* NULL with an error on failure, as checkpoint_open. */
Checkpoint *checkpoint_open_config(const char *path, bool without_weights, Error *e) {
    if (!without_weights) return checkpoint_open(path, e);
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    c->path = arena_strdup(&c->arena, path);
    if (read_config(c, path, e)) return c;
    checkpoint_close(c);
    return NULL;
}

/* Adds the side files of the folder in which a weights file lies, if there is a config.json: a file that is
 * opened by its own path needs the configuration to be understood. A GGUF needs none, because its keys
 * describe it. */
static bool read_companions(Checkpoint *c, const char *path, Error *e) {
    char folder[PATH_MAX], config[PATH_MAX + 16];
    /* The folder of the file, with a slash at its end. */
    const char *slash = strrchr(path, '/');
    if (c->format == FORMAT_GGUF || strlen(path) >= sizeof folder) return true;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 2, slash ? path : "./");
    snprintf(config, sizeof config, "%sconfig.json", folder);
    return access(config, R_OK) != 0 || hf_read_side_files(c, folder, e);
}

/* Reads a single file, by its first bytes. A folder in a zip brings its own side files, so none are looked
 * for beside it. */
static bool read_file(Checkpoint *c, const char *path, Error *e) {
    ContainerKind kind;
    if (!container_kind(path, &kind, e)) return false;
    /* Read the file, then what belongs to it. */
    bool zip = kind == CONTAINER_ZIP;
    if (!(zip ? checkpoint_read_zip(c, path, false, e) : container_read(c, path, e))) return false;
    return (zip && c->n_files) || read_companions(c, path, e);
}

/* stat is called first for the sake of the message: a path that does not exist is the most common mistake. */
Checkpoint *checkpoint_open(const char *path, Error *e) {
    struct stat st;
    if (stat(path, &st) != 0) {
        file_error(path, e);
        return NULL;
    }
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    c->path = arena_strdup(&c->arena, path);
    if (S_ISDIR(st.st_mode) ? hf_read(c, path, e) : read_file(c, path, e)) return c;
    checkpoint_close(c);
    return NULL;
}

/* Tells containers apart by their first bytes, never by their names. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/containers.h"
#include "formats/file.h"

static bool read_first_bytes(const char *path, uint8_t first[16], ssize_t *n, Error *e) {
    int fd = file_open(path, O_NONBLOCK, e);
    if (fd < 0) return false;
    *n = read(fd, first, 16);
    int saved = errno;
    close(fd);
    errno = saved;
    return *n >= 0 || file_error(path, e);
}

static bool looks_like_safetensors(const uint8_t *first, ssize_t n) {
    return n >= 9 && first[8] == '{';
}

/* Says what a file is that people try, or how it begins. */
static bool refuse(const char *path, const uint8_t *first, ssize_t n, Error *e) {
    static const struct {
        const char *start, *what;
    } known[] = {
        {"version ", "a Git LFS pointer, not the weights themselves; fetch them (git lfs pull)"},
        {"ggjt", "a GGML file older than GGUF, which is not read"},
        {"tjgg", "a GGML file older than GGUF, which is not read"},
        {"lmgg", "a GGML file older than GGUF, which is not read"},
        {"\x89HDF", "an HDF5 file, which is not read"},
        {"{", "a JSON file; name the folder that holds it"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t len = strlen(known[i].start);
        if ((size_t)n >= len && memcmp(first, known[i].start, len) == 0)
            return error_set(e, ERR_INPUT, "%s: %s", path, known[i].what);
    }
    if (n >= 2 && first[0] == 0x80 && first[1] <= 5)
        return error_set(
            e, ERR_INPUT,
            "%s: a bare pickle (PyTorch's format before 1.6), which is not read; load it once in "
            "PyTorch and torch.save it again",
            path);
    char begins[3 * 8 + 1] = "";
    for (ssize_t i = 0; i < n && i < 8; i++)
        snprintf(begins + 3 * i, 4, " %02x", first[i]);
    return error_set(e, ERR_INPUT, "%s: not a GGUF, safetensors or PyTorch zip file (%s%s)", path,
                     n ? "begins with" : "it is empty", begins);
}

static bool looks_like_zip(const uint8_t *first, ssize_t n) {
    return n >= 4 && memcmp(first, "PK\3\4", 4) == 0;
}

bool container_read(Checkpoint *c, const char *path, Error *e) {
    uint8_t first[16] = {0};
    ssize_t n = 0;
    if (!read_first_bytes(path, first, &n, e)) return false;
    if (n >= 4 && memcmp(first, "GGUF", 4) == 0) return gguf_read(c, path, e);
    if (looks_like_zip(first, n)) return torch_zip_read(c, path, e);
    if (looks_like_safetensors(first, n)) {
        c->format = FORMAT_HF;
        return safetensors_read(c, path, e);
    }
    return refuse(path, first, n, e);
}

bool container_parse(Checkpoint *c, const ByteSource *file, Error *e) {
    ssize_t n = file->size < 16 ? (ssize_t)file->size : 16;
    if (looks_like_zip(file->map, n)) {
        ZipMap *zip = zip_map_open(c, file, e);
        bool ok = zip && torch_zip_parse(c, zip, e);
        zip_map_close(zip);
        return ok;
    }
    c->format = FORMAT_HF;
    return looks_like_safetensors(file->map, n) ? safetensors_parse(c, file, e)
                                                : refuse(file->path, file->map, n, e);
}

/* Configuration and tokenizer of a folder, or of a zip of one. */
static bool read_config(Checkpoint *c, const char *path, Error *e) {
    uint8_t first[16] = {0};
    ssize_t n = 0;
    struct stat st;
    if (stat(path, &st) != 0 || S_ISDIR(st.st_mode)) return hf_read_side_files(c, path, e);
    if (!read_first_bytes(path, first, &n, e)) return false;
    return looks_like_zip(first, n) ? zip_read(c, path, true, e)
                                    : error_set(e, ERR_INPUT, "%s: not a folder, or a zip of one", path);
}

Checkpoint *checkpoint_open_config(const char *path, bool without_weights, Error *e) {
    if (!without_weights) return checkpoint_open(path, e);
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    c->path = arena_strdup(&c->arena, path);
    if (read_config(c, path, e)) return c;
    checkpoint_close(c);
    return NULL;
}

/* Weights named alone bring the companions that lie beside them. */
static bool read_companions(Checkpoint *c, const char *path, Error *e) {
    char folder[PATH_MAX], config[PATH_MAX + 16];
    const char *slash = strrchr(path, '/');
    if (c->format == FORMAT_GGUF || strlen(path) >= sizeof folder) return true;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 2, slash ? path : "./");
    snprintf(config, sizeof config, "%sconfig.json", folder);
    return access(config, R_OK) != 0 || hf_read_side_files(c, folder, e);
}

static bool read_file(Checkpoint *c, const char *path, Error *e) {
    uint8_t first[16] = {0};
    ssize_t n = 0;
    if (!read_first_bytes(path, first, &n, e)) return false;
    bool zip = looks_like_zip(first, n);
    if (!(zip ? zip_read(c, path, false, e) : container_read(c, path, e))) return false;
    return (zip && c->n_files) || read_companions(c, path, e); /* a folder in a zip has its own */
}

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

/* Recognises weights files by their first bytes and passes them to their readers (gguf.c, safetensors.c,
 * torch_zip.c): see formats/container.h. File names are not trusted, because people rename files.
 * checkpoint_open.c and hf_folder.c call this for every weights file. */
#include "formats/container.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/file.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "formats/torch_zip.h"

/* Reads up to 16 bytes from the beginning of a file; `*n` becomes their number. */
static bool read_first_bytes(const char *path, uint8_t first[16], ssize_t *n, Error *e) {
    int fd = file_open(path, O_NONBLOCK, e);
    if (fd < 0) return false;
    /* A read may return a part of what there is, and a signal may interrupt it. */
    *n = 0;
    bool ok = true;
    for (ssize_t got = 1; ok && got && *n < 16;) {
        got = read(fd, first + *n, (size_t)(16 - *n));
        if (got > 0) *n += got;
        ok = got >= 0 || errno == EINTR || file_error(path, e);
    }
    close(fd);
    return ok;
}

/* Reports a file of an unknown kind; always false. Formats that people often try are named with advice; for
 * all others the message shows the first bytes. */
static bool refuse(const char *path, const uint8_t *first, ssize_t n, Error *e) {
    static const struct {
        const char *start, *what;
    } known[] = {
        {"version ", "a Git LFS pointer, not the weights themselves; fetch them (git lfs pull)"},
        {"ggjt", "a GGML file older than GGUF, which is not supported"},
        {"tjgg", "a GGML file older than GGUF, which is not supported"},
        {"lmgg", "a GGML file older than GGUF, which is not supported"},
        {"\x89HDF", "an HDF5 file, which is not supported"},
        {"{", "a JSON file; give the path of the folder that holds it"},
    };
    /* Formats that are recognised only to be refused. */
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t len = strlen(known[i].start);
        if ((size_t)n >= len && memcmp(first, known[i].start, len) == 0)
            return error_set(e, ERR_INPUT, "%s: %s", path, known[i].what);
    }
    /* A pickle begins with the opcode PROTO (0x80) and the version of its protocol. */
    if (n >= 2 && first[0] == 0x80 && first[1] <= 5)
        return error_set(
            e, ERR_INPUT,
            "%s: a bare pickle (PyTorch's format before 1.6), which is not supported; load it once in "
            "PyTorch and torch.save it again",
            path);
    /* Unknown: show the first bytes. */
    char begins[3 * 8 + 1] = "";
    for (ssize_t i = 0; i < n && i < 8; i++)
        snprintf(begins + 3 * i, 4, " %02x", first[i]);
    return error_set(e, ERR_INPUT, "%s: not a GGUF, safetensors or PyTorch zip file (%s%s)", path,
                     n ? "begins with" : "it is empty", begins);
}

/* The kind of a file by its first `n` bytes. A safetensors file has no magic number: it begins with the
 * length of its header, 8 bytes, and the header begins with a brace. */
static ContainerKind kind_of(const uint8_t *first, ssize_t n) {
    if (n >= 4 && memcmp(first, "GGUF", 4) == 0) return CONTAINER_GGUF;
    if (n >= 4 && memcmp(first, "PK\3\4", 4) == 0) return CONTAINER_ZIP;
    return n >= 9 && first[8] == '{' ? CONTAINER_SAFETENSORS : CONTAINER_UNKNOWN;
}

/* Only says what the file is; checkpoint_open.c asks this to distinguish zip files. */
bool container_kind(const char *path, ContainerKind *out, Error *e) {
    uint8_t first[16] = {0};
    ssize_t n = 0;
    if (!read_first_bytes(path, first, &n, e)) return false;
    *out = kind_of(first, n);
    return true;
}

/* A zip file that arrives here has to be a PyTorch file; torch_zip_read refuses others. */
bool container_read(Checkpoint *c, const char *path, Error *e) {
    uint8_t first[16] = {0};
    ssize_t n = 0;
    if (!read_first_bytes(path, first, &n, e)) return false;
    switch (kind_of(first, n)) {
    case CONTAINER_GGUF:
        return gguf_read(c, path, e);
    case CONTAINER_ZIP:
        return torch_zip_read(c, path, e);
    case CONTAINER_SAFETENSORS:
        c->format = FORMAT_HF;
        return safetensors_read(c, path, e);
    default:
        return refuse(path, first, n, e);
    }
}

/* Parses a file that is mapped already, here an entry of a zip. A zip within a zip has to be a PyTorch file;
 * container_kind cannot distinguish the two kinds of zip, and torch_zip_parse refuses the other one. */
bool container_parse(Checkpoint *c, const ByteSource *file, Error *e) {
    /* The first bytes are in memory, so no file is opened. */
    ssize_t n = file->size < 16 ? (ssize_t)file->size : 16;
    ContainerKind kind = kind_of(file->map, n);
    if (kind == CONTAINER_ZIP) {
        /* The ZipMap may be closed at once, because the bytes of its entries belong to `c`. */
        ZipMap *zip = zip_map_open(c, file, e);
        bool ok = zip && torch_zip_parse(c, zip, e);
        zip_map_close(zip);
        return ok;
    }
    c->format = FORMAT_HF;
    return kind == CONTAINER_SAFETENSORS ? safetensors_parse(c, file, e)
                                         : refuse(file->path, file->map, n, e);
}

/* Fuzz target: files of training text. The first byte of the input chooses the ending of the file's name, and
 * with it the decompression and the reader; the rest is the file. */
#include "recal/text_data.h"
#include "tests/fuzz/container.h"

static bool look(void *context, const char *path, const char *text, size_t n, bool end, Error *e) {
    (void)context, (void)path, (void)end, (void)e;
    if (n) (void)(*(volatile const char *)text + *(volatile const char *)(text + n - 1));
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char *const endings[] = {".jsonl", ".gz", ".zst", ".jsonl.gz", ".jsonl.zst"};
    if (!n) return 0;
    char path[64], name[128];
    Error e = {0};
    int fd = memory_file(data + 1, n - 1, path);
    snprintf(name, sizeof name, "/tmp/derope-fuzz-%d%s", (int)getpid(), endings[data[0] % 5]);
    expect(symlink(path, name) == 0, "no link", &e);
    if (!text_data_read(name, NULL, look, NULL, &e)) expect(e.code == ERR_INPUT, "no refusal", &e);
    unlink(name);
    close(fd);
    return 0;
}

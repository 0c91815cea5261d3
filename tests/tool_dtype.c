/* decode or encode standard input: tool_dtype decode|encode TYPE < bytes > bytes; tool_dtype time TYPE <
 * floats prints the seconds that encoding them takes */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "formats/clock.h"
#include "formats/dtype.h"

int main(int argc, char **argv) {
    DType type;
    if (argc != 3 || !dtype_from_name(argv[2], &type)) return 2;
    const DTypeInfo *d = dtype_info(type);
    Buffer in = {0};
    for (size_t n = 1; n;) {
        buffer_reserve(&in, 65536);
        n = fread(in.data + in.size, 1, 65536, stdin);
        in.size += n;
    }
    if (strcmp(argv[1], "decode") == 0) {
        uint64_t elems = in.size / d->block_bytes * d->block_elems;
        float *out = xmalloc(elems * sizeof *out);
        d->decode(in.data, elems, out);
        fwrite(out, sizeof *out, elems, stdout);
        free(out);
    } else {
        uint64_t elems = in.size / sizeof(float), bytes;
        if (!dtype_bytes(type, elems, &bytes)) return 1;
        void *out = xmalloc(bytes);
        double from = clock_seconds();
        d->encode((float *)in.data, elems, out);
        double to = clock_seconds();
        if (strcmp(argv[1], "time") == 0)
            printf("%.6f\n", to - from);
        else
            fwrite(out, 1, bytes, stdout);
        free(out);
    }
    buffer_free(&in);
    return 0;
}

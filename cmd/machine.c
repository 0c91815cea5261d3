/* Describes the machine from /proc/cpuinfo, the CPU's feature flags and sysconf. Results and reports quote
 * it, so that a reader can judge times and speeds. Nothing is decided by it. */
#include "cmd/machine.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/buffer.h"
#include "formats/json.h"

/* Writes the processor's name, from the first line "model name : NAME" of /proc/cpuinfo. "unknown CPU" where
 * there is no such line, as on ARM, or no such file, as outside Linux. */
static void cpu_name(char out[128]) {
    char line[512];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(out, 128, "unknown CPU");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(out, 128, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f) fclose(f);
}

/* Features are the instruction sets that derope has faster kernels for. Memory is physical memory in GB of
 * 1e9 bytes. */
json_t *machine_json(void) {
    char cpu[128];
    cpu_name(cpu);
    Buffer features = {0};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) buffer_printf(&features, "AVX2 ");
    if (__builtin_cpu_supports("avx512f")) buffer_printf(&features, "AVX-512 ");
#endif
    if (features.size) features.size--; /* the space at the end */
    /* Pages times bytes per page. */
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGE_SIZE);
    json_t *o = json_pack("{s:o, s:s, s:I, s:f}", "cpu", json_text(cpu), "features", buffer_string(&features),
                          "cores", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "memory_gb", memory / 1e9);
    buffer_free(&features);
    return o;
}

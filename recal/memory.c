/* How much memory is available, from /proc/meminfo and the limits of a container in /sys. The verbs (cmd)
 * call memory_check before large allocations, because Linux would grant them and kill the process later, when
 * the pages are touched. */
#include "recal/memory.h"

#include <stdio.h>
#include <string.h>

/* The number in a file of /sys; 0 if there is no such file or no number in it. */
static uint64_t read_number(const char *path) {
    FILE *f = fopen(path, "r");
    unsigned long long v = 0;
    if (f && fscanf(f, "%llu", &v) != 1) v = 0; /* "max" means that there is no limit */
    if (f) fclose(f);
    return v;
}

/* MemAvailable: what the kernel estimates new work can have without swapping, page cache included. */
static uint64_t mem_available(void) {
    FILE *f = fopen("/proc/meminfo", "r");
    char line[128];
    unsigned long long kb = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1) break;
    if (f) fclose(f);
    return kb * 1024;
}

uint64_t memory_available(void) {
    uint64_t available = mem_available();
    /* The limit of a container (cgroup version 2), if there is one. */
    uint64_t limit = read_number("/sys/fs/cgroup/memory.max"),
             used = read_number("/sys/fs/cgroup/memory.current");
    /* Inside a container the smaller of the two values counts. */
    uint64_t room = limit > used ? limit - used : 0;
    return room && room < available ? room : available;
}

bool memory_check(uint64_t bytes, const char *what, Error *e) {
    uint64_t available = memory_available();
    if (!available || bytes <= available) return true;
    return error_set(e, ERR_FAILED, "%s needs about %.1f GB of memory, this machine has %.1f GB available",
                     what, (double)bytes / 1e9, (double)available / 1e9);
}

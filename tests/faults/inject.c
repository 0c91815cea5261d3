/* A library that makes one call of the C library fail, for tests/faults/faults.py. It is loaded before all
 * others (LD_PRELOAD), and its functions take the place of those of the same name, in the program and in
 * every library that the program uses. Calls that the C library makes to itself are not seen, except those of
 * malloc and its relatives; fopen() and its like are therefore here too.
 *
 * The environment says what is to happen:
 *   FAULT_CALL    a name of the list below: which kind of call fails
 *   FAULT_AT      the number of the call, from 1, counted from the beginning of main()
 *   FAULT_ERROR   the errno that it reports; 0: it does not fail, but reads or writes a part only
 *   FAULT_ALWAYS  set: all later calls of this kind fail too, as when memory or the disk is used up
 *   FAULT_SECONDS after this time the program is ended by SIGALRM, because it hangs
 *   FAULT_TRACE   set: the failing call prints where it comes from
 *   FAULT_COUNTS  a file to which the number of calls of each kind is written at the end */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kinds of calls that are counted, in the order of `names`. */
enum Call {
    MALLOC,
    CALLOC,
    REALLOC,
    ALIGNED,
    MMAP,
    OPEN,
    READ,
    WRITE,
    FSYNC,
    RENAME,
    CLOSE,
    STAT,
    ACCESS,
    MKDIR,
    FLOCK,
    FOPEN,
    FWRITE,
    FFLUSH,
    FCLOSE,
    OPENDIR,
    READDIR,
    SCANDIR,
    REALPATH,
    THREAD,
    CALLS
};
static const char *const names[CALLS] = {"malloc", "calloc",  "realloc", "aligned", "mmap",     "open",
                                         "read",   "write",   "fsync",   "rename",  "close",    "stat",
                                         "access", "mkdir",   "flock",   "fopen",   "fwrite",   "fflush",
                                         "fclose", "opendir", "readdir", "scandir", "realpath", "thread"};

static atomic_ulong counts[CALLS]; /* calls since the beginning of main() */
static bool counting;              /* main() has begun and has not ended */
/* What the environment asks for. */
static enum Call failing = CALLS; /* CALLS: nothing fails */
static unsigned long at;
static int error;
static bool always, trace;

/* Prints the stack of calls. backtrace() allocates when it is first called, which must not be counted. */
static void print_trace(void) {
    static _Thread_local bool inside;
    void *stack[40];
    if (inside) return;
    inside = true;
    counting = false;
    backtrace_symbols_fd(stack, backtrace(stack, 40), STDERR_FILENO);
    counting = true;
    inside = false;
}

/* Counts a call and says whether it is the one that fails; errno is set then. */
static bool fails(enum Call call) {
    if (!counting) return false;
    unsigned long n = atomic_fetch_add(&counts[call], 1) + 1;
    if (call != failing || (always ? n < at : n != at)) return false;
    if (trace) print_trace();
    errno = error;
    return true;
}

/* The next function of this name: that of the C library. */
static void *next(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

/* ---- main ---- */

static int (*real_main)(int, char **, char **);

static int main_from_here(int argc, char **argv, char **environment) {
    if (getenv("FAULT_SECONDS")) alarm((unsigned)atoi(getenv("FAULT_SECONDS")));
    counting = true;
    return real_main(argc, argv, environment);
}

/* The C library calls this before main(). */
int __libc_start_main(int (*program)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*loader)(void), void *stack) {
    const char *call = getenv("FAULT_CALL"), *number = getenv("FAULT_AT"), *code = getenv("FAULT_ERROR");
    for (int i = 0; call && i < CALLS; i++)
        if (strcmp(names[i], call) == 0) failing = (enum Call)i;
    at = number ? strtoul(number, NULL, 10) : 0;
    error = code ? atoi(code) : 0;
    always = getenv("FAULT_ALWAYS") != NULL;
    trace = getenv("FAULT_TRACE") != NULL;
    real_main = program;
    int (*start)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void),
                 void *) = next("__libc_start_main");
    return start(main_from_here, argc, argv, init, fini, loader, stack);
}

__attribute__((destructor)) static void write_counts(void) {
    counting = false;
    const char *path = getenv("FAULT_COUNTS");
    FILE *f = path ? fopen(path, "w") : NULL;
    for (int i = 0; f && i < CALLS; i++)
        fprintf(f, "%s %lu\n", names[i], atomic_load(&counts[i]));
    if (f) fclose(f);
}

/* ---- memory: the C library exports its own functions under a second name ---- */

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t alignment, size_t n);

void *malloc(size_t n) {
    return fails(MALLOC) ? NULL : __libc_malloc(n);
}

void *calloc(size_t count, size_t size) {
    return fails(CALLOC) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *p, size_t n) {
    return fails(REALLOC) ? NULL : __libc_realloc(p, n);
}

void *aligned_alloc(size_t alignment, size_t n) {
    return fails(ALIGNED) ? NULL : __libc_memalign(alignment, n);
}

void *memalign(size_t alignment, size_t n) {
    return fails(ALIGNED) ? NULL : __libc_memalign(alignment, n);
}

int posix_memalign(void **out, size_t alignment, size_t n) {
    void *p = fails(ALIGNED) ? NULL : __libc_memalign(alignment, n);
    if (p) *out = p;
    return p ? 0 : ENOMEM;
}

void *mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset) {
    if (fails(MMAP)) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, n, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t n, int protection, int flags, int fd, off_t offset) {
    return mmap(address, n, protection, flags, fd, offset);
}

/* ---- files ---- */

/* The mode is passed only where a file may be created. */
static int open_at(int folder, const char *path, int flags, va_list more) {
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    return fails(OPEN) ? -1 : (int)syscall(SYS_openat, folder, path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int fd = open_at(AT_FDCWD, path, flags, more);
    va_end(more);
    return fd;
}

int openat(int folder, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int fd = open_at(folder, path, flags, more);
    va_end(more);
    return fd;
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));
int openat64(int folder, const char *path, int flags, ...) __attribute__((alias("openat")));

/* The bytes that a read or a write of `n` bytes may transfer: with error 0 the failing one transfers half of
 * them. False if it fails. */
static bool may_transfer(enum Call call, size_t *n) {
    if (!fails(call)) return true;
    if (error == 0 && *n > 1) *n /= 2;
    return error == 0;
}

ssize_t read(int fd, void *bytes, size_t n) {
    return may_transfer(READ, &n) ? syscall(SYS_read, fd, bytes, n) : -1;
}

ssize_t pread(int fd, void *bytes, size_t n, off_t offset) {
    return may_transfer(READ, &n) ? syscall(SYS_pread64, fd, bytes, n, offset) : -1;
}

ssize_t pread64(int fd, void *bytes, size_t n, off_t offset) __attribute__((alias("pread")));

ssize_t write(int fd, const void *bytes, size_t n) {
    return may_transfer(WRITE, &n) ? syscall(SYS_write, fd, bytes, n) : -1;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset) {
    return may_transfer(WRITE, &n) ? syscall(SYS_pwrite64, fd, bytes, n, offset) : -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t offset) __attribute__((alias("pwrite")));

int fsync(int fd) {
    return fails(FSYNC) ? -1 : (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to) {
    return fails(RENAME) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int a, const char *from, int b, const char *to) {
    return fails(RENAME) ? -1 : (int)syscall(SYS_renameat2, a, from, b, to, 0);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    return fails(RENAME) ? -1 : (int)syscall(SYS_renameat2, a, from, b, to, flags);
}

/* The descriptor is closed even where an error is reported, as on Linux. */
int close(int fd) {
    bool failed = fails(CLOSE);
    int result = (int)syscall(SYS_close, fd);
    if (failed) errno = error;
    return failed ? -1 : result;
}

int stat(const char *path, struct stat *out) {
    return fails(STAT) ? -1 : (int)syscall(SYS_newfstatat, AT_FDCWD, path, out, 0);
}

int lstat(const char *path, struct stat *out) {
    return fails(STAT) ? -1 : (int)syscall(SYS_newfstatat, AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}

int fstat(int fd, struct stat *out) {
    return fails(STAT) ? -1 : (int)syscall(SYS_fstat, fd, out);
}

int fstatat(int folder, const char *path, struct stat *out, int flags) {
    return fails(STAT) ? -1 : (int)syscall(SYS_newfstatat, folder, path, out, flags);
}

int stat64(const char *path, struct stat64 *out) {
    return fails(STAT) ? -1 : (int)syscall(SYS_newfstatat, AT_FDCWD, path, out, 0);
}

int lstat64(const char *path, struct stat64 *out) {
    return fails(STAT) ? -1 : (int)syscall(SYS_newfstatat, AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}

int fstat64(int fd, struct stat64 *out) {
    return fails(STAT) ? -1 : (int)syscall(SYS_fstat, fd, out);
}

int access(const char *path, int mode) {
    return fails(ACCESS) ? -1 : (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
}

int mkdir(const char *path, mode_t mode) {
    return fails(MKDIR) ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    return fails(MKDIR) ? -1 : (int)syscall(SYS_mkdirat, folder, path, mode);
}

int flock(int fd, int operation) {
    return fails(FLOCK) ? -1 : (int)syscall(SYS_flock, fd, operation);
}

/* ---- what the C library builds on these ---- */

FILE *fopen(const char *path, const char *mode) {
    FILE *(*real)(const char *, const char *) = next("fopen");
    return fails(FOPEN) ? NULL : real(path, mode);
}

FILE *fopen64(const char *path, const char *mode) __attribute__((alias("fopen")));

/* Sets the error flag of a stream, as the C library does when a call fails. */
static void mark(FILE *f) {
    f->_flags |= 0x20;
}

size_t fwrite(const void *bytes, size_t size, size_t n, FILE *f) {
    size_t (*real)(const void *, size_t, size_t, FILE *) = next("fwrite");
    if (!fails(FWRITE)) return real(bytes, size, n, f);
    mark(f);
    return 0;
}

int fflush(FILE *f) {
    int (*real)(FILE *) = next("fflush");
    if (!fails(FFLUSH)) return real(f);
    if (f) mark(f);
    return EOF;
}

int fclose(FILE *f) {
    int (*real)(FILE *) = next("fclose");
    bool failed = fails(FCLOSE);
    int result = real(f);
    if (failed) errno = error;
    return failed ? EOF : result;
}

DIR *opendir(const char *path) {
    DIR *(*real)(const char *) = next("opendir");
    return fails(OPENDIR) ? NULL : real(path);
}

struct dirent *readdir(DIR *d) {
    struct dirent *(*real)(DIR *) = next("readdir");
    return fails(READDIR) ? NULL : real(d);
}

struct dirent64 *readdir64(DIR *d) {
    struct dirent64 *(*real)(DIR *) = next("readdir64");
    return fails(READDIR) ? NULL : real(d);
}

int scandir(const char *path, struct dirent ***list, int (*filter)(const struct dirent *),
            int (*compare)(const struct dirent **, const struct dirent **)) {
    int (*real)(const char *, struct dirent ***, int (*)(const struct dirent *),
                int (*)(const struct dirent **, const struct dirent **)) = next("scandir");
    return fails(SCANDIR) ? -1 : real(path, list, filter, compare);
}

char *realpath(const char *path, char *out) {
    char *(*real)(const char *, char *) = next("realpath");
    return fails(REALPATH) ? NULL : real(path, out);
}

/* Threads report their error as the result. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*task)(void *),
                   void *argument) {
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = next("pthread_create");
    return fails(THREAD) ? error : real(thread, attributes, task, argument);
}

// Preloaded into the program under test: the k-th call of one kind fails, once.
//   FAIL_CALL   fsync | open | write | read | thread
//   FAIL_AT     k, from 1 on
//   FAIL_UNDER  a directory: calls for files elsewhere, sockets and pipes are neither counted nor failed (but for threads)
//   FAIL_COUNTS a file that gets "<kind> <calls>" lines at the end
// Only libc's functions are seen: Go's runtime makes its own system calls.
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind { FSYNC, OPEN, WRITE, READ, THREAD, KINDS };
static const char *const names[KINDS] = {"fsync", "open", "write", "read", "thread"};
static atomic_long calls[KINDS];

static int strikes(enum kind kind) {
  const char *wanted = getenv("FAIL_CALL"), *at = getenv("FAIL_AT");
  const long call = atomic_fetch_add(&calls[kind], 1) + 1;
  return wanted && at && strcmp(wanted, names[kind]) == 0 && call == atol(at);
}

__attribute__((destructor)) static void tell(void) {
  const char *file = getenv("FAIL_COUNTS");
  FILE *out = file ? fopen(file, "w") : NULL;
  if (!out) return;
  for (int kind = 0; kind < KINDS; ++kind) fprintf(out, "%s %ld\n", names[kind], atomic_load(&calls[kind]));
  fclose(out);
}

static int is_under(const char *path) {
  const char *under = getenv("FAIL_UNDER");
  return under && strncmp(path, under, strlen(under)) == 0;
}

static int descriptor_is_under(int descriptor) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return is_under(path);
}

static int path_is_under(int directory, const char *path) {
  char whole[8192], base[4096];
  if (path[0] == '/') return is_under(path);
  if (directory == AT_FDCWD) {
    if (!getcwd(base, sizeof base)) return 0;
  } else {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    const ssize_t size = readlink(link, base, sizeof base - 1);
    if (size < 0) return 0;
    base[size] = 0;
  }
  snprintf(whole, sizeof whole, "%s/%s", base, path);
  return is_under(whole);
}

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static mode_t mode_of(int flags, va_list more) { return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; }

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); \
    va_list more; \
    va_start(more, flags); \
    const mode_t mode = mode_of(flags, more); \
    va_end(more); \
    if (path_is_under(AT_FDCWD, path) && strikes(OPEN)) return errno = EMFILE, -1; \
    return real(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
  int name(int directory, const char *path, int flags, ...) { \
    REAL(name); \
    va_list more; \
    va_start(more, flags); \
    const mode_t mode = mode_of(flags, more); \
    va_end(more); \
    if (path_is_under(directory, path) && strikes(OPEN)) return errno = EMFILE, -1; \
    return real(directory, path, flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

int fsync(int descriptor) {
  REAL(fsync);
  if (descriptor_is_under(descriptor) && strikes(FSYNC)) return errno = EIO, -1;
  return real(descriptor);
}

ssize_t write(int descriptor, const void *data, size_t size) {
  REAL(write);
  if (descriptor_is_under(descriptor) && strikes(WRITE)) return errno = ENOSPC, -1;
  return real(descriptor, data, size);
}

ssize_t read(int descriptor, void *data, size_t size) {
  REAL(read);
  if (descriptor_is_under(descriptor) && strikes(READ)) return errno = EIO, -1;
  return real(descriptor, data, size);
}

#define PREAD(name, offset_type) \
  ssize_t name(int descriptor, void *data, size_t size, offset_type offset) { \
    REAL(name); \
    if (descriptor_is_under(descriptor) && strikes(READ)) return errno = EIO, -1; \
    return real(descriptor, data, size, offset); \
  }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

// What fortified callers call.
ssize_t __read_chk(int descriptor, void *data, size_t size, size_t room) {
  (void)room;
  return read(descriptor, data, size);
}
ssize_t __pread_chk(int descriptor, void *data, size_t size, off_t offset, size_t room) {
  (void)room;
  return pread(descriptor, data, size, offset);
}
ssize_t __pread64_chk(int descriptor, void *data, size_t size, off64_t offset, size_t room) {
  (void)room;
  return pread64(descriptor, data, size, offset);
}
int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
  REAL(pthread_create);
  if (strikes(THREAD)) return EAGAIN;
  return real(thread, attributes, run, argument);
}

/*
 * Faults below a process, put between it and the C library (LD_PRELOAD): syncs that take longer or fail, a write that is torn, a
 * wall clock that stands elsewhere. What is to happen stands in a file that the process and its tormentor share (preload.ts), and
 * what has happened is counted there: a fault that did not happen is none.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Words of the shared file, 64 bits each, little-endian. */
enum { SYNC_DELAY_US, SYNC_FAILURES, TEAR, CLOCK_MS, DELAYED, FAILED, TORN, SHIFTED, WORDS };

/* Smaller writes are not torn: headers of a few bytes are written whole by any disk. */
#define TORN_BYTES_MIN 1024

static _Atomic int64_t *words;

__attribute__((constructor)) static void open_words(void) {
  const char *path = getenv("DUNLIN_FAULTS");
  if (path == NULL) return;
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) abort();
  void *at = mmap(NULL, WORDS * sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) abort();
  close(fd);
  words = at;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* 1: the sync fails. */
static int before_sync(void) {
  if (words == NULL) return 0;
  int64_t delay = words[SYNC_DELAY_US];
  if (delay > 0) {
    words[DELAYED]++;
    struct timespec time = {delay / 1000000, (delay % 1000000) * 1000};
    nanosleep(&time, NULL);
  }
  int64_t left = words[SYNC_FAILURES];
  while (left > 0) {
    if (!atomic_compare_exchange_weak(&words[SYNC_FAILURES], &left, left - 1)) continue;
    words[FAILED]++;
    errno = EIO;
    return 1;
  }
  return 0;
}

int fsync(int fd) {
  static int (*next)(int);
  if (next == NULL) next = NEXT(fsync);
  return before_sync() ? -1 : next(fd);
}

int fdatasync(int fd) {
  static int (*next)(int);
  if (next == NULL) next = NEXT(fdatasync);
  return before_sync() ? -1 : next(fd);
}

/* Half of it is written, and nothing comes after. */
static void tear(int fd, const void *bytes, size_t length, off_t offset) {
  if (words == NULL || length < TORN_BYTES_MIN) return;
  int64_t one = 1;
  if (!atomic_compare_exchange_strong(&words[TEAR], &one, 0)) return;
  static ssize_t (*next)(int, const void *, size_t, off_t);
  if (next == NULL) next = NEXT(pwrite);
  ssize_t written = next(fd, bytes, length / 2, offset);
  if (written > 0) words[TORN]++;
  kill(getpid(), SIGKILL);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  static ssize_t (*next)(int, const void *, size_t, off_t);
  if (next == NULL) next = NEXT(pwrite);
  tear(fd, bytes, length, offset);
  return next(fd, bytes, length, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  return pwrite(fd, bytes, length, offset);
}

static ssize_t vector(int fd, const struct iovec *parts, int count, off_t offset) {
  static ssize_t (*next)(int, const struct iovec *, int, off_t);
  if (next == NULL) next = NEXT(pwritev);
  if (count > 0) tear(fd, parts[0].iov_base, parts[0].iov_len, offset);
  return next(fd, parts, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return vector(fd, parts, count, offset); }

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  return vector(fd, parts, count, offset);
}

static int64_t shift_ms(void) {
  int64_t by = words == NULL ? 0 : words[CLOCK_MS];
  if (by != 0) words[SHIFTED]++;
  return by;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  static int (*next)(clockid_t, struct timespec *);
  if (next == NULL) next = NEXT(clock_gettime);
  int result = next(clock, time);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += shift_ms() / 1000;
  return result;
}

int gettimeofday(struct timeval *time, void *zone) {
  static int (*next)(struct timeval *, void *);
  if (next == NULL) next = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
  int result = next(time, zone);
  if (result == 0) time->tv_sec += shift_ms() / 1000;
  return result;
}

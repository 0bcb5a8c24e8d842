/*
 * A disk that is watched, and that fails on demand: preloaded into a process, it stands between that process and the
 * C library's calls on files below one directory.
 *
 * DISK_DIR     the directory; nothing elsewhere is touched
 * DISK_TRACE   a file that every change is appended to, in the order in which it happened (see trace.rs)
 * DISK_FAULT   CALL:FIRST:COUNT:ERRNO: calls number FIRST to FIRST+COUNT-1 fail; CALL is `write`, `sync` or `torn`, a
 *              write of which half is done first
 * DISK_STUCK   a file: as long as it exists, syncs wait
 * DISK_FULL    a file: as long as it exists, writes fail for want of room
 *
 * One lock is held over each call and its entry in the trace, so that the trace is the order of events. Memory maps are
 * not seen: SQLite maps only its index of the write-ahead log, which no crash leaves behind.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int trace = -1;
static char dir[PATH_MAX];
static size_t dir_length;
static const char *stuck, *full;
static char fault_call;
static long fault_first, fault_count, fault_seen;
static int fault_errno;

__attribute__((constructor)) static void begin(void) {
    const char *value = getenv("DISK_DIR");
    if (!value || !realpath(value, dir))
        return;
    dir_length = strlen(dir);
    if ((value = getenv("DISK_TRACE")))
        trace = syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    stuck = getenv("DISK_STUCK");
    full = getenv("DISK_FULL");
    char call[8];
    if ((value = getenv("DISK_FAULT"))
        && sscanf(value, "%7[a-z]:%ld:%ld:%d", call, &fault_first, &fault_count, &fault_errno) == 4)
        fault_call = call[0];
}

/* The part of a path below the directory, or NULL. The directory itself is "". */
static const char *below(const char *path) {
    if (!dir_length || strncmp(path, dir, dir_length) != 0)
        return NULL;
    if (path[dir_length] == '\0')
        return path + dir_length;
    return path[dir_length] == '/' ? path + dir_length + 1 : NULL;
}

static const char *name_of(int fd, char *buffer) {
    char link[32];
    if (!dir_length)
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    buffer[length] = '\0';
    return below(buffer);
}

static const char *name_at(int at, const char *path, char *buffer) {
    if (!dir_length)
        return NULL;
    if (path[0] == '/' || at != AT_FDCWD)
        snprintf(buffer, PATH_MAX, "%s", path);
    else if (getcwd(buffer, PATH_MAX - 1))
        snprintf(buffer + strlen(buffer), PATH_MAX - strlen(buffer), "/%s", path);
    else
        return NULL;
    return below(buffer);
}

/* An entry: kind, length of the name, number, length of the data, name, data. */
static void note(char kind, const char *name, uint64_t number, const void *data, uint64_t length) {
    if (trace < 0)
        return;
    struct { char kind; char pad[3]; uint32_t name; uint64_t number; uint64_t length; } head = {
        .kind = kind, .name = strlen(name), .number = number, .length = length,
    };
    struct iovec parts[3] = {
        {&head, sizeof head}, {(void *)name, head.name}, {(void *)data, length},
    };
    if (syscall(SYS_writev, trace, parts, 3) != (long)(sizeof head + head.name + length))
        abort();
}

/* Whether this call is one of those that fail. The file in which a test marks its place never does. */
static int fails(char call, const char *name) {
    if ((fault_call != call && !(fault_call == 't' && call == 'w')) || strcmp(name, "marks") == 0)
        return 0;
    fault_seen++;
    return fault_seen >= fault_first && fault_seen < fault_first + fault_count;
}

static ssize_t written(int fd, const void *data, size_t length, int64_t offset, int moves) {
    char buffer[PATH_MAX];
    const char *name = name_of(fd, buffer);
    if (!name)
        return moves ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = -1;
    int no_room = full && strcmp(name, "marks") != 0 && syscall(SYS_faccessat, AT_FDCWD, full, F_OK) == 0;
    int failed = no_room || fails('w', name);
    if (moves)
        offset = lseek(fd, 0, (fcntl(fd, F_GETFL) & O_APPEND) ? SEEK_END : SEEK_CUR);
    if (failed && fault_call == 't')
        length /= 2;
    if (!failed || fault_call == 't')
        done = moves ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, offset);
    int error = no_room ? ENOSPC : failed ? fault_errno : errno;
    if (done > 0)
        note('w', name, offset, data, done);
    pthread_mutex_unlock(&lock);
    errno = error;
    return failed ? -1 : done;
}

static int synced(int fd, long call) {
    char buffer[PATH_MAX];
    const char *name = name_of(fd, buffer);
    if (!name)
        return syscall(call, fd);
    while (stuck && syscall(SYS_faccessat, AT_FDCWD, stuck, F_OK) == 0)
        usleep(1000);
    pthread_mutex_lock(&lock);
    int failed = fails('s', name);
    int done = failed ? -1 : syscall(call, fd);
    int error = failed ? fault_errno : errno;
    note(failed ? 'f' : 's', name, 0, "", 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static int truncated(int fd, int64_t length) {
    char buffer[PATH_MAX];
    const char *name = name_of(fd, buffer);
    if (!name)
        return syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_ftruncate, fd, length), error = errno;
    if (done == 0)
        note('t', name, length, "", 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static int opened(int at, const char *path, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *name = flags & (O_CREAT | O_TRUNC) ? name_at(at, path, buffer) : NULL;
    if (!name)
        return syscall(SYS_openat, at, path, flags, mode);
    pthread_mutex_lock(&lock);
    int existed = syscall(SYS_faccessat, at, path, F_OK) == 0;
    int fd = syscall(SYS_openat, at, path, flags, mode), error = errno;
    if (fd >= 0 && !existed)
        note('c', name, 0, "", 0);
    else if (fd >= 0 && (flags & O_TRUNC))
        note('t', name, 0, "", 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

static int removed(const char *path) {
    char buffer[PATH_MAX];
    const char *name = name_at(AT_FDCWD, path, buffer);
    if (!name)
        return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_unlinkat, AT_FDCWD, path, 0), error = errno;
    if (done == 0)
        note('u', name, 0, "", 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static int renamed(const char *from, const char *to) {
    char old[PATH_MAX], new[PATH_MAX];
    const char *name = name_at(AT_FDCWD, from, old), *other = name_at(AT_FDCWD, to, new);
    if (!name || !other)
        return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0), error = errno;
    if (done == 0)
        note('r', name, 0, other, strlen(other));
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

#define OPEN_LIKE(NAME) \
    int NAME(const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = va_arg(more, mode_t); \
        va_end(more); \
        return opened(AT_FDCWD, path, flags, mode); \
    }
OPEN_LIKE(open)
OPEN_LIKE(open64)
#define OPENAT_LIKE(NAME) \
    int NAME(int at, const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = va_arg(more, mode_t); \
        va_end(more); \
        return opened(at, path, flags, mode); \
    }
OPENAT_LIKE(openat)
OPENAT_LIKE(openat64)

ssize_t write(int fd, const void *data, size_t length) { return written(fd, data, length, 0, 1); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return written(fd, data, length, offset, 0); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) { return written(fd, data, length, offset, 0); }
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }
int ftruncate(int fd, off_t length) { return truncated(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncated(fd, length); }
int unlink(const char *path) { return removed(path); }
int rename(const char *from, const char *to) { return renamed(from, to); }

/*
 * Records what a process writes to and syncs of its databases, so that a test can build
 * what a disk may hold after a power cut: everything up to the last sync of each file, and
 * any part of what was written since.
 *
 * RECORD_FILE receives the record, RECORD_DIR is the directory whose files
 * count. One record is: operation, length of the path, offset, length of the data (little
 * endian, as the machine), the path, the data. It is written before the call returns, and
 * in the order of the calls. Syncs are recorded and not made: the test needs no disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OP_WRITE = 1, OP_SYNC = 2, OP_TRUNCATE = 3, OP_REMOVE = 4 };

struct record {
	uint32_t op, path_len;
	uint64_t offset, length;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int out = -1;
static const char *dir;
static size_t dir_len;

static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_ftruncate)(int, off64_t);
static int (*real_fsync)(int);
static int (*real_unlink)(const char *);

__attribute__((constructor)) static void begin(void) {
	real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
	real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
	real_fsync = dlsym(RTLD_NEXT, "fsync");
	real_unlink = dlsym(RTLD_NEXT, "unlink");
	const char *name = getenv("RECORD_FILE");
	dir = getenv("RECORD_DIR");
	if (!name || !dir) return;
	dir_len = strlen(dir);
	out = open(name, O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
}

/* counts reports whether a file is a database or its journal. */
static int counts(const char *path, ssize_t n) {
	if (out < 0 || n <= (ssize_t)dir_len || strncmp(path, dir, dir_len)) return 0;
	const char *name = strrchr(path, '/');
	return name && strstr(name, ".db") && !strstr(name, "-shm") && !strstr(name, ".lock");
}

static int path_of(int fd, char *path) {
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, PATH_MAX - 1);
	if (n < 0) return 0;
	path[n] = 0;
	return counts(path, n);
}

static void put(uint32_t op, const char *path, uint64_t offset, const void *data, uint64_t length) {
	struct record r = {op, (uint32_t)strlen(path), offset, length};
	struct iovec v[3] = {{&r, sizeof r}, {(void *)path, r.path_len}, {(void *)data, data ? length : 0}};
	ssize_t want = (ssize_t)(v[0].iov_len + v[1].iov_len + v[2].iov_len);
	if (writev(out, v, 3) != want) {
		perror("the record of writes");
		_exit(99);
	}
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset) {
	char path[PATH_MAX];
	int saved = errno;
	int record = path_of(fd, path);
	errno = saved;
	if (!record) return real_pwrite(fd, data, n, offset);
	pthread_mutex_lock(&lock);
	ssize_t done = real_pwrite(fd, data, n, offset);
	saved = errno;
	if (done > 0) put(OP_WRITE, path, (uint64_t)offset, data, (uint64_t)done);
	pthread_mutex_unlock(&lock);
	errno = saved;
	return done;
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset) { return pwrite64(fd, data, n, offset); }

ssize_t write(int fd, const void *data, size_t n) {
	static ssize_t (*real)(int, const void *, size_t);
	if (!real) real = dlsym(RTLD_NEXT, "write");
	char path[PATH_MAX];
	int saved = errno;
	int record = fd != out && path_of(fd, path);
	errno = saved;
	if (!record) return real(fd, data, n);
	pthread_mutex_lock(&lock);
	off64_t offset = lseek64(fd, 0, SEEK_CUR);
	ssize_t done = real(fd, data, n);
	saved = errno;
	if (done > 0) put(OP_WRITE, path, (uint64_t)offset, data, (uint64_t)done);
	pthread_mutex_unlock(&lock);
	errno = saved;
	return done;
}

int ftruncate64(int fd, off64_t length) {
	char path[PATH_MAX];
	if (!path_of(fd, path)) return real_ftruncate(fd, length);
	pthread_mutex_lock(&lock);
	int result = real_ftruncate(fd, length);
	int saved = errno;
	if (result == 0) put(OP_TRUNCATE, path, (uint64_t)length, NULL, 0);
	pthread_mutex_unlock(&lock);
	errno = saved;
	return result;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fsync(int fd) {
	char path[PATH_MAX];
	if (!path_of(fd, path)) return real_fsync(fd);
	pthread_mutex_lock(&lock);
	put(OP_SYNC, path, 0, NULL, 0);
	pthread_mutex_unlock(&lock);
	return 0;
}

int fdatasync(int fd) { return fsync(fd); }

int unlink(const char *path) {
	char full[PATH_MAX];
	if (out < 0 || !realpath(path, full) || !counts(full, (ssize_t)strlen(full))) return real_unlink(path);
	pthread_mutex_lock(&lock);
	int result = real_unlink(path);
	int saved = errno;
	if (result == 0) put(OP_REMOVE, full, 0, NULL, 0);
	pthread_mutex_unlock(&lock);
	errno = saved;
	return result;
}

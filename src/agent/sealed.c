/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"

void sealed_close(uint8_t *file, size_t len, uint32_t magic) {
    store_u32(file, magic);
    store_u32(file + 4, (uint32_t)(len - SEALED_HEAD));
    store_u32(file + 8, crc32c(0, file + SEALED_HEAD, len - SEALED_HEAD));
}

int sealed_check(const void *file, size_t len, uint32_t magic, struct err *err) {
    const uint8_t *b = file;
    if (len < SEALED_HEAD || load_u32(b) != magic) return err_set(err, ERR_CORRUPT, "not a file of this kind");
    if (load_u32(b + 4) != len - SEALED_HEAD) return err_set(err, ERR_CORRUPT, "torn at %zu bytes", len);
    if (load_u32(b + 8) != crc32c(0, b + SEALED_HEAD, len - SEALED_HEAD))
        return err_set(err, ERR_CORRUPT, "checksum differs");
    return 0;
}

static int write_all(int fd, const uint8_t *data, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, data + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? errno : EIO;
        done += (size_t)n;
    }
    return 0;
}

int file_replace(int dir_fd, const char *name, const void *data, size_t len, bool sync, struct err *err) {
    char tmp[64];
    (void)snprintf(tmp, sizeof tmp, "%s.tmp", name);
    int fd = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return err_sys(err, errno, "creating %s", tmp);
    int sys = write_all(fd, data, len);
    if (sys == 0 && sync && fsync(fd) != 0) sys = errno;
    (void)close(fd);
    if (sys == 0 && renameat(dir_fd, tmp, dir_fd, name) != 0) sys = errno;
    if (sys == 0 && sync && fsync(dir_fd) != 0) sys = errno;
    return sys ? err_sys(err, sys, "writing %s", name) : 0;
}

int file_overwrite(int dir_fd, const char *name, const void *data, size_t len, struct err *err) {
    struct stat st;
    int fd = openat(dir_fd, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return err_sys(err, errno, "opening %s", name);
    int rc = 0;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != (off_t)len)
        rc = err_set(err, ERR_INVALID, "%s is not a file of %zu bytes", name, len);
    int sys = rc ? 0 : write_all(fd, data, len);
    if (rc == 0 && sys == 0 && fdatasync(fd) != 0) sys = errno;
    (void)close(fd);
    return sys ? err_sys(err, sys, "writing %s", name) : rc;
}

int file_load(int dir_fd, const char *name, struct buf *ret, struct err *err) {
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return err_sys(err, errno, "opening %s", name);
    struct stat st;
    int rc = 0;
    buf_clear(ret);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        rc = err_set(err, ERR_IO, "%s is not a regular file", name);
    } else if ((uint64_t)st.st_size > ret->max) {
        rc = err_set(err, ERR_LIMIT, "%s has %lld bytes, at most %zu are allowed", name, (long long)st.st_size,
                     ret->max);
    }
    while (rc == 0) {
        uint8_t block[8192];
        ssize_t n = read(fd, block, sizeof block);
        if (n == 0) break;
        if (n < 0 && errno == EINTR) continue;
        rc = n < 0 ? err_sys(err, errno, "reading %s", name) : buf_append(ret, block, (size_t)n);
        if (rc && n > 0) (void)err_set(err, rc, "reading %s: %s", name, err_text(rc));
    }
    (void)close(fd);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0
 * The handler uses only what is async-signal-safe: stores into a block that was prepared, a checksum, pwrite,
 * fdatasync, sigaction, raise. */
#include "consensus/crash_mark.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"

#define CRASH_MAGIC  UINT64_C(0x3152434c434e4f43) /* "CONCLCR1" */
#define CRASH_FORMAT 1u
#define CRC_AT       12u
#define STACK_BYTES  (64u << 10)

struct crash_mark {
    int fd; /* -1: there is no file */
    struct crash_found found;
    uint8_t block[DISK_BLOCK]; /* as it will be written, but for position, count and checksum */
};

/* What is being applied; read by the handler, on the thread that wrote it. */
static struct {
    struct crash_mark *volatile mark;
    volatile uint64_t index;
    volatile uint32_t n;
    pthread_t thread;
} now;

static const int caught[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static struct sigaction before[sizeof caught / sizeof *caught];

void crash_mark_begin(struct crash_mark *mark, uint64_t index, uint32_t n) {
    now.index = index;
    now.n = n;
    now.thread = pthread_self();
    now.mark = mark;
}

void crash_mark_end(void) {
    now.mark = NULL;
}

static void block_finish(uint8_t block[DISK_BLOCK], const struct crash_found *found) {
    store_u32(block + CRC_AT, 0);
    store_u64(block + 40, found->index);
    store_u32(block + 48, found->n);
    store_u32(block + 52, found->count);
    store_u32(block + CRC_AT, crc32c(0, block, DISK_BLOCK));
}

static void mark_write(void) {
    struct crash_mark *mark = now.mark;
    if (mark == NULL || mark->fd < 0 || !pthread_equal(now.thread, pthread_self())) return;
    now.mark = NULL; /* a crash in here must not come back */
    struct crash_found found = {.index = now.index, .n = now.n, .count = 1};
    if (found.index == mark->found.index && found.n == mark->found.n) found.count = mark->found.count + 1;
    block_finish(mark->block, &found);
    if (pwrite(mark->fd, mark->block, DISK_BLOCK, 0) == (ssize_t)DISK_BLOCK) (void)fdatasync(mark->fd);
}

static void on_crash(int number) {
    mark_write();
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++)
        if (caught[i] == number) (void)sigaction(number, &before[i], NULL);
    /* A fault comes again at the same instruction when this returns; a signal that was sent does not. */
    (void)raise(number);
}

void crash_mark_catch(void) {
    static bool done;
    if (done) return;
    done = true;
    stack_t stack = {.ss_size = STACK_BYTES, .ss_sp = malloc(STACK_BYTES)}; /* for a crash by a full stack */
    CHECK(stack.ss_sp != NULL && sigaltstack(&stack, NULL) == 0);
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK};
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++)
        CHECK(sigaction(caught[i], &action, &before[i]) == 0);
}

static void block_prepare(struct crash_mark *mark, const struct identity *identity, const char *version) {
    uint8_t *block = mark->block;
    store_u64(block, CRASH_MAGIC);
    store_u32(block + 8, CRASH_FORMAT);
    memcpy(block + 16, identity->cluster_id, 16);
    store_u64(block + 32, identity->node_id);
    memcpy(block + 56, version, strnlen(version, CRASH_VERSION_BYTES - 1));
}

/* What the file says about this folder and this version; nothing if it is damaged. */
static void block_read(const uint8_t found[DISK_BLOCK], const struct crash_mark *mark, struct crash_found *ret) {
    uint8_t copy[DISK_BLOCK];
    memcpy(copy, found, sizeof copy);
    store_u32(copy + CRC_AT, 0);
    *ret = (struct crash_found){0};
    if (crc32c(0, copy, sizeof copy) != load_u32(found + CRC_AT)) return;
    if (memcmp(found, mark->block, 12) != 0 || memcmp(found + 16, mark->block + 16, 24) != 0) return;
    if (memcmp(found + 56, mark->block + 56, CRASH_VERSION_BYTES) != 0) return;
    ret->index = load_u64(found + 40);
    ret->n = load_u32(found + 48);
    ret->count = load_u32(found + 52);
}

int crash_mark_open(const char *dir, struct disk *disk, const struct identity *identity, const char *version,
                    bool clear, struct crash_mark **ret, struct crash_found *ret_found, struct err *err) {
    uint8_t block[DISK_BLOCK];
    char path[4096];
    size_t n = 0;
    struct crash_mark *mark = calloc(1, sizeof *mark);
    if (mark == NULL) return err_set(err, ERR_NOMEM, "out of memory");
    mark->fd = -1;
    block_prepare(mark, identity, version);
    int rv = disk_read(disk, CRASH_FILE, 0, block, sizeof block, &n, err);
    if (rv == 0 && n == sizeof block) block_read(block, mark, &mark->found);
    bool fresh = rv == ERR_NOT_FOUND || (rv == 0 && n != sizeof block);
    if (fresh || (rv == 0 && clear && mark->found.count > 0)) {
        mark->found = (struct crash_found){0};
        block_finish(mark->block, &mark->found);
        rv = disk_replace(disk, CRASH_FILE, mark->block, DISK_BLOCK, err);
        if (rv == ERR_LIMIT && fresh) rv = 0; /* no room: goes without */
    }
    if (rv != 0) {
        free(mark);
        return rv;
    }
    (void)snprintf(path, sizeof path, "%s/%s", dir, CRASH_FILE);
    mark->fd = open(path, O_WRONLY | O_CLOEXEC);
    *ret_found = mark->found;
    *ret = mark;
    return 0;
}

void crash_mark_close(struct crash_mark *mark) {
    if (mark == NULL) return;
    if (now.mark == mark) now.mark = NULL;
    if (mark->fd >= 0) (void)close(mark->fd);
    free(mark);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/sealed.h"
#include "base/check.h"
#include "base/crc32c.h"

#define GROUP_MAGIC 0x474a4e43u /* "CNJG" */
#define GROUP_HEAD  16
#define BUCKETS     4096
#define FILE_MAX    (64u << 20)

enum record_type { RECORD_START = 1, RECORD_SETTLED = 2, RECORD_DROP = 3 };

struct journal {
    int dir_fd;
    int fd;
    char name[64];
    size_t capacity; /* bytes of the file, zero-filled behind `end` */
    size_t end;      /* of the last good group */
    uint32_t number; /* of the last good group */
    struct buf pending;
    struct queue buckets[BUCKETS];
    struct queue started, settled; /* in_order */
    size_t settled_n;
};

static struct queue *bucket_of(const struct journal *j, const struct launch_key *key) {
    uint64_t launch = key->launch.index * 31 + key->launch.n * 17 + key->launch.k;
    return (struct queue *)(uintptr_t)&j->buckets[(launch_key_hash(key) + launch) % BUCKETS];
}

const struct journal_entry *journal_find(const struct journal *j, const struct launch_key *key) {
    const struct queue *bucket = bucket_of(j, key);
    for (const struct queue *at = bucket->next; at != bucket; at = at->next) {
        const struct journal_entry *e = QUEUE_ENTRY(at, const struct journal_entry, in_bucket);
        if (launch_key_equal(&e->key, key)) return e;
    }
    return NULL;
}

static void entry_free(struct journal_entry *e) {
    queue_remove(&e->in_bucket);
    queue_remove(&e->in_order);
    launch_key_done(&e->key);
    free(e);
}

/* The entry of `key`, new ones as started. */
static struct journal_entry *entry_get(struct journal *j, const struct launch_key *key) {
    struct journal_entry *e = (struct journal_entry *)(uintptr_t)journal_find(j, key);
    if (e) return e;
    e = calloc(1, sizeof *e);
    if (!e || launch_key_copy(&e->key, key) != 0) {
        free(e);
        return NULL;
    }
    queue_push(bucket_of(j, key), &e->in_bucket);
    queue_push(&j->started, &e->in_order);
    return e;
}

static int apply_settle(struct journal *j, const struct launch_key *key, uint32_t state, const uint8_t uuid[16]) {
    struct journal_entry *e = entry_get(j, key);
    if (!e) return ERR_NOMEM;
    if (!e->settled) {
        queue_remove(&e->in_order);
        queue_push(&j->settled, &e->in_order);
        j->settled_n++;
    }
    e->settled = true;
    e->state = state;
    memcpy(e->uuid, uuid, 16);
    if (j->settled_n > JOURNAL_SETTLED_MAX) {
        entry_free(QUEUE_ENTRY(j->settled.next, struct journal_entry, in_order));
        j->settled_n--;
    }
    return 0;
}

static void apply_drop(struct journal *j, const struct launch_key *key) {
    struct journal_entry *e = (struct journal_entry *)(uintptr_t)journal_find(j, key);
    if (e && !e->settled) entry_free(e);
}

static void record_put(struct buf *b, enum record_type type, const struct launch_key *key, uint32_t state,
                       const uint8_t uuid[16]) {
    (void)buf_append_byte(b, (uint8_t)type);
    launch_key_encode(key, b);
    if (type != RECORD_SETTLED) return;
    (void)buf_append_u32(b, state);
    (void)buf_append(b, uuid, 16);
}

static int record_apply(struct journal *j, const uint8_t *data, size_t len, size_t *at) {
    uint8_t type = data[(*at)++];
    struct launch_key key;
    int rc = launch_key_decode(data, len, at, &key);
    if (rc) return rc;
    if (type == RECORD_START) {
        rc = entry_get(j, &key) ? 0 : ERR_NOMEM;
    } else if (type == RECORD_DROP) {
        apply_drop(j, &key);
    } else if (type == RECORD_SETTLED && len - *at >= 20) {
        rc = apply_settle(j, &key, load_u32(data + *at), data + *at + 4);
        *at += 20;
    } else {
        rc = type > RECORD_DROP ? ERR_INCOMPATIBLE : ERR_CORRUPT;
    }
    launch_key_done(&key);
    return rc;
}

/* Length of the good group number `number` (0: any) at data[at..len), or 0. */
static size_t group_check(const uint8_t *data, size_t len, size_t at, uint32_t number) {
    if (len - at < GROUP_HEAD || load_u32(data + at) != GROUP_MAGIC) return 0;
    if (number && load_u32(data + at + 4) != number) return 0;
    size_t body = load_u32(data + at + 8);
    if (body == 0 || body > len - at - GROUP_HEAD) return 0;
    uint32_t crc = crc32c(crc32c(0, data + at, 12), data + at + GROUP_HEAD, body);
    return crc == load_u32(data + at + 12) ? GROUP_HEAD + body : 0;
}

static int file_replay(struct journal *j, const struct buf *file, struct err *err) {
    size_t at = 0;
    for (size_t n; (n = group_check(file->data, file->len, at, j->number + 1)) != 0; at += n) {
        for (size_t pos = GROUP_HEAD; pos < n;) {
            int rc = record_apply(j, file->data + at, n, &pos);
            if (rc) return err_set(err, rc, "journal %s: bad record at byte %zu", j->name, at + pos);
        }
        j->number++;
    }
    j->end = at;
    for (size_t pos = at + 1; pos + GROUP_HEAD <= file->len; pos++)
        if (group_check(file->data, file->len, pos, 0) && load_u32(file->data + pos + 4) > j->number)
            return err_set(err, ERR_CORRUPT,
                           "journal %s is damaged at byte %zu with good records behind it; restore the file, or wipe "
                           "the work folder so that the agent registers anew",
                           j->name, at);
    return 0;
}

static void group_close(struct buf *b, size_t start, uint32_t number) {
    uint8_t *head = b->data + start;
    size_t body = b->len - start - GROUP_HEAD;
    store_u32(head, GROUP_MAGIC);
    store_u32(head + 4, number);
    store_u32(head + 8, (uint32_t)body);
    store_u32(head + 12, crc32c(crc32c(0, head, 12), head + GROUP_HEAD, body));
}

/* Writes a new file with what still matters in one group, zero-filled to its capacity, and goes on in it. */
static int file_rewrite(struct journal *j, struct err *err) {
    static const uint8_t head[GROUP_HEAD];
    struct buf b;
    buf_init(&b, FILE_MAX);
    (void)buf_append(&b, head, GROUP_HEAD);
    for (struct queue *at = j->settled.next; at != &j->settled; at = at->next) {
        struct journal_entry *e = QUEUE_ENTRY(at, struct journal_entry, in_order);
        record_put(&b, RECORD_SETTLED, &e->key, e->state, e->uuid);
    }
    for (struct queue *at = j->started.next; at != &j->started; at = at->next)
        record_put(&b, RECORD_START, &QUEUE_ENTRY(at, struct journal_entry, in_order)->key, 0, NULL);
    size_t end = b.len > GROUP_HEAD ? b.len : 0;
    size_t capacity = end > JOURNAL_FILE_BYTES / 2 ? end * 2 : JOURNAL_FILE_BYTES;
    uint8_t *rest = NULL;
    if (end && !b.failed) group_close(&b, 0, 1);
    if (end == 0) buf_clear(&b);
    if (!b.failed) rest = buf_reserve(&b, capacity - end);
    if (!rest) {
        buf_done(&b);
        return err_set(err, ERR_LIMIT, "journal %s: too many launches", j->name);
    }
    memset(rest, 0, capacity - end);
    int rc = file_replace(j->dir_fd, j->name, b.data, capacity, true, err);
    buf_done(&b);
    if (rc) return rc;
    int fd = openat(j->dir_fd, j->name, O_RDWR | O_CLOEXEC);
    if (fd < 0) return err_sys(err, errno, "opening %s", j->name);
    if (j->fd >= 0) (void)close(j->fd);
    j->fd = fd;
    j->capacity = capacity;
    j->end = end;
    j->number = end ? 1 : 0;
    buf_clear(&j->pending); /* it is in the entries, and they were all written */
    return 0;
}

/* Goes on in the file as it is, if it has room and nothing but zeroes behind its last good group. */
static bool file_continue(struct journal *j, const struct buf *file) {
    if (file->len < JOURNAL_FILE_BYTES || j->end > file->len / 2) return false;
    for (size_t at = j->end; at < file->len; at++)
        if (file->data[at]) return false; /* a torn write: cut it by writing the file anew */
    j->fd = openat(j->dir_fd, j->name, O_RDWR | O_CLOEXEC);
    j->capacity = file->len;
    return j->fd >= 0;
}

int journal_open(int dir_fd, const char *name, struct journal **ret, struct err *err) {
    struct journal *j = calloc(1, sizeof *j);
    if (!j) return err_set(err, ERR_NOMEM, "no memory");
    j->dir_fd = dir_fd;
    j->fd = -1;
    (void)snprintf(j->name, sizeof j->name, "%s", name);
    buf_init(&j->pending, FILE_MAX / 2);
    for (size_t i = 0; i < BUCKETS; i++)
        queue_init(&j->buckets[i]);
    queue_init(&j->started);
    queue_init(&j->settled);
    struct buf file;
    buf_init(&file, FILE_MAX);
    int rc = file_load(dir_fd, name, &file, err);
    if (rc == ERR_NOT_FOUND) rc = 0;
    if (rc == 0) rc = file_replay(j, &file, err);
    if (rc == 0) rc = file_continue(j, &file) ? 0 : file_rewrite(j, err);
    buf_done(&file);
    if (rc) {
        journal_close(j);
        return rc;
    }
    *ret = j;
    return 0;
}

void journal_close(struct journal *j) {
    if (!j) return;
    while (!queue_empty(&j->started))
        entry_free(QUEUE_ENTRY(j->started.next, struct journal_entry, in_order));
    while (!queue_empty(&j->settled))
        entry_free(QUEUE_ENTRY(j->settled.next, struct journal_entry, in_order));
    if (j->fd >= 0) (void)close(j->fd);
    buf_done(&j->pending);
    free(j);
}

static int pending_put(struct journal *j, enum record_type type, const struct launch_key *key, uint32_t state,
                       const uint8_t uuid[16]) {
    static const uint8_t head[GROUP_HEAD];
    if (j->pending.len == 0) (void)buf_append(&j->pending, head, GROUP_HEAD);
    record_put(&j->pending, type, key, state, uuid);
    return j->pending.failed ? ERR_LIMIT : 0;
}

int journal_start(struct journal *j, const struct launch_key *key) {
    if (!entry_get(j, key)) return ERR_NOMEM;
    return pending_put(j, RECORD_START, key, 0, NULL);
}

int journal_settle(struct journal *j, const struct launch_key *key, uint32_t state, const uint8_t uuid[16]) {
    int rc = apply_settle(j, key, state, uuid);
    return rc ? rc : pending_put(j, RECORD_SETTLED, key, state, uuid);
}

int journal_drop(struct journal *j, const struct launch_key *key) {
    apply_drop(j, key);
    return pending_put(j, RECORD_DROP, key, 0, NULL);
}

int journal_sync(struct journal *j, struct err *err) {
    struct buf *b = &j->pending;
    if (b->len == 0 && !b->failed) return 0;
    if (b->failed || b->len > j->capacity - j->end) return file_rewrite(j, err);
    group_close(b, 0, j->number + 1);
    for (size_t done = 0; done < b->len;) {
        ssize_t n = pwrite(j->fd, b->data + done, b->len - done, (off_t)(j->end + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return err_sys(err, n < 0 ? errno : EIO, "writing journal %s", j->name);
        done += (size_t)n;
    }
    if (fdatasync(j->fd) != 0) return err_sys(err, errno, "syncing journal %s", j->name);
    j->end += b->len;
    j->number++;
    buf_clear(b);
    return 0;
}

size_t journal_pending(const struct journal *j) {
    return j->pending.len;
}

const struct journal_entry *journal_next_started(const struct journal *j, const struct journal_entry *after) {
    const struct queue *next = after ? after->in_order.next : j->started.next;
    return next == &j->started ? NULL : QUEUE_ENTRY(next, const struct journal_entry, in_order);
}

size_t journal_settled_count(const struct journal *j) {
    return j->settled_n;
}

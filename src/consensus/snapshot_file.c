/* SPDX-License-Identifier: Apache-2.0
 * Names and housekeeping here; the bytes are in snapshot_write.c and snapshot_read.c. */
#include "consensus/snapshot_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define NAME_PREFIX "snapshot-"
#define NAME_LEN    (sizeof NAME_PREFIX - 1 + 16 + 1 + 16)

void snapshot_name(const struct snapshot_id *id, char *ret) {
    (void)snprintf(ret, DISK_NAME_MAX, NAME_PREFIX "%016" PRIx64 "-%016" PRIx64, id->index, id->term);
}

bool snapshot_name_parse(const char *name, struct snapshot_id *ret) {
    struct snapshot_id id;
    char again[DISK_NAME_MAX];
    if (strlen(name) != NAME_LEN || strncmp(name, NAME_PREFIX, sizeof NAME_PREFIX - 1) != 0) return false;
    char *end;
    id.index = strtoull(name + sizeof NAME_PREFIX - 1, &end, 16);
    if (*end != '-') return false;
    id.term = strtoull(end + 1, &end, 16);
    snapshot_name(&id, again);
    if (strcmp(again, name) != 0) return false; /* other spellings of the same numbers are not ours */
    *ret = id;
    return true;
}

struct listing {
    struct snapshot_id *ids;
    size_t n;
};

static void listed(void *data, const char *name) {
    struct listing *l = data;
    struct snapshot_id id;
    if (l->n < SNAPSHOT_FILES_MAX && snapshot_name_parse(name, &id)) l->ids[l->n++] = id;
}

static int newer_first(const void *a, const void *b) {
    const struct snapshot_id *x = a, *y = b;
    if (x->index != y->index) return x->index > y->index ? -1 : 1;
    return x->term > y->term ? -1 : x->term < y->term;
}

int snapshot_list(struct disk *disk, struct snapshot_id *ret, size_t *ret_n, struct err *err) {
    struct listing l = {.ids = ret};
    int rv = disk_list(disk, listed, &l, err);
    if (rv != 0) return rv;
    qsort(ret, l.n, sizeof *ret, newer_first);
    *ret_n = l.n;
    return 0;
}

static bool id_in(const struct snapshot_id *id, const struct snapshot_id *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (list[i].index == id->index && list[i].term == id->term) return true;
    return false;
}

int snapshot_prune(struct disk *disk, const struct snapshot_id *damaged, size_t n, const struct snapshot_id *pinned,
                   size_t n_pinned, struct err *err) {
    struct snapshot_id ids[SNAPSHOT_FILES_MAX] = {{0}};
    size_t n_ids, good = 0;
    int rv = snapshot_list(disk, ids, &n_ids, err);
    for (size_t i = 0; rv == 0 && i < n_ids; i++) {
        char name[DISK_NAME_MAX];
        bool bad = id_in(&ids[i], damaged, n);
        if (!bad && good < SNAPSHOT_KEPT) {
            good++;
            continue;
        }
        if (!bad && id_in(&ids[i], pinned, n_pinned)) continue;
        snapshot_name(&ids[i], name);
        rv = disk_remove(disk, name, err);
    }
    return rv == 0 ? disk_sync_dir(disk, err) : rv;
}

void snapshot_free(struct raft_snapshot *snapshot) {
    if (!snapshot) return;
    raft_configuration_close(&snapshot->configuration);
    for (unsigned i = 0; i < snapshot->n_bufs; i++)
        raft_free(snapshot->bufs[i].base);
    raft_free(snapshot->bufs);
    raft_free(snapshot);
}

#define MANIFEST_MAGIC UINT64_C(0x31464d564c434e43) /* "CNCLVMF1" */

void snapshot_manifest_encode(const struct snapshot_manifest *m, uint8_t bytes[SNAPSHOT_MANIFEST_BYTES]) {
    memset(bytes, 0, SNAPSHOT_MANIFEST_BYTES);
    store_u64(bytes, MANIFEST_MAGIC);
    store_u64(bytes + 8, m->id.index);
    store_u64(bytes + 16, m->id.term);
    store_u64(bytes + 24, m->file_size);
    store_u64(bytes + 32, m->state_size);
    store_u64(bytes + 40, m->hash.lo);
    store_u64(bytes + 48, m->hash.hi);
}

bool snapshot_manifest_decode(const void *bytes, size_t len, struct snapshot_manifest *ret) {
    const uint8_t *p = bytes;
    if (len != SNAPSHOT_MANIFEST_BYTES || load_u64(p) != MANIFEST_MAGIC || load_u64(p + 56) != 0) return false;
    ret->id = (struct snapshot_id){.index = load_u64(p + 8), .term = load_u64(p + 16)};
    ret->file_size = load_u64(p + 24);
    ret->state_size = load_u64(p + 32);
    ret->hash = (struct hash128){.lo = load_u64(p + 40), .hi = load_u64(p + 48)};
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/archive_private.h"

#include <inttypes.h>
#include <raft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "consensus/snapshot_file.h"

#define CONFIGURATION_FORMAT 1u /* first byte of the core's encoding */

void archive_done(struct archive *a) {
    free(a->state);
    *a = (struct archive){0};
}

/* ---- to and from the core's types ---- */

static int members_take(const struct raft_configuration *c, struct archive *ret, struct err *err) {
    if (c->n > ARCHIVE_MEMBERS_MAX) return err_set(err, ERR_CORRUPT, "a configuration of %u members", c->n);
    ret->member_count = 0;
    for (unsigned i = 0; i < c->n; i++) {
        struct archive_member *m = &ret->members[ret->member_count++];
        *m = (struct archive_member){.id = c->servers[i].id, .voter = c->servers[i].role == RAFT_VOTER};
        if (strlen(c->servers[i].address) >= sizeof m->address)
            return err_set(err, ERR_CORRUPT, "the address of member %" PRIu64 " is too long", m->id);
        memcpy(m->address, c->servers[i].address, strlen(c->servers[i].address) + 1);
    }
    return 0;
}

static int snapshot_take(const struct raft_snapshot *s, struct archive *ret, struct err *err) {
    struct archive made = {.index = s->index, .term = s->term, .conf_index = s->configuration_index};
    int rc = members_take(&s->configuration, &made, err);
    if (rc) return rc;
    for (unsigned i = 0; i < s->n_bufs; i++)
        made.state_len += s->bufs[i].len;
    made.state = malloc(made.state_len + 1);
    if (!made.state) return err_set(err, ERR_NOMEM, "no memory for a snapshot");
    size_t at = 0;
    for (unsigned i = 0; i < s->n_bufs; i++) {
        if (s->bufs[i].len) memcpy(made.state + at, s->bufs[i].base, s->bufs[i].len);
        at += s->bufs[i].len;
    }
    *ret = made;
    return 0;
}

int archive_list(struct disk *disk, struct archive_row ret[ARCHIVE_FOLDER_FILES], size_t *ret_n, struct err *err) {
    struct snapshot_id ids[SNAPSHOT_FILES_MAX] = {{0}};
    size_t n = 0, kept = 0;
    int rc = snapshot_list(disk, ids, &n, err);
    for (size_t i = 0; rc == 0 && i < n && i < ARCHIVE_FOLDER_FILES; i++) {
        struct archive_row *row = &ret[kept];
        *row = (struct archive_row){.index = ids[i].index, .term = ids[i].term};
        snapshot_name(&ids[i], row->name);
        rc = disk_size(disk, row->name, &row->bytes, err);
        if (rc == ERR_NOT_FOUND) /* pruned meanwhile */
            rc = 0;
        else
            kept++;
    }
    *ret_n = kept;
    return rc;
}

int archive_read(struct disk *disk, const uint8_t cluster_id[16], const struct archive_row *row, struct archive *ret,
                 struct fault *ret_fault, struct err *err) {
    struct snapshot_id id = {.index = row->index, .term = row->term};
    struct raft_snapshot *snapshot = NULL;
    *ret_fault = (struct fault){0};
    int rc = snapshot_read(disk, cluster_id, &id, &snapshot, ret_fault, err);
    if (rc) return rc;
    rc = snapshot_take(snapshot, ret, err);
    snapshot_free(snapshot);
    return rc;
}

/* The core's own encoding of a configuration: format, count, then id, address, NUL, role for each. */
int archive_members_decode(const uint8_t *data, size_t len, struct archive *ret, struct err *err) {
    struct archive made = {0};
    size_t at = 9;
    if (len < at || data[0] != CONFIGURATION_FORMAT)
        return err_set(err, ERR_CORRUPT, "no configuration of a known form");
    uint64_t n = load_u64(data + 1);
    if (n > ARCHIVE_MEMBERS_MAX) return err_set(err, ERR_CORRUPT, "a configuration of %" PRIu64 " members", n);
    for (; made.member_count < n; made.member_count++) {
        struct archive_member *m = &made.members[made.member_count];
        if (len - at < 8) return err_set(err, ERR_CORRUPT, "a configuration is cut off");
        m->id = load_u64(data + at);
        at += 8;
        const uint8_t *end = memchr(data + at, 0, len - at);
        size_t length = end ? (size_t)(end - (data + at)) : 0;
        if (!end || length >= sizeof m->address || at + length + 1 >= len)
            return err_set(err, ERR_CORRUPT, "a configuration is cut off");
        memcpy(m->address, data + at, length + 1);
        at += length + 1;
        m->voter = data[at++] == RAFT_VOTER;
    }
    memcpy(ret->members, made.members, sizeof made.members);
    ret->member_count = made.member_count;
    return 0;
}

/* Writes through `disk` under the snapshot's own name. */
int archive_put(struct disk *disk, const uint8_t cluster_id[16], const struct archive *a, struct err *err) {
    struct raft_buffer state = {.base = a->state, .len = a->state_len};
    struct raft_snapshot s = {.index = a->index, .term = a->term, .configuration_index = a->conf_index};
    s.bufs = &state;
    s.n_bufs = 1;
    raft_configuration_init(&s.configuration);
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < a->member_count; i++)
        if (raft_configuration_add(&s.configuration, a->members[i].id, a->members[i].address,
                                   a->members[i].voter ? RAFT_VOTER : RAFT_STANDBY))
            rc = err_set(err, ERR_INVALID, "member %" PRIu64 " stands twice, or there is no memory", a->members[i].id);
    if (rc == 0) rc = snapshot_write(disk, cluster_id, &s, err);
    raft_configuration_close(&s.configuration);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/snapshot_info.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/export_file.h"
#include "cli/print.h"
#include "cli/records.h"

static bool kind_count(void *ctx, enum state_record_kind kind, uint64_t number, const uint8_t *data, size_t len) {
    struct snapshot_info *info = ctx;
    (void)number;
    (void)data;
    info->kinds[kind - 1].count++;
    info->kinds[kind - 1].bytes += len;
    return true;
}

void snapshot_info_make(struct snapshot_info *ret, const char *file, uint64_t bytes, const uint8_t cluster_id[16],
                        const struct archive *archive, const struct state *state) {
    Conclave__Tools__SnapshotInfo *m = &ret->message;
    const struct leader_record *leader = state_leader(state);
    *m = (Conclave__Tools__SnapshotInfo)CONCLAVE__TOOLS__SNAPSHOT_INFO__INIT;
    hex16_text(cluster_id, ret->cluster);
    hash128_hex(state_hash(state), ret->hash);
    (void)snprintf(ret->applied, sizeof ret->applied, "%" PRIu64, state_applied_index(state));
    m->file = (char *)(uintptr_t)file;
    m->bytes = bytes;
    m->cluster_id = ret->cluster;
    m->index = archive->index;
    m->term = archive->term;
    m->has_incarnation = m->has_level = m->has_state_bytes = m->has_last_leader = 1;
    m->incarnation = state_incarnation(state);
    m->level = state_config(state)->level;
    m->applied = ret->applied;
    m->hash = ret->hash;
    m->state_bytes = archive->state_len;
    m->last_leader = leader->node;
    m->last_leader_wall = leader->index ? (char *)(uintptr_t)wall_text(leader->wall_ms, ret->wall) : NULL;
    m->members = ret->member_pointers;
    for (unsigned i = 0; i < archive->member_count; i++) {
        Conclave__Tools__SnapshotMember *member = ret->member_pointers[i] = &ret->members[i];
        *member = (Conclave__Tools__SnapshotMember)CONCLAVE__TOOLS__SNAPSHOT_MEMBER__INIT;
        member->id = archive->members[i].id;
        member->peer = (char *)(uintptr_t)archive->members[i].address;
        member->role = (char *)(uintptr_t)(archive->members[i].voter ? "voter" : "learner");
        m->n_members = i + 1;
    }
    m->kinds = ret->kind_pointers;
    m->n_kinds = 4;
    for (unsigned i = 0; i < 4; i++) {
        ret->kind_pointers[i] = &ret->kinds[i];
        ret->kinds[i] = (Conclave__Tools__Count)CONCLAVE__TOOLS__COUNT__INIT;
        ret->kinds[i].name = (char *)(uintptr_t)record_kind_name((enum state_record_kind)(i + 1));
    }
    state_records(state, kind_count, ret);
}

void snapshot_info_print(const struct snapshot_info *info) {
    const Conclave__Tools__SnapshotInfo *m = &info->message;
    print_plain(m->file);
    printf("\n  cluster      %s\n", m->cluster_id);
    printf("  position     entry %" PRIu64 ", term %" PRIu64 "; last command in entry %s\n", m->index, m->term,
           m->applied);
    printf("  incarnation  %" PRIu32 ", feature level %" PRIu32 "\n", m->incarnation, m->level);
    if (m->last_leader_wall)
        printf("  last leader  master %" PRIu64 ", since %s\n", m->last_leader, m->last_leader_wall);
    printf("  state hash   %s\n", m->hash);
    printf("  size         %" PRIu64 " bytes, %" PRIu64 " unpacked\n", m->bytes, m->state_bytes);
    for (size_t i = 0; i < m->n_members; i++) {
        printf("  member       %" PRIu64 " at ", m->members[i]->id);
        print_plain(m->members[i]->peer);
        printf(", %s\n", m->members[i]->role);
    }
    for (size_t i = 0; i < m->n_kinds; i++)
        printf("  %-12s %" PRIu64 " records, %" PRIu64 " bytes\n", m->kinds[i]->name, m->kinds[i]->count,
               m->kinds[i]->bytes);
}

int snapshot_open(const char *path, uint8_t ret_cluster_id[16], struct archive *ret, struct state **ret_state,
                  uint64_t *ret_bytes, struct fault *ret_fault, struct err *err) {
    struct stat st;
    int rc = archive_file_read(path, ret_cluster_id, ret, ret_fault, err);
    if (rc) return rc;
    *ret_bytes = stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
    struct state *state = state_new();
    rc = state ? state_restore(state, ret->state, ret->state_len, err) : err_set(err, ERR_NOMEM, "out of memory");
    if (rc == 0 && memcmp(state_cluster_id(state), ret_cluster_id, 16) != 0)
        rc = err_set(err, ERR_CORRUPT, "the state in it is that of another cluster");
    if (rc == 0) rc = state_check(state, err);
    if (rc == 0) {
        *ret_state = state;
        return 0;
    }
    if (rc == ERR_CORRUPT) {
        const char *slash = strrchr(path, '/');
        char text[sizeof ret_fault->text];
        (void)snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, err->text);
        fault_set(ret_fault, "", 0, "snapshot", fault_remedy_copy, "%s", text);
        (void)snprintf(ret_fault->file, sizeof ret_fault->file, "%s", slash ? slash + 1 : path);
        (void)fault_err(ret_fault, err);
    }
    if (state) state_free(state);
    archive_done(ret);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/cross_check.h"

#include <inttypes.h>

static void log_end_name(const struct wal_scan *log, char *ret) {
    wal_segment_name(log->n_segments ? log->segments[log->n_segments - 1].seq : 1, ret);
}

bool cross_check_vote(const struct vote *vote, const struct wal_scan *log, struct fault *ret_fault) {
    char name[DISK_NAME_MAX];
    if (log->vote_version > vote->version || log->term > vote->term) {
        fault_set(ret_fault, VOTE_FILE, 0, "cross", fault_remedy_newid, "%s",
                  "an old copy: the log knows a later term or vote");
        return false;
    }
    if (log->number < vote->log_group) {
        log_end_name(log, name);
        fault_set(ret_fault, name, log->offset, "cross", fault_remedy_replace,
                  "the log has lost its end: it has %" PRIu64 " groups, the vote file knows %" PRIu64, log->number,
                  vote->log_group);
        return false;
    }
    return true;
}

bool cross_check_snapshot(const struct vote *vote, const struct wal_scan *log, const struct snapshot_id *snapshot,
                          struct fault *ret_fault) {
    char name[DISK_NAME_MAX];
    uint64_t reach = snapshot ? snapshot->index : 0;
    if (snapshot && snapshot->term > vote->term) {
        fault_set(ret_fault, VOTE_FILE, 0, "cross", fault_remedy_newid, "%s",
                  "an old copy: a snapshot knows a later term");
        return false;
    }
    if (log->start > reach + 1) {
        wal_segment_name(log->n_segments ? log->segments[0].seq : 1, name);
        fault_set(ret_fault, name, 0, "cross", fault_remedy_replace,
                  "the log begins at entry %" PRIu64 ", and no intact snapshot reaches it", log->start);
        return false;
    }
    return true;
}

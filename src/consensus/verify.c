/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/verify.h"

#include <string.h>
#include <time.h>

#include "consensus/cross_check.h"
#include "consensus/pins.h"
#include "consensus/snapshot_file.h"
#include "consensus/vote.h"
#include "consensus/wal_scan.h"

#define LIVE_TRIES    8u        /* what looks damaged while it is being written is read so often */
#define LIVE_PAUSE_NS 20000000L /* longer than a write and its seal usually take */

static void pause_briefly(void) {
    const struct timespec pause = {.tv_nsec = LIVE_PAUSE_NS};
    (void)nanosleep(&pause, NULL);
}

/* ---- report ---- */

/* The last place is kept for what weighs more than damage to the data, which is found last. */
static void fault_add(struct verify_report *r, const struct fault *fault) {
    bool weighs = fault->remedy == fault_remedy_newid || fault->remedy == fault_remedy_foreign;
    r->faults_total++;
    if (r->n_faults + !weighs < VERIFY_FAULTS_MAX)
        r->faults[r->n_faults++] = *fault;
    else if (weighs)
        r->faults[VERIFY_FAULTS_MAX - 1] = *fault;
}

static bool scan_fault(void *ctx, const struct fault *fault) {
    fault_add(ctx, fault);
    return true;
}

/* Damage that is known only as an error text. */
static void fault_of_err(struct verify_report *r, const char *file, const char *kind, const char *remedy,
                         const struct err *err) {
    struct fault fault;
    fault_set(&fault, file, 0, kind, remedy, "%s", err->text);
    fault_add(r, &fault);
}

static int vote_verify(struct disk *disk, struct verify_report *r, struct vote *ret, struct err *err) {
    struct fault fault;
    bool repair;
    int rv = vote_read(disk, &r->identity, ret, &repair, &fault, err);
    if (rv != 0 && rv != ERR_CORRUPT) return rv;
    if (fault.file[0]) fault_add(r, &fault);
    if (rv == 0 && ret->marks & VOTE_MARK_DIVERGED) {
        fault_set(&fault, VOTE_FILE, 0, "diverged", fault_remedy_replace, "%s",
                  "this node stopped because its state was not the majority's");
        fault_add(r, &fault);
    }
    r->term = ret->term;
    r->voted_for = ret->voted_for;
    return 0;
}

static int pins_verify(struct disk *disk, struct verify_report *r, struct err *err) {
    struct pins pins;
    struct fault fault;
    bool repair;
    int rv = pins_read(disk, &r->identity, &pins, &repair, &fault, err);
    if (rv != 0 && rv != ERR_CORRUPT && rv != ERR_NOT_FOUND) return rv;
    if (fault.file[0]) fault_add(r, &fault);
    return 0;
}

static int log_verify(struct disk *disk, struct verify_report *r, struct wal_scan *scan, struct err *err) {
    struct wal_visitor v = {.ctx = r, .fault = scan_fault};
    int rv = wal_scan_run(disk, r->identity.cluster_id, r->identity.node_id, &v, scan, err);
    r->first = scan->start;
    r->last = scan->next - 1;
    r->last_term = scan->term;
    r->groups = scan->groups;
    r->segments = scan->n_segments;
    r->torn_bytes = scan->torn_bytes;
    if (rv != ERR_INCOMPATIBLE) return rv;
    fault_of_err(r, "log", "segment-header", fault_remedy_replace, err);
    return 0;
}

/* Sets *ret_newest to the newest good one, its index 0 if there is none. */
static int snapshots_verify(struct disk *disk, struct verify_report *r, const struct wal_scan *scan,
                            struct snapshot_id *ret_newest, struct err *err) {
    struct snapshot_id ids[SNAPSHOT_FILES_MAX] = {{0}};
    struct fault faults[SNAPSHOT_FILES_MAX];
    size_t n, n_faults = 0;
    int rv = snapshot_list(disk, ids, &n, err);
    if (rv != 0) return rv;
    *ret_newest = (struct snapshot_id){0};
    for (size_t i = 0; i < n; i++) {
        rv = snapshot_read(disk, r->identity.cluster_id, &ids[i], NULL, &faults[n_faults], err);
        if (rv == ERR_CORRUPT) {
            n_faults++;
        } else if (rv != 0) {
            return rv;
        } else if (ret_newest->index == 0) {
            *ret_newest = ids[i];
        }
    }
    r->snapshots = n;
    r->snapshot_index = ret_newest->index;
    r->snapshot_term = ret_newest->term;
    bool reached = scan->start <= ret_newest->index + 1;
    for (size_t i = 0; i < n_faults; i++) {
        faults[i].remedy = reached ? fault_remedy_snapshot : fault_remedy_replace;
        fault_add(r, &faults[i]);
    }
    return 0;
}

static int verify_once(struct disk *disk, struct verify_report *r, struct err *err) {
    struct vote vote = {0};
    struct wal_scan scan;
    struct snapshot_id newest = {0};
    struct fault fault;
    *r = (struct verify_report){.first = 1};
    int rv = identity_read(disk, &r->identity, err);
    if (rv == ERR_NOT_FOUND) {
        r->pristine = true;
        return 0;
    }
    if (rv == ERR_CORRUPT || rv == ERR_INCOMPATIBLE) {
        fault_of_err(r, IDENTITY_FILE, "identity", fault_remedy_newid, err);
        return 0; /* whose files these should be is not known */
    }
    if (rv == 0) rv = vote_verify(disk, r, &vote, err);
    if (rv == 0) rv = pins_verify(disk, r, err);
    if (rv != 0) return rv;
    rv = log_verify(disk, r, &scan, err);
    if (rv == 0) rv = snapshots_verify(disk, r, &scan, &newest, err);
    /* Behind other damage only an old vote is worth telling: what the log lacks is known by then. */
    bool alone = r->faults_total == 0, known = rv == 0 && vote.version != 0;
    if (known && !cross_check_vote(&vote, &scan, &fault) && (alone || fault.remedy == fault_remedy_newid))
        fault_add(r, &fault);
    alone = r->faults_total == 0;
    if (known && !cross_check_snapshot(&vote, &scan, newest.index ? &newest : NULL, &fault) &&
        (alone || fault.remedy == fault_remedy_newid))
        fault_add(r, &fault);
    wal_scan_done(&scan);
    return rv;
}

int verify_run(struct disk *disk, bool live, struct verify_report *ret, struct err *err) {
    int rv = verify_once(disk, ret, err);
    for (unsigned i = 1; live && i < LIVE_TRIES && (rv == ERR_NOT_FOUND || (rv == 0 && ret->faults_total)); i++) {
        pause_briefly();
        rv = verify_once(disk, ret, err);
    }
    ret->ok = rv == 0 && ret->faults_total == 0;
    return rv;
}

/* SPDX-License-Identifier: Apache-2.0
 * Order on disk: the vote file says "barred" and "being set aside" in one write, then the files are renamed, then the
 * vote file says that it is done. Before the first write nothing has happened; after it every start comes here. */
#include "consensus/reinstall.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "consensus/snapshot_file.h"
#include "consensus/verify.h"
#include "consensus/vote.h"
#include "consensus/wal_format.h"

#define NAMES_MAX 4096u /* files set aside in one go; the rest in the next round */
#define ASIDE_MAX 9999u

static bool is_data(const char *name) {
    struct snapshot_id id;
    uint64_t seq;
    return wal_segment_name_parse(name, &seq) || wal_spare_name_parse(name, &seq) || snapshot_name_parse(name, &id);
}

struct names {
    char (*name)[DISK_NAME_MAX];
    size_t n;
    unsigned aside; /* highest number in use */
};

static void names_take(void *data, const char *name) {
    struct names *names = data;
    unsigned number;
    if (sscanf(name, REINSTALL_ASIDE_PREFIX "%u-", &number) == 1 && number <= ASIDE_MAX && number > names->aside)
        names->aside = number;
    if (is_data(name) && names->n < NAMES_MAX) memcpy(names->name[names->n++], name, strlen(name) + 1);
}

/* Each round has a number of its own, so nothing is ever written over. */
static int round_aside(struct disk *disk, struct names *names, struct err *err) {
    names->n = 0;
    names->aside = 0;
    int rv = disk_list(disk, names_take, names, err);
    if (rv == 0 && names->n > 0 && names->aside == ASIDE_MAX)
        return err_set(err, ERR_LIMIT, "%u sets of old data are in the folder: move them away", ASIDE_MAX);
    for (size_t i = 0; rv == 0 && i < names->n; i++) {
        char to[DISK_NAME_MAX + 24];
        (void)snprintf(to, sizeof to, REINSTALL_ASIDE_PREFIX "%u-%s", names->aside + 1, names->name[i]);
        if (strlen(to) >= DISK_NAME_MAX) return err_set(err, ERR_LIMIT, "the name %s is too long", to);
        rv = disk_rename(disk, names->name[i], to, err);
    }
    return rv == 0 && names->n > 0 ? disk_sync_dir(disk, err) : rv;
}

static int all_aside(struct disk *disk, struct err *err) {
    struct names names = {.name = calloc(NAMES_MAX, DISK_NAME_MAX)};
    if (names.name == NULL) return err_set(err, ERR_NOMEM, "no memory to list the folder");
    int rv;
    do
        rv = round_aside(disk, &names, err);
    while (rv == 0 && names.n > 0);
    free(names.name);
    return rv;
}

/* The vote as it is, one slot repaired if it must be. */
static int vote_get(struct disk *disk, const struct identity *identity, struct vote *ret, struct err *err) {
    struct fault fault;
    bool repair;
    int rv = vote_read(disk, identity, ret, &repair, &fault, err);
    if (rv != 0) return rv;
    return repair ? vote_repair(disk, identity, err) : 0;
}

/* Whether the data is beyond what a start repairs by itself. ERR_CORRUPT: so is what the node promised. */
static int damaged(struct disk *disk, bool *ret, struct err *err) {
    struct verify_report *report = malloc(sizeof *report);
    if (report == NULL) return err_set(err, ERR_NOMEM, "no memory to verify the folder");
    int rv = verify_run(disk, false, report, err);
    *ret = report->faults_total > report->n_faults;
    for (size_t i = 0; rv == 0 && i < report->n_faults; i++) {
        log_event(LOG_WARN, "folder_damaged", "file=%s offset=%" PRIu64 " text=\"%s\"", report->faults[i].file,
                  report->faults[i].offset, report->faults[i].text);
        if (report->faults[i].remedy == fault_remedy_replace) *ret = true;
        if (report->faults[i].remedy == fault_remedy_newid || report->faults[i].remedy == fault_remedy_foreign)
            rv = fault_err(&report->faults[i], err);
    }
    free(report);
    return rv;
}

int reinstall_check(struct disk *disk, const struct identity *identity, bool wanted, bool *ret_done, struct err *err) {
    struct vote vote;
    bool bad = false;
    *ret_done = false;
    int rv = vote_get(disk, identity, &vote, err);
    if (rv != 0) return rv;
    if (wanted && !(vote.marks & VOTE_MARK_ASIDE)) {
        bad = (vote.marks & VOTE_MARK_DIVERGED) != 0;
        if (!bad) rv = damaged(disk, &bad, err);
        if (rv != 0) return rv;
        if (!bad) {
            log_event(LOG_INFO, "reinstall_not_needed", "text=\"the data is intact\"");
            return 0;
        }
        if (vote.term > vote.barred) vote.barred = vote.term;
        vote.version++;
        vote.term++;
        vote.voted_for = 0;
        vote.log_group = 0; /* the log that this was about is not the node's any more */
        vote.marks = VOTE_MARK_ASIDE;
        rv = vote_write(disk, identity, &vote, err);
        if (rv != 0) return rv;
    }
    if (vote.marks & VOTE_MARK_ASIDE) {
        rv = all_aside(disk, err);
        if (rv != 0) return rv;
        vote.version++;
        vote.marks = 0;
        rv = vote_write(disk, identity, &vote, err);
        if (rv != 0) return rv;
        log_event(LOG_WARN, "reinstalled", "term=%" PRIu64 " barred=%" PRIu64, vote.term, vote.barred);
        *ret_done = true;
    } else if (vote.marks & VOTE_MARK_DIVERGED) {
        return err_set(err, ERR_CORRUPT,
                       "the state of this node was not the majority's: keep the folder for whoever looks for the "
                       "cause, and start with --reinstall to get the data anew from the leader");
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * conclave recover plan: reads the folders of the survivors, changes nothing, and writes down what apply would do. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/export_file.h"
#include "cli/interrupt.h"
#include "cli/new_life.h"
#include "cli/plan_file.h"
#include "cli/print.h"
#include "cli/survivor.h"

struct planning {
    const char *dirs[PLAN_FOLDERS_MAX];
    size_t n;
    struct survivor survivors[PLAN_FOLDERS_MAX];
    size_t chosen;
    struct archive before; /* members until now */
    struct life life;
    char hash[33], cluster[33];
    /* the message and what it points to */
    Conclave__Tools__RecoverPlan plan;
    Conclave__Tools__PlanFolder folders[PLAN_FOLDERS_MAX], *folder_pointers[PLAN_FOLDERS_MAX];
    Conclave__Tools__PlanMember members[PLAN_FOLDERS_MAX], *member_pointers[PLAN_FOLDERS_MAX];
    Conclave__Tools__PlanMember old[ARCHIVE_MEMBERS_MAX], *old_pointers[ARCHIVE_MEMBERS_MAX];
};

/* The log that a majority would have elected. */
static bool better(const struct survivor *a, const struct survivor *b) {
    return a->last_term != b->last_term ? a->last_term > b->last_term : a->last > b->last;
}

static int survivors_read(struct planning *p, struct err *err) {
    for (size_t i = 0; i < p->n; i++) {
        struct survivor *s = &p->survivors[i];
        int rc = survivor_read(p->dirs[i], s, err);
        if (rc) return rc;
        for (size_t k = 0; k < i; k++) {
            const struct survivor *other = &p->survivors[k];
            if (memcmp(other->identity.cluster_id, s->identity.cluster_id, 16) != 0)
                return err_set(err, ERR_INVALID, "%.110s and %.110s are of different clusters", other->dir, s->dir);
            if (other->identity.node_id == s->identity.node_id)
                return err_set(err, ERR_INVALID, "%.110s and %.110s are of the same node", other->dir, s->dir);
        }
        if (better(s, &p->survivors[p->chosen])) p->chosen = i;
    }
    return 0;
}

static const struct archive_member *old_member(const struct planning *p, uint64_t id) {
    for (unsigned i = 0; i < p->before.member_count; i++)
        if (p->before.members[i].id == id) return &p->before.members[i];
    return NULL;
}

/* A majority of the voters needs no recovery, and would lose nothing. */
static int survivors_judge(const struct planning *p, struct err *err) {
    unsigned voters = 0, here = 0;
    for (unsigned i = 0; i < p->before.member_count; i++)
        voters += p->before.members[i].voter;
    for (size_t i = 0; i < p->n; i++) {
        const struct archive_member *m = old_member(p, p->survivors[i].identity.node_id);
        if (!m)
            return err_set(err, ERR_INVALID, "node %" PRIu64 " was no member any more: leave its folder out",
                           p->survivors[i].identity.node_id);
        here += m->voter;
    }
    if (here <= voters / 2) return 0;
    return err_set(err, ERR_EXISTS,
                   "these are %u of %u voters, a majority: nothing is lost. Start them, and replace the others", here,
                   voters);
}

static int state_read(struct planning *p, struct err *err) {
    struct log_source *source = NULL;
    struct replay replay = {0};
    int rc = survivor_replay(p->survivors[p->chosen].dir, &source, &replay, err);
    if (rc) return rc;
    p->before = replay.before;
    hash128_hex(state_hash(replay.state), p->hash);
    uint64_t term = replay.term;
    for (size_t i = 0; i < p->n; i++)
        if (p->survivors[i].term > term) term = p->survivors[i].term;
    rc = life_of(replay.state, replay.index, term, &p->life, err);
    replay.before = (struct archive){0};
    replay_done(&replay);
    log_source_close(source);
    return rc == 0 ? survivors_judge(p, err) : rc;
}

static void plan_make(struct planning *p) {
    const struct survivor *chosen = &p->survivors[p->chosen];
    Conclave__Tools__RecoverPlan *m = &p->plan;
    *m = (Conclave__Tools__RecoverPlan)CONCLAVE__TOOLS__RECOVER_PLAN__INIT;
    hex16_text(chosen->identity.cluster_id, p->cluster);
    m->format = (char *)(uintptr_t)PLAN_FORMAT;
    m->version = PLAN_VERSION;
    m->cluster_id = p->cluster;
    m->created_wall_ms = clock_wall_ms();
    m->chosen = chosen->identity.node_id;
    m->last = chosen->last;
    m->last_term = chosen->last_term;
    m->state_hash = p->hash;
    m->incarnation = p->life.incarnation;
    m->index = p->life.index;
    m->term = p->life.term;
    m->folders = p->folder_pointers;
    m->members = p->member_pointers;
    m->before = p->old_pointers;
    for (size_t i = 0; i < p->n; i++) {
        struct survivor *s = &p->survivors[i];
        Conclave__Tools__PlanFolder *f = p->folder_pointers[i] = &p->folders[i];
        *f = (Conclave__Tools__PlanFolder)CONCLAVE__TOOLS__PLAN_FOLDER__INIT;
        f->dir = s->dir;
        f->node = s->identity.node_id;
        f->term = s->term;
        f->last = s->last;
        f->last_term = s->last_term;
        f->snapshot = s->snapshot;
        f->fingerprint = s->fingerprint;
        Conclave__Tools__PlanMember *member = p->member_pointers[i] = &p->members[i];
        *member = (Conclave__Tools__PlanMember)CONCLAVE__TOOLS__PLAN_MEMBER__INIT;
        member->id = f->node;
        member->peer = (char *)(uintptr_t)old_member(p, f->node)->address;
    }
    m->n_folders = m->n_members = p->n;
    for (unsigned i = 0; i < p->before.member_count; i++) {
        Conclave__Tools__PlanMember *member = p->old_pointers[i] = &p->old[i];
        *member = (Conclave__Tools__PlanMember)CONCLAVE__TOOLS__PLAN_MEMBER__INIT;
        member->id = p->before.members[i].id;
        member->peer = p->before.members[i].address;
        m->n_before = i + 1;
    }
}

static int plan_write(const struct planning *p, const char *file, struct err *err) {
    struct buf text;
    buf_init(&text, PLAN_BYTES_MAX);
    int rc = plan_print(&p->plan, &text);
    int fd = rc ? -1 : open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (rc)
        (void)err_set(err, rc, "the plan is too large");
    else if (fd < 0)
        rc = err_sys(err, errno, "make %.150s", file);
    else if (write(fd, text.data, text.len) != (ssize_t)text.len || fsync(fd) != 0)
        rc = err_sys(err, errno, "write %.150s", file);
    if (fd >= 0) (void)close(fd);
    if (rc && fd >= 0) (void)unlink(file);
    buf_done(&text);
    return rc;
}

static void plan_tell(const struct planning *p, const char *file) {
    const Conclave__Tools__RecoverPlan *m = &p->plan;
    printf("cluster %s, until now %zu members:", m->cluster_id, m->n_before);
    for (size_t i = 0; i < m->n_before; i++) {
        printf(" %" PRIu64 "=", m->before[i]->id);
        print_plain(m->before[i]->peer);
    }
    printf("\n\nsurvivors:\n");
    for (size_t i = 0; i < m->n_folders; i++) {
        const Conclave__Tools__PlanFolder *f = m->folders[i];
        printf("  master %-3" PRIu64 " last entry %" PRIu64 " of term %" PRIu64 ", snapshot at %" PRIu64
               ", saw term %" PRIu64 "%s\n    ",
               f->node, f->last, f->last_term, f->snapshot, f->term, f->node == m->chosen ? "   <- chosen" : "");
        print_plain(f->dir);
        (void)putchar('\n');
    }
    printf("\nMaster %" PRIu64
           " has the best log: the highest last term, then the longest. Its state after entry %" PRIu64
           " (hash %s) is the cluster's from now on.\n\n"
           "What may be lost: whatever the missing masters acknowledged behind entry %" PRIu64 " of term %" PRIu64
           "; these folders cannot tell how much.\n"
           "What is kept although it may never have been acknowledged: entries of master %" PRIu64
           " that no majority had. They count as committed from now on.\n\n",
           m->chosen, m->last, m->state_hash, m->last, m->last_term, m->chosen);
    printf("The new life: incarnation %" PRIu32 ", voters", m->incarnation);
    for (size_t i = 0; i < m->n_members; i++) {
        printf(" %" PRIu64 "=", m->members[i]->id);
        print_plain(m->members[i]->peer);
    }
    printf(", begins behind entry %" PRIu64 " in term %" PRIu64 ". Old files are set aside, not deleted.\n"
           "The missing masters must never be started again on their old folders.\n\nwritten: ",
           m->index, m->term);
    print_plain(file);
    printf("\nnext:    conclave recover apply ");
    print_plain(file);
    (void)putchar('\n');
}

/* --data-dir may be given several times, which the table of flags does not know. */
static int dirs_take(struct planning *p, int argc, char **argv, struct err *err) {
    int n = 0;
    for (int i = 0; i < argc; i++) {
        const char *dir = NULL;
        if (!strcmp(argv[i], "--data-dir") && i + 1 < argc)
            dir = argv[++i];
        else if (!strncmp(argv[i], "--data-dir=", 11))
            dir = argv[i] + 11;
        if (!dir)
            argv[n++] = argv[i];
        else if (p->n < PLAN_FOLDERS_MAX)
            p->dirs[p->n++] = dir;
        else
            (void)err_set(err, ERR_INVALID, "more than %d folders", PLAN_FOLDERS_MAX);
    }
    return n;
}

int recover_plan_main(int argc, char **argv) {
    static struct planning planning; /* too large for the stack */
    struct options o = {0};
    const char *file = NULL, *shown = NULL;
    uint64_t incarnation = 0;
    const struct flag table[] = {
        OPTION_FLAGS(o),
        {"data-dir", FLAG_STRING, &shown, 0, 0, false, "DIR",
         "a survivor's folder, its master stopped; may be repeated"},
        {"out", FLAG_STRING, &file, 0, 0, true, "FILE", "where to write the plan"},
        {"incarnation", FLAG_U64, &incarnation, 1, UINT32_MAX, false, "N", "number of the new life; default: the next"},
        {0}};
    struct err err = {0};
    int rest, code;
    argc = dirs_take(&planning, argc, argv, &err);
    if (options_parse(table, &o, argc, argv,
                      "conclave recover plan --data-dir DIR [--data-dir DIR...] --out FILE [FLAGS]\n\n"
                      "For a cluster that has lost a majority of its masters for good. Changes nothing.",
                      0, 0, &rest, &code))
        return code;
    int rc = err.code;
    if (rc == 0 && planning.n == 0) rc = err_set(&err, ERR_INVALID, "--data-dir is missing");
    planning.life.incarnation = (uint32_t)incarnation;
    interrupt_catch();
    if (rc == 0) rc = survivors_read(&planning, &err);
    if (rc == 0) rc = state_read(&planning, &err);
    if (rc == 0) {
        plan_make(&planning);
        rc = plan_write(&planning, file, &err);
    }
    if (interrupted()) return EXIT_INTERRUPTED;
    if (rc) return fail(&err);
    Conclave__Tools__PlanReport report = CONCLAVE__TOOLS__PLAN_REPORT__INIT;
    report.file = (char *)(uintptr_t)file;
    report.plan = &planning.plan;
    if (o.output == OUTPUT_TABLE)
        plan_tell(&planning, file);
    else
        print_row(&report.base);
    return 0;
}

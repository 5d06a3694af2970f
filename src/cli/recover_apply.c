/* SPDX-License-Identifier: Apache-2.0
 * conclave recover apply: carries out a plan, after everything that it was made from was found unchanged. All folders
 * are locked first and stay so; when it is interrupted, running it again goes on. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "cli/command.h"
#include "cli/export_file.h"
#include "cli/folder_swap.h"
#include "cli/new_life.h"
#include "cli/plan_file.h"
#include "cli/print.h"
#include "cli/survivor.h"
#include "consensus/disk_file.h"

#define PLAN_ARENA (8u << 20)

struct applying {
    const Conclave__Tools__RecoverPlan *plan;
    uint8_t cluster_id[16];
    uv_loop_t loop;
    struct disk *locks[PLAN_FOLDERS_MAX];
    enum swap_stage stages[PLAN_FOLDERS_MAX];
    struct archive archive; /* the beginning of the new life */
};

static int plan_read(const char *file, struct arena *arena, Conclave__Tools__RecoverPlan **ret, struct err *err) {
    uint8_t *bytes = malloc(PLAN_BYTES_MAX + 1);
    CHECK(bytes);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, bytes, PLAN_BYTES_MAX + 1);
    int rc = n < 0 ? err_sys(err, errno, "%.150s", file) : plan_parse(bytes, (size_t)n, arena, ret, err);
    if (rc && n >= 0) (void)err_wrap(err, "%.80s", file);
    if (fd >= 0) (void)close(fd);
    free(bytes);
    return rc;
}

/* ---- nothing may have changed ---- */

static int folder_check(struct applying *a, size_t i, struct err *err) {
    const Conclave__Tools__PlanFolder *f = a->plan->folders[i];
    struct identity identity;
    char fingerprint[33];
    int rc = disk_file_open(f->dir, &a->loop, &a->locks[i], err); /* ERR_LOCKED: a master runs on it */
    if (rc) return err_wrap(err, "%.100s", f->dir);
    rc = swap_stage(f->dir, a->plan->incarnation, a->plan->index, a->plan->term, &a->stages[i], err);
    if (rc || a->stages[i] >= SWAP_BEGUN) return rc;
    rc = identity_read(a->locks[i], &identity, err);
    if (rc) return err_wrap(err, "%.100s", f->dir);
    if (identity.node_id != f->node || memcmp(identity.cluster_id, a->cluster_id, 16) != 0)
        return err_set(err, ERR_INVALID, "%.150s is of another node or cluster than the plan says", f->dir);
    rc = folder_fingerprint(a->locks[i], fingerprint, err);
    if (rc == 0 && strcmp(fingerprint, f->fingerprint) != 0)
        rc = err_set(err, ERR_EXISTS, "%.150s has changed since the plan was made: plan again", f->dir);
    return rc;
}

/* From the chosen log, or from a folder that an interrupted apply has got further with. */
static int archive_make(struct applying *a, struct err *err) {
    const Conclave__Tools__RecoverPlan *p = a->plan;
    struct archive_member members[PLAN_FOLDERS_MAX];
    struct log_source *source = NULL;
    struct replay replay = {0};
    char hash[33];
    const char *dir = NULL;
    for (size_t i = 0; i < p->n_folders; i++) {
        if (a->stages[i] != SWAP_UNTOUCHED)
            return swap_archive(p->folders[i]->dir, p->incarnation, a->cluster_id, p->index, p->term, &a->archive, err);
        if (p->folders[i]->node == p->chosen) dir = p->folders[i]->dir;
    }
    CHECK(dir); /* plan_parse */
    int rc = survivor_replay(dir, &source, &replay, err);
    if (rc) return rc;
    hash128_hex(state_hash(replay.state), hash);
    if (replay.index != p->last || strcmp(hash, p->state_hash) != 0)
        rc = err_set(err, ERR_CORRUPT, "the state after entry %" PRIu64 " is not the one of the plan", replay.index);
    for (size_t i = 0; i < p->n_members; i++) {
        members[i] = (struct archive_member){.id = p->members[i]->id, .voter = true};
        (void)snprintf(members[i].address, sizeof members[i].address, "%s", p->members[i]->peer);
    }
    const struct life life = {.incarnation = p->incarnation, .index = p->index, .term = p->term};
    if (rc == 0 &&
        (life.incarnation <= state_incarnation(replay.state) || life.index < state_applied_index(replay.state)))
        rc = err_set(err, ERR_CORRUPT, "the plan makes no sense: the new life would begin before the old one");
    if (rc == 0) rc = life_begin(replay.state, &life, members, (unsigned)p->n_members, &a->archive, err);
    replay_done(&replay);
    log_source_close(source);
    return rc;
}

/* ---- */

/* First every folder is prepared, then one after the other is exchanged. */
static int folders_swap(struct applying *a, struct err *err) {
    const Conclave__Tools__RecoverPlan *p = a->plan;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < p->n_folders; i++)
        if (a->stages[i] == SWAP_UNTOUCHED)
            rc = swap_prepare(p->folders[i]->dir, p->incarnation, a->cluster_id, p->folders[i]->node, &a->archive, err);
    for (size_t i = 0; rc == 0 && i < p->n_folders; i++)
        if (a->stages[i] != SWAP_DONE) rc = swap_finish(p->folders[i]->dir, p->incarnation, err);
    return rc;
}

static int apply(struct applying *a, struct err *err) {
    CHECK(hex16_parse(a->plan->cluster_id, a->cluster_id)); /* plan_parse */
    CHECK(uv_loop_init(&a->loop) == 0);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < a->plan->n_folders; i++)
        rc = folder_check(a, i, err);
    if (rc == 0) rc = archive_make(a, err);
    if (rc == 0) rc = folders_swap(a, err);
    archive_done(&a->archive);
    for (size_t i = 0; i < PLAN_FOLDERS_MAX; i++)
        if (a->locks[i]) disk_close(a->locks[i]);
    (void)uv_run(&a->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&a->loop);
    return rc;
}

static void report(const struct options *o, const Conclave__Tools__RecoverPlan *p) {
    Conclave__Tools__RestoreReport out = CONCLAVE__TOOLS__RESTORE_REPORT__INIT;
    char *dirs[PLAN_FOLDERS_MAX];
    out.incarnation = p->incarnation;
    out.index = p->index;
    out.term = p->term;
    out.members = p->members;
    out.n_members = p->n_members;
    out.dirs = dirs;
    for (; out.n_dirs < p->n_folders; out.n_dirs++)
        dirs[out.n_dirs] = p->folders[out.n_dirs]->dir;
    if (o->output != OUTPUT_TABLE) {
        print_row(&out.base);
        return;
    }
    printf("done: incarnation %" PRIu32 " begins behind entry %" PRIu64 "\n", p->incarnation, p->index);
    for (size_t i = 0; i < p->n_folders; i++) {
        printf("  master %" PRIu64 ": ", p->folders[i]->node);
        print_plain(p->folders[i]->dir);
        printf(", old files in before-recovery-%" PRIu32 "\n", p->incarnation);
    }
    printf("Start these masters as before, then add masters under new ids. Never start the lost ones again.\n");
}

int recover_apply_main(int argc, char **argv) {
    static struct applying applying; /* large */
    struct options o = {0};
    const struct flag table[] = {OPTION_FLAGS(o), {0}};
    struct err err = {0};
    struct arena arena;
    Conclave__Tools__RecoverPlan *plan = NULL;
    int rest, code;
    if (options_parse(
            table, &o, argc, argv,
            "conclave recover apply PLAN [FLAGS]\n\n"
            "Carries out a plan of conclave recover plan on the folders it names, which must not have changed.",
            1, 1, &rest, &code))
        return code;
    arena_init(&arena, PLAN_ARENA);
    int rc = plan_read(argv[rest], &arena, &plan, &err);
    if (rc == 0) {
        applying.plan = plan;
        rc = apply(&applying, &err);
    }
    if (rc == 0) report(&o, plan);
    arena_done(&arena);
    return rc ? fail(&err) : 0;
}

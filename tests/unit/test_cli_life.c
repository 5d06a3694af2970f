/* SPDX-License-Identifier: Apache-2.0
 * A new life of a cluster: what its first snapshot says, and the plan of a recovery. */
#include "../lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/command_make.h"
#include "base/check.h"
#include "cli/new_life.h"
#include "cli/plan_file.h"
#include "consensus/archive.h"
#include "scheduler/state.h"

static const char cluster[] = "0123456789abcdef"; /* 16 bytes */

static struct state *state_made(void) {
    struct state *state = state_new();
    struct outcome *outcome = malloc(sizeof *outcome);
    struct effects effects = {0};
    struct err err;
    CHECK(state && outcome);
    struct made made = make_leader(3, cluster);
    assert_int_equal(state_apply(state, 3, 2, 0, made.data, made.len, outcome, &effects, &err), 0);
    made = make_agent(7, (struct make_amount){.cpus = 4, .mem = 1000});
    assert_int_equal(state_apply(state, 3, 3, 0, made.data, made.len, outcome, &effects, &err), 0);
    effects_done(&effects);
    free(outcome);
    make_done();
    return state;
}

static void a_new_life_is_out_of_reach_of_the_old_one(void **unused) {
    (void)unused;
    struct state *state = state_made();
    struct life life = {0}, later = {.incarnation = 5};
    struct err err;
    uint32_t before = state_incarnation(state);
    assert_int_equal(life_of(state, 40, 6, &life, &err), 0);
    assert_int_equal(life.incarnation, before + 1);
    assert_int_equal(life.index, 40 + LIFE_INDEX_STEP);
    assert_int_equal(life.term, 6 + LIFE_TERM_STEP);
    assert_int_equal(life_of(state, 40, 6, &later, &err), 0);
    assert_true(later.index > life.index && later.term > life.term);
    assert_int_equal(life_of(state, LIFE_NUMBER_MAX, 6, &(struct life){0}, &err), ERR_LIMIT);
    assert_int_equal(life_of(state, 40, LIFE_NUMBER_MAX, &(struct life){0}, &err), ERR_LIMIT);
    struct archive_member members[] = {{.id = 4, .address = "h4:5060"}, {.id = 9, .address = "h9:5060"}};
    struct archive archive = {0};
    assert_int_equal(life_begin(state, &life, members, 2, &archive, &err), 0);
    assert_true(archive.member_count == 2 && archive.members[1].voter && archive.index == life.index);
    struct state *restored = state_new();
    assert_int_equal(state_restore(restored, archive.state, archive.state_len, &err), 0);
    assert_int_equal(state_incarnation(restored), before + 1);
    assert_int_equal(state_applied_index(restored), life.index);
    assert_non_null(state_agent(restored, 1));
    assert_int_equal(life_of(restored, 40, 6, &(struct life){.incarnation = before + 1}, &err), ERR_INVALID);
    archive_done(&archive);
    state_free(restored);
    state_free(state);
}

static uint64_t member_added(struct state *state, uint64_t index, const char *peer) {
    struct outcome *outcome = malloc(sizeof *outcome);
    struct effects effects = {0};
    struct err err;
    CHECK(outcome);
    struct made made = make_member_add(peer, 3);
    assert_int_equal(state_apply(state, 3, index, 0, made.data, made.len, outcome, &effects, &err), 0);
    assert_int_equal(outcome->code, OUTCOME_OK);
    uint64_t id = outcome->member;
    effects_done(&effects);
    free(outcome);
    make_done();
    return id;
}

/* Records of masters that are none in the new life, or are elsewhere, go; ids of the lost life are not given again. */
static void masters_of_the_old_life_are_forgotten_but_not_their_ids(void **unused) {
    (void)unused;
    struct state *state = state_made();
    struct life life = {0};
    struct err err;
    uint64_t stays = member_added(state, 10, "h4:5060"), moves = member_added(state, 11, "h5:5060");
    uint64_t goes = member_added(state, 12, "h6:5060");
    struct archive_member members[] = {{.id = stays, .address = "h4:5060"}, {.id = moves, .address = "elsewhere:5060"}};
    struct archive archive = {0};
    assert_int_equal(life_of(state, 12, 3, &life, &err), 0);
    assert_int_equal(life_begin(state, &life, members, 2, &archive, &err), 0);
    assert_non_null(state_member(state, stays));
    assert_null(state_member(state, moves));
    assert_null(state_member(state, goes));
    assert_true(member_added(state, life.index + 1, "h7:5060") > goes + STATE_LIFE_MEMBERS);
    archive_done(&archive);
    state_free(state);
}

/* The same file gives the same bytes everywhere. */
static void a_new_life_is_the_same_on_every_host(void **unused) {
    (void)unused;
    struct archive archives[2] = {0};
    struct archive_member member = {.id = 1, .address = "h:5060"};
    struct err err;
    for (int i = 0; i < 2; i++) {
        struct state *state = state_made();
        struct life life = {0};
        assert_int_equal(life_of(state, 9, 3, &life, &err), 0);
        assert_int_equal(life_begin(state, &life, &member, 1, &archives[i], &err), 0);
        state_free(state);
    }
    assert_int_equal(archives[0].state_len, archives[1].state_len);
    assert_memory_equal(archives[0].state, archives[1].state, archives[0].state_len);
    archive_done(&archives[0]);
    archive_done(&archives[1]);
}

static void a_back_up_is_read_as_it_was_written_and_never_over_another(void **unused) {
    (void)unused;
    char dir[] = "/tmp/test_cli_life.XXXXXX", file[64], folder[64];
    uint8_t id[16];
    uint64_t bytes = 0;
    struct fault fault;
    struct err err;
    struct archive back = {0};
    struct archive a = {
        .index = 12, .term = 4, .conf_index = 1, .member_count = 1, .state = (uint8_t *)"state", .state_len = 5};
    a.members[0] = (struct archive_member){.id = 8, .address = "h:1", .voter = true};
    assert_non_null(mkdtemp(dir));
    (void)snprintf(file, sizeof file, "%s/backup", dir);
    (void)snprintf(folder, sizeof folder, "%s/folder", dir);
    assert_int_equal(archive_file_write(file, (const uint8_t *)cluster, &a, &bytes, &err), 0);
    assert_int_equal(archive_file_write(file, (const uint8_t *)cluster, &a, &bytes, &err), ERR_EXISTS);
    assert_int_equal(archive_file_read(file, id, &back, &fault, &err), 0);
    assert_memory_equal(id, cluster, 16);
    assert_true(back.index == 12 && back.term == 4 && back.member_count == 1 && back.members[0].id == 8);
    assert_true(back.state_len == 5 && !memcmp(back.state, "state", 5));
    archive_done(&back);
    assert_int_equal(truncate(file, (off_t)bytes - 1), 0);
    assert_int_equal(archive_file_read(file, id, &back, &fault, &err), ERR_CORRUPT);
    assert_string_equal(fault.file, "backup");
    assert_int_equal(archive_found(folder, (const uint8_t *)cluster, 8, &a, &err), 0);
    assert_int_equal(archive_found(folder, (const uint8_t *)cluster, 8, &a, &err), ERR_EXISTS);
    char command[160];
    (void)snprintf(command, sizeof command, "test $(ls -A %s | wc -l) = 2 && rm -r %s", dir, dir);
    assert_int_equal(system(command), 0); /* nothing half made is left */
}

/* ---- plans ---- */

static size_t plan_make(struct buf *ret, uint64_t chosen, const char *fingerprint) {
    Conclave__Tools__RecoverPlan p = CONCLAVE__TOOLS__RECOVER_PLAN__INIT;
    Conclave__Tools__PlanFolder folder = CONCLAVE__TOOLS__PLAN_FOLDER__INIT, *folders = &folder;
    Conclave__Tools__PlanMember member = CONCLAVE__TOOLS__PLAN_MEMBER__INIT, *members = &member;
    p.format = (char *)(uintptr_t)PLAN_FORMAT;
    p.version = PLAN_VERSION;
    p.cluster_id = (char *)(uintptr_t) "00112233445566778899aabbccddeeff";
    p.state_hash = (char *)(uintptr_t) "00112233445566778899aabbccddeeff";
    p.chosen = chosen;
    p.last = 7;
    p.last_term = 2;
    p.index = 1000;
    p.term = 100;
    p.incarnation = 1;
    folder.dir = (char *)(uintptr_t) "/d";
    folder.node = 3;
    folder.last = 7;
    folder.fingerprint = (char *)(uintptr_t)fingerprint;
    member.id = 3;
    member.peer = (char *)(uintptr_t) "h:5060";
    p.folders = &folders;
    p.members = &members;
    p.n_folders = p.n_members = 1;
    buf_init(ret, PLAN_BYTES_MAX);
    assert_int_equal(plan_print(&p, ret), 0);
    return ret->len;
}

static int plan_read(const struct buf *text, size_t len) {
    struct arena arena;
    struct err err;
    Conclave__Tools__RecoverPlan *plan = NULL;
    arena_init(&arena, 1u << 20);
    int rc = plan_parse(text->data, len, &arena, &plan, &err);
    if (rc == 0) assert_int_equal(plan->folders[0]->node, 3);
    arena_done(&arena);
    return rc;
}

static void a_plan_that_was_changed_is_none(void **unused) {
    (void)unused;
    struct buf text;
    size_t len = plan_make(&text, 3, "00112233445566778899aabbccddeeff");
    assert_int_equal(plan_read(&text, len), 0);
    for (size_t i = 0; i < len; i++) {
        text.data[i] ^= 1;
        assert_int_equal(plan_read(&text, len), ERR_CORRUPT);
        text.data[i] ^= 1;
        assert_int_equal(plan_read(&text, i), ERR_CORRUPT);
    }
    buf_done(&text);
}

static void a_plan_that_makes_no_sense_is_refused(void **unused) {
    (void)unused;
    struct buf text;
    size_t len = plan_make(&text, 4, "00112233445566778899aabbccddeeff");
    assert_int_equal(plan_read(&text, len), ERR_CORRUPT);
    buf_done(&text);
    len = plan_make(&text, 3, "short");
    assert_int_equal(plan_read(&text, len), ERR_CORRUPT);
    buf_done(&text);
}

static void peers_are_read_strictly(void **unused) {
    (void)unused;
    struct archive_member members[ARCHIVE_MEMBERS_MAX];
    unsigned n = 0;
    struct err err;
    assert_int_equal(members_parse("1=10.0.0.1,22=h:77", members, &n, &err), 0);
    assert_true(n == 2 && members[1].id == 22);
    assert_string_equal(members[0].address, "10.0.0.1:5060");
    assert_string_equal(members[1].address, "h:77");
    static const char *const wrong[] = {"",
                                        "1",
                                        "=h",
                                        "0=h",
                                        "x=h",
                                        "1=h,",
                                        ",1=h",
                                        "1=h,1=i",
                                        "1=h,2=h",
                                        "-1=h",
                                        "1=h:x",
                                        "1=a,2=b,3=c,4=d,5=e,6=f,7=g,8=h",
                                        "18446744073709551615=h",
                                        "1 =h"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(members_parse(wrong[i], members, &n, &err), ERR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_life_is_out_of_reach_of_the_old_one),
        cmocka_unit_test(masters_of_the_old_life_are_forgotten_but_not_their_ids),
        cmocka_unit_test(a_new_life_is_the_same_on_every_host),
        cmocka_unit_test(a_back_up_is_read_as_it_was_written_and_never_over_another),
        cmocka_unit_test(a_plan_that_was_changed_is_none),
        cmocka_unit_test(a_plan_that_makes_no_sense_is_refused),
        cmocka_unit_test(peers_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

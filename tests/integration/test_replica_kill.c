/* SPDX-License-Identifier: Apache-2.0
 * Three replicas in three processes, killed with -9 at random moments, one or all at once, or stopped for a while,
 * under load. What was acknowledged stands in memory shared with this process, which survives them; in the end every
 * member must have applied all of it, in order, once, and agree with the others.
 *
 * A member that leads proposes numbers 0, 1, 2 .. of its term; so what is acknowledged of a term is a prefix of what
 * was proposed, and one number a term says it all. */
#include "../lib/cmocka_all.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"
#include "consensus/replica.h"

#define MEMBERS   3
#define TERMS_MAX 512
#define DEPTH     64
#define ROUNDS    16

/* The replicated state. */
struct ledger {
    uint64_t applied;         /* index of the last entry */
    uint64_t next[TERMS_MAX]; /* the number that must come next in each term */
    struct hash128 chain;
};

/* Shared with the parent. */
struct shared {
    volatile uint64_t acked[TERMS_MAX]; /* numbers acknowledged in each term */
    volatile bool quiet;                /* propose nothing */
    struct seen {
        volatile uint64_t applied, commit;
        volatile bool leads;
        volatile uint64_t faults; /* numbers out of order */
        struct ledger ledger;     /* a copy, while quiet */
    } members[MEMBERS];
};

struct member {
    uv_loop_t loop;
    uv_timer_t timer;
    uv_prepare_t prepare;
    struct replica *replica;
    enum replica_role role;
    uint64_t term, id, out, number;
    struct ledger ledger;
};

static struct shared *shared;
static char dir[128];
static pid_t pids[MEMBERS];

static void first_command(void *ctx, uint64_t term, struct buf *ret) {
    (void)ctx;
    buf_append_u64(ret, term);
}

static void apply(void *ctx, uint64_t term, struct position at, const uint8_t *command, size_t len, void *ticket) {
    struct member *m = ctx;
    (void)at;
    struct hash128 both[2] = {m->ledger.chain, hash128_of(command, len)};
    m->ledger.chain = hash128_of(both, sizeof both);
    if (len == 8) return; /* a first command */
    CHECK(term < TERMS_MAX);
    uint64_t number = load_u64(command);
    if (number != m->ledger.next[term]) shared->members[m->id - 1].faults++;
    m->ledger.next[term] = number + 1;
    if (ticket == NULL) return;
    m->out--;
    CHECK(shared->acked[term] == number);
    shared->acked[term] = number + 1;
}

static void entry_applied(void *ctx, uint64_t index) {
    struct member *m = ctx;
    m->ledger.applied = index;
}

static void dropped(void *ctx, void *ticket) {
    struct member *m = ctx;
    (void)ticket;
    m->out--;
}

static void role_changed(void *ctx, enum replica_role role, uint64_t term, uint64_t leader_id) {
    struct member *m = ctx;
    (void)leader_id;
    if (term != m->term) m->number = 0;
    m->role = role;
    m->term = term;
}

static int snapshot(void *ctx, struct buf *ret) {
    struct member *m = ctx;
    return buf_append(ret, &m->ledger, sizeof m->ledger);
}

static int restore(void *ctx, const uint8_t *data, size_t len, struct err *err) {
    struct member *m = ctx;
    if (len != sizeof m->ledger) return err_set(err, ERR_CORRUPT, "%zu bytes", len);
    memcpy(&m->ledger, data, len);
    return 0;
}

static void fatal(void *ctx, int exit_status, const char *why) {
    (void)ctx, (void)why;
    _exit(exit_status);
}

static void load(uv_prepare_t *prepare) {
    struct member *m = prepare->data;
    uint8_t command[200] = {0};
    while (m->role == REPLICA_LEADER && m->out < DEPTH && !shared->quiet) {
        store_u64(command, m->number);
        if (replica_propose(m->replica, command, sizeof command, m) != 0) return;
        m->number++;
        m->out++;
    }
}

static void tell(uv_timer_t *timer) {
    struct member *m = timer->data;
    struct seen *seen = &shared->members[m->id - 1];
    struct replica_status status;
    if (getppid() == 1) _exit(0);
    replica_status(m->replica, &status);
    seen->applied = status.applied_index;
    seen->commit = status.commit_index;
    seen->leads = m->role == REPLICA_LEADER;
    if (shared->quiet) seen->ledger = m->ledger;
}

static void address_of(uint64_t id, pid_t base, char *ret) {
    (void)snprintf(ret, REPLICA_ADDRESS_MAX, "127.%d.%d.%d:5060", 200 + base / 62500 % 50, 1 + base / 250 % 250,
                   3 * (base % 80) + (int)id);
}

static _Noreturn void member_main(uint64_t id, pid_t base) {
    static struct member m;
    char folder[160], listen[REPLICA_ADDRESS_MAX];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_setup(LOG_ERROR, "member");
    m.id = id;
    CHECK(uv_loop_init(&m.loop) == 0);
    CHECK(uv_timer_init(&m.loop, &m.timer) == 0 && uv_timer_start(&m.timer, tell, 2, 2) == 0);
    CHECK(uv_prepare_init(&m.loop, &m.prepare) == 0 && uv_prepare_start(&m.prepare, load) == 0);
    m.timer.data = m.prepare.data = &m;
    (void)snprintf(folder, sizeof folder, "%s/%" PRIu64, dir, id);
    (void)mkdir(folder, 0700);
    address_of(id, base, listen);
    struct replica_config config = {.data_dir = folder,
                                    .cluster_id = "kill",
                                    .node_id = id,
                                    .listen = listen,
                                    .member_count = MEMBERS,
                                    .heartbeat_ms = 50,
                                    .election_ms = 300,
                                    .segment_bytes = 1u << 20,
                                    .snapshot_bytes = 512u << 10};
    for (unsigned i = 0; i < MEMBERS; i++) {
        config.members[i].id = i + 1;
        address_of(i + 1, base, config.members[i].address);
    }
    struct replica_app app = {.ctx = &m,
                              .first_command = first_command,
                              .apply = apply,
                              .entry_applied = entry_applied,
                              .dropped = dropped,
                              .role_changed = role_changed,
                              .snapshot = snapshot,
                              .restore = restore,
                              .fatal = fatal};
    struct err err = {0};
    int rv = replica_open(&m.loop, &config, &app, &m.replica, &err);
    if (rv != 0) (void)fprintf(stderr, "member %" PRIu64 ": %s\n", id, err.text);
    CHECK(rv == 0);
    uv_run(&m.loop, UV_RUN_DEFAULT);
    _exit(0);
}

static void spawn(unsigned i) {
    pid_t base = getpid();
    shared->members[i].leads = false;
    shared->members[i].applied = 0;
    pids[i] = fork();
    assert_true(pids[i] >= 0);
    if (pids[i] == 0) member_main(i + 1, base);
}

static void kill_member(unsigned i) {
    assert_int_equal(waitpid(pids[i], NULL, WNOHANG), 0); /* it must have lived */
    assert_int_equal(kill(pids[i], SIGKILL), 0);
    assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
    shared->members[i].leads = false;
}

static uint64_t acked(void) {
    uint64_t sum = 0;
    for (unsigned t = 0; t < TERMS_MAX; t++)
        sum += shared->acked[t];
    return sum;
}

static void sleep_ms(unsigned ms) {
    (void)usleep(ms * 1000);
}

/* Waits until `n` more commands are acknowledged. */
static void expect_progress(uint64_t n) {
    uint64_t goal = acked() + n, until = clock_mono_ms() + 10000;
    while (acked() < goal) {
        assert_true(clock_mono_ms() < until);
        sleep_ms(2);
    }
}

static unsigned leader(void) {
    for (unsigned i = 0; i < MEMBERS; i++)
        if (shared->members[i].leads) return i;
    return 0;
}

static bool level(void) {
    const struct seen *s = shared->members;
    for (unsigned i = 0; i < MEMBERS; i++)
        if (s[i].applied == 0 || s[i].applied != s[0].applied || s[i].commit != s[0].commit ||
            s[i].applied != s[i].commit || s[i].ledger.applied != s[i].applied)
            return false;
    return true;
}

static void what_is_acknowledged_survives_kill_9_of_any_and_of_all_and_pauses(void **state) {
    (void)state;
    struct rng rng;
    uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 10) : clock_mono_us();
    (void)fprintf(stderr, "SEED=%" PRIu64 "\n", seed);
    rng_seed(&rng, seed);
    for (unsigned i = 0; i < MEMBERS; i++)
        spawn(i);
    expect_progress(100);
    for (unsigned round = 0; round < ROUNDS; round++) {
        sleep_ms((unsigned)rng_below(&rng, 150));
        if (round % 4 == 1) { /* silent for a while, long enough for an election or not */
            unsigned victim = rng_below(&rng, 2) == 0 ? (unsigned)rng_below(&rng, MEMBERS) : leader();
            assert_int_equal(kill(pids[victim], SIGSTOP), 0);
            if (rng_below(&rng, 2) == 0)
                expect_progress(100);
            else
                sleep_ms((unsigned)rng_below(&rng, 400));
            assert_int_equal(kill(pids[victim], SIGCONT), 0);
        } else if (round % 4 == 3) { /* all at once */
            for (unsigned i = 0; i < MEMBERS; i++)
                kill_member(i);
            for (unsigned i = 0; i < MEMBERS; i++)
                spawn(i);
        } else {
            unsigned victim = rng_below(&rng, 4) == 0 ? (unsigned)rng_below(&rng, MEMBERS) : leader();
            kill_member(victim);
            if (rng_below(&rng, 2) == 0) expect_progress(100);
            spawn(victim);
        }
        expect_progress(100);
    }
    shared->quiet = true;
    for (uint64_t until = clock_mono_ms() + 10000; !level(); sleep_ms(10))
        assert_true(clock_mono_ms() < until);
    uint64_t total = 0;
    for (unsigned i = 0; i < MEMBERS; i++) {
        const struct seen *seen = &shared->members[i];
        assert_int_equal(seen->faults, 0);
        assert_true(hash128_equal(seen->ledger.chain, shared->members[0].ledger.chain));
        for (unsigned t = 0; t < TERMS_MAX; t++) {
            assert_true(seen->ledger.next[t] >= shared->acked[t]);
            total += i == 0 ? shared->acked[t] : 0;
        }
    }
    assert_true(total > 3000);
    for (unsigned i = 0; i < MEMBERS; i++)
        kill_member(i);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_acknowledged_survives_kill_9_of_any_and_of_all_and_pauses),
    };
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    (void)snprintf(dir, sizeof dir, "%s/replica-kill-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp");
    CHECK(mkdtemp(dir) != NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[200];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (failed == 0) CHECK(system(command) == 0);
    return failed;
}

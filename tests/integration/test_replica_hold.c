/* SPDX-License-Identifier: Apache-2.0
 * A command that ends the program: a process crashes on it, crashes again at its next start, and then holds. Each life
 * is a process of its own, of a cluster of one or of three. */
#include "../lib/cmocka_all.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../lib/replica_cluster.h"
#include "consensus/crash_mark.h"
#include "consensus/replica_impl.h"

#define POISON UINT64_C(0x7001505)

enum poison { BY_ABORT, BY_FAULT, BY_STACK, HARMLESS };

/* How a life ends by itself: what the parent sees as its exit status. */
enum { LIVED = 0, HELD = 7, REFUSED = 4 };

static enum poison poison;

static volatile unsigned depth;

__attribute__((noinline)) static unsigned dig(unsigned level) {
    volatile uint8_t room[4096];
    room[level % sizeof room] = (uint8_t)level;
    depth = level;
    return depth == level ? dig(level + 1) + room[(level + 1) % sizeof room] : 0; /* always: until the stack ends */
}

static void poisoned_apply(void *ctx, uint64_t term, struct position at, const uint8_t *command, size_t len,
                           void *ticket) {
    if (load_u64(command) == POISON) {
        if (poison == BY_ABORT) abort();
        if (poison == BY_FAULT) *(volatile int *)(uintptr_t)(term - term) = 1;
        if (poison == BY_STACK) (void)dig(0);
    }
    app_apply(ctx, term, at, command, len, ticket);
}

struct life {
    bool skip_hold, hold_ends, push;
    const char *version;
};

static bool held(struct node *node, char text[192]) {
    struct replica_alarm alarms[REPLICA_ALARMS_MAX];
    unsigned n = replica_alarms(node->replica, alarms, REPLICA_ALARMS_MAX);
    for (unsigned i = 0; i < n; i++) {
        if (strcmp(alarms[i].code, "HOLD") != 0) continue;
        memcpy(text, alarms[i].text, 192);
        return true;
    }
    return false;
}

static int life_open(struct cluster *c, struct node *node, const struct life *life, struct err *err) {
    struct replica_config config;
    struct replica_app app;
    char dir[300], listen[REPLICA_ADDRESS_MAX];
    node_config(node, &config, dir, listen);
    app_of(node, &app);
    app.apply = poisoned_apply;
    config.skip_hold = life->skip_hold;
    config.hold_ends = life->hold_ends;
    (void)snprintf(config.program_version, sizeof config.program_version, "%s", life->version ? life->version : "1");
    return replica_open(&c->loop, &config, &app, &node->replica, err);
}

/* A leader that heard of it a moment ago may have begun to send it a snapshot. */
static bool takes_no_file(struct replica *replica) {
    struct peers_files files;
    struct raft_message message = {.type = RAFT_IO_INSTALL_SNAPSHOT};
    message.install_snapshot.last_index = 1000;
    message.install_snapshot.last_term = 9;
    replica_files(replica, &files);
    return files.receive(files.ctx, &message, 1u << 20, NULL, NULL) == ERR_CLOSED;
}

/* In the child. */
static int live(struct cluster *c, const struct life *life) {
    struct node *node = &c->nodes[0];
    struct err err = {0};
    char text[192];
    struct rlimit no_core = {0};
    (void)setrlimit(RLIMIT_CORE, &no_core);
    for (int number = 1; number < 32; number++) /* the test program's own handlers are the parent's */
        (void)signal(number, SIG_DFL);
    crash_mark_catch();
    int rv = life_open(c, node, life, &err);
    if (rv != 0) return rv == ERR_CORRUPT && strstr(err.text, "--skip-hold") ? REFUSED : 9;
    if (held(node, text)) {
        uint64_t begun = clock_mono_ms();
        uint8_t command[16] = {1};
        while (clock_mono_ms() - begun < 700)
            uv_run(&c->loop, UV_RUN_ONCE);
        bool quiet = node->applied == 0 && node->chain.commands == 0 && node->role == REPLICA_FOLLOWER &&
                     replica_propose(node->replica, command, sizeof command, NULL) == ERR_NOT_LEADER &&
                     takes_no_file(node->replica);
        (void)fprintf(stderr, "%s\n", text);
        node_stop(c, 0);
        return quiet && strstr(text, "applying 5.0 ") ? HELD : 8;
    }
    uint64_t until = clock_mono_ms() + 3000;
    bool pushed = !life->push;
    while (clock_mono_ms() < until && node->chain.commands < 5) {
        uv_run(&c->loop, UV_RUN_ONCE);
        if (pushed || node->role != REPLICA_LEADER || node->chain.commands == 0) continue;
        uint8_t command[16] = {0};
        uint64_t ids[] = {1, 2, POISON, 3}; /* entries 3 to 6: one a turn of the loop */
        for (unsigned i = 0; i < 4; i++) {
            uint64_t before = node->chain.commands;
            store_u64(command, ids[i]);
            CHECK(replica_propose(node->replica, command, sizeof command, NULL) == 0);
            while (node->chain.commands == before)
                uv_run(&c->loop, UV_RUN_ONCE);
        }
        pushed = true;
    }
    int result = node->chain.commands >= 5 ? LIVED : 10;
    node_stop(c, 0);
    return result;
}

/* The signal that ended it as a negative number, or its exit status. */
static int run_life(struct cluster *c, struct life life) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct cluster *mine = c;
        CHECK(uv_loop_fork(&mine->loop) == 0);
        _exit(live(mine, &life));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static struct cluster *begin(void) {
    struct cluster *c = malloc(sizeof *c);
    assert_non_null(c);
    cluster_init(c, 1);
    return c;
}

static void end(struct cluster *c) {
    cluster_done(c);
    free(c);
}

static void the_second_crash_at_one_command_is_the_last(void **state) {
    (void)state;
    static const int signals[] = {[BY_ABORT] = SIGABRT, [BY_FAULT] = SIGSEGV, [BY_STACK] = SIGSEGV};
    for (poison = BY_ABORT; poison <= BY_STACK; poison++) {
        struct cluster *c = begin();
        assert_int_equal(run_life(c, (struct life){.push = true}), -signals[poison]);
        assert_int_equal(run_life(c, (struct life){0}), -signals[poison]);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(run_life(c, (struct life){0}), HELD);
        assert_int_equal(run_life(c, (struct life){.hold_ends = true}), REFUSED);
        end(c);
    }
}

static void the_operator_and_another_version_may_try_again(void **state) {
    (void)state;
    struct cluster *c = begin();
    poison = BY_ABORT;
    assert_int_equal(run_life(c, (struct life){.push = true}), -SIGABRT);
    assert_int_equal(run_life(c, (struct life){0}), -SIGABRT);
    assert_int_equal(run_life(c, (struct life){0}), HELD);
    assert_int_equal(run_life(c, (struct life){.skip_hold = true}), -SIGABRT); /* it counts from the beginning */
    assert_int_equal(run_life(c, (struct life){.version = "2"}), -SIGABRT);
    assert_int_equal(run_life(c, (struct life){.version = "2"}), -SIGABRT);
    assert_int_equal(run_life(c, (struct life){.version = "2"}), HELD);
    poison = HARMLESS; /* the bug is mended */
    assert_int_equal(run_life(c, (struct life){.version = "2"}), HELD);
    assert_int_equal(run_life(c, (struct life){.version = "3"}), LIVED);
    assert_int_equal(run_life(c, (struct life){.version = "3"}), LIVED);
    end(c);
}

static void a_damaged_or_missing_file_is_no_reason_to_hold(void **state) {
    (void)state;
    struct cluster *c = begin();
    char command[400];
    poison = BY_ABORT;
    assert_int_equal(run_life(c, (struct life){.push = true}), -SIGABRT);
    assert_int_equal(run_life(c, (struct life){0}), -SIGABRT);
    (void)snprintf(command, sizeof command, "printf X | dd of='%s/1/%s' bs=1 seek=41 conv=notrunc status=none", c->dir,
                   CRASH_FILE);
    assert_int_equal(system(command), 0);
    assert_int_equal(run_life(c, (struct life){0}), -SIGABRT);
    (void)snprintf(command, sizeof command, "rm '%s/1/%s'", c->dir, CRASH_FILE);
    assert_int_equal(system(command), 0);
    assert_int_equal(run_life(c, (struct life){0}), -SIGABRT);
    assert_int_equal(run_life(c, (struct life){0}), -SIGABRT);
    assert_int_equal(run_life(c, (struct life){0}), HELD);
    end(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_crash_at_one_command_is_the_last),
        cmocka_unit_test(the_operator_and_another_version_may_try_again),
        cmocka_unit_test(a_damaged_or_missing_file_is_no_reason_to_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

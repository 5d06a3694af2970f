/* SPDX-License-Identifier: Apache-2.0
 * conclave_mutant: the program with planted bugs, for ./dev jepsen mutants and tests/integration/forgotten.py. The
 * linker puts these functions in front of the real ones (-Wl,--wrap), so that no source of the program knows of them.
 * CONCLAVE_MUTANT in the environment names one; without it the program is the program. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "agent/agent_internal.h"
#include "agent/fence.h"
#include "consensus/replica.h"
#include "consensus/vote.h"
#include "scheduler/state.h"

static bool mutant(const char *name) {
    const char *wanted = getenv("CONCLAVE_MUTANT");
    return wanted && strcmp(wanted, name) == 0;
}

/* ---- fence-off: the agent obeys whoever speaks, also after a later term has, and tells nobody of that term (a master
 * that hears of one refuses by itself) ---- */

enum fence_verdict __real_fence_judge(const struct fence *highest, const uint8_t *pinned, const struct fence *offered);
enum fence_verdict __wrap_fence_judge(const struct fence *highest, const uint8_t *pinned, const struct fence *offered);

enum fence_verdict __wrap_fence_judge(const struct fence *highest, const uint8_t *pinned, const struct fence *offered) {
    enum fence_verdict verdict = __real_fence_judge(highest, pinned, offered);
    return verdict == FENCE_OLDER && mutant("fence-off") ? FENCE_NEWER : verdict;
}

int __real_hello_make(const struct agent_process *a, bool watch_only, struct buf *ret);
int __wrap_hello_make(const struct agent_process *a, bool watch_only, struct buf *ret);

int __wrap_hello_make(const struct agent_process *a, bool watch_only, struct buf *ret) {
    struct agent_process *agent = (struct agent_process *)(uintptr_t)a;
    bool set = agent->store.fence.set;
    if (mutant("fence-off")) agent->store.fence.set = false;
    int rc = __real_hello_make(a, watch_only, ret);
    agent->store.fence.set = set;
    return rc;
}

/* ---- read-local: a linearizable read is answered from what this master has applied ---- */

void __real_replica_read(struct replica *replica, void (*cb)(void *ctx, int status), void *ctx);
void __wrap_replica_read(struct replica *replica, void (*cb)(void *ctx, int status), void *ctx);

void __wrap_replica_read(struct replica *replica, void (*cb)(void *ctx, int status), void *ctx) {
    if (mutant("read-local"))
        cb(ctx, 0);
    else
        __real_replica_read(replica, cb, ctx);
}

/* ---- vote-unsynced: term and vote are written and not made durable ---- */

int __real_vote_write(struct disk *disk, const struct identity *identity, const struct vote *vote, struct err *err);
int __wrap_vote_write(struct disk *disk, const struct identity *identity, const struct vote *vote, struct err *err);

/* A disk that forgets to sync; all that vote_write asks of a disk. */
struct lazy_disk {
    struct disk face; /* first */
    struct disk *real;
};

static int lazy_write_sync(struct disk *d, const char *name, uint64_t offset, const void *buf, size_t len,
                           struct err *err) {
    return disk_write_at(((struct lazy_disk *)d)->real, name, offset, buf, len, err);
}

int __wrap_vote_write(struct disk *disk, const struct identity *identity, const struct vote *vote, struct err *err) {
    static const struct disk_ops ops = {.write_sync = lazy_write_sync};
    struct lazy_disk lazy = {{&ops}, disk};
    return __real_vote_write(mutant("vote-unsynced") ? &lazy.face : disk, identity, vote, err);
}

/* ---- state-differs, apply-aborts: a command that has these words in it is applied as another one is, or ends the
 * program ---- */

#define MARK_DIFFERS "applied-as-another"
#define MARK_ABORTS  "applied-by-nobody"

int __real_state_apply(struct state *state, uint64_t term, uint64_t index, uint32_t n, const uint8_t *command,
                       size_t len, struct outcome *outcome, struct effects *effects, struct err *err);
int __wrap_state_apply(struct state *state, uint64_t term, uint64_t index, uint32_t n, const uint8_t *command,
                       size_t len, struct outcome *outcome, struct effects *effects, struct err *err);

int __wrap_state_apply(struct state *state, uint64_t term, uint64_t index, uint32_t n, const uint8_t *command,
                       size_t len, struct outcome *outcome, struct effects *effects, struct err *err) {
    if (mutant("apply-aborts") && memmem(command, len, MARK_ABORTS, strlen(MARK_ABORTS))) {
        struct rlimit no_core = {0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        abort();
    }
    const uint8_t *mark = mutant("state-differs") ? memmem(command, len, MARK_DIFFERS, strlen(MARK_DIFFERS)) : NULL;
    uint8_t *other = mark ? malloc(len) : NULL;
    if (other) {
        memcpy(other, command, len);
        other[mark - command] = 'A';
    }
    int rc = __real_state_apply(state, term, index, n, other ? other : command, len, outcome, effects, err);
    free(other);
    return rc;
}

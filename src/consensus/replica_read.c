/* SPDX-License-Identifier: Apache-2.0
 * Linearizable reads: all that are asked in one turn share one probe of the guard, and wait until its commit index is
 * applied. And the look into the log. */
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mutant.h"
#include "consensus/replica_impl.h"

struct reader {
    struct queue queue;
    void (*cb)(void *ctx, int status);
    void *ctx;
    uint64_t deadline_ms;
};

struct probe {
    struct queue queue;   /* in probes */
    struct queue waiting; /* of struct reader */
    struct replica *replica;
    struct guard_read read;
    bool answered;
    int status;     /* behind `answered` */
    uint64_t index; /* to be applied first */
};

void replica_read(struct replica *r, void (*cb)(void *ctx, int status), void *ctx) {
    CHECK_MAGIC(r, REPLICA_MAGIC);
    struct reader *reader = malloc(sizeof *reader);
    CHECK(reader != NULL);
    *reader = (struct reader){.cb = cb, .ctx = ctx, .deadline_ms = clock_mono_ms() + REPLICA_READ_MS};
    queue_push(&r->reads, &reader->queue);
    replica_wake(r);
}

static void answer(struct queue *reads, int status, uint64_t before_ms) {
    for (struct queue *q = reads->next, *next; q != reads; q = next) {
        next = q->next;
        struct reader *reader = QUEUE_ENTRY(q, struct reader, queue);
        if (before_ms != 0 && reader->deadline_ms > before_ms) return; /* they are in order of their deadlines */
        queue_remove(q);
        reader->cb(reader->ctx, status);
        free(reader);
    }
}

static void probe_cb(struct guard_read *read, int status, uint64_t index) {
    struct probe *probe = read->data;
    probe->answered = true;
    probe->status = status;
    probe->index = index;
    replica_wake(probe->replica);
}

/* Moves all of `from` to the end of `to`. (In one piece: GCC 12 makes an endless loop of taking one after another here,
 * with strict aliasing.) */
static void take_over(struct queue *from, struct queue *to) {
    if (queue_empty(from)) return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    queue_init(from);
}

/* Asks for the new reads. Those of a leader that is not ready yet, or of a node that knows no leader, wait. */
static void ask(struct replica *r, uint64_t now) {
    bool leader = r->view.role == GUARD_LEADER;
    bool follower = r->view.role == GUARD_FOLLOWER && r->view.leader_id != 0;
    if (queue_empty(&r->reads) || (!leader && !follower) || now < r->ask_ms) return;
    if (r->probes_out >= REPLICA_READS_OUT_MAX) return;
    struct probe *probe = calloc(1, sizeof *probe);
    if (probe == NULL) return;
    probe->replica = r;
    probe->read.data = probe;
    probe->read.cb = probe_cb;
    queue_init(&probe->waiting);
    queue_push(&r->probes, &probe->queue);
    r->probes_out++;
    if ((leader ? guard_read_index(r->guard, &probe->read) : guard_read_follower(r->guard, &probe->read)) != 0) {
        r->ask_ms = now + REPLICA_ASK_MS;
        queue_remove(&probe->queue);
        r->probes_out--;
        free(probe);
        return;
    }
    take_over(&r->reads, &probe->waiting);
}

/* Nobody was to be had who leads: until their time is up they wait for the next who does. They are older than all that
 * have not been asked for. */
static void ask_again(struct replica *r, struct probe *probe, uint64_t now) {
    take_over(&r->reads, &probe->waiting);
    take_over(&probe->waiting, &r->reads);
    r->ask_ms = now + REPLICA_ASK_MS;
}

void replica_reads_turn(struct replica *r) {
    uint64_t now = clock_mono_ms();
    answer(&r->reads, ERR_NO_QUORUM, now);
    ask(r, now);
    uint64_t applied = replica_applied(r);
    for (struct queue *q = r->probes.next, *next; q != &r->probes; q = next) {
        next = q->next;
        struct probe *probe = QUEUE_ENTRY(q, struct probe, queue);
        answer(&probe->waiting, ERR_NO_QUORUM, now);
        if (!probe->answered || (probe->status == 0 && probe->index > applied && !MUTANT(READ_UNAPPLIED))) continue;
        if (probe->status == 0 || probe->status == ERR_CLOSED)
            answer(&probe->waiting, probe->status, 0);
        else
            ask_again(r, probe, now);
        queue_remove(q);
        r->probes_out--;
        free(probe);
    }
}

void replica_reads_fail(struct replica *r, int status) {
    answer(&r->reads, status, 0);
    while (!queue_empty(&r->probes)) {
        struct probe *probe = QUEUE_ENTRY(r->probes.next, struct probe, queue);
        answer(&probe->waiting, status, 0);
        queue_remove(&probe->queue);
        free(probe);
    }
    r->probes_out = 0;
}

const struct raft_entry *replica_entry(const struct raft *core, uint64_t index) {
    const struct raft_log *log = &core->log;
    size_t n = log->front <= log->back ? log->back - log->front : log->size - log->front + log->back;
    if (index <= log->offset || index - log->offset > n) return NULL;
    return &log->entries[(log->front + (index - log->offset - 1)) % log->size];
}

int replica_log_read(struct replica *r, uint64_t from, unsigned count,
                     void (*cb)(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len),
                     void *ctx, uint64_t *ret_first, struct err *err) {
    CHECK_MAGIC(r, REPLICA_MAGIC);
    uint64_t first = r->core.log.offset + 1;
    uint64_t commit = r->core.commit_index;
    if (from < first) {
        *ret_first = first;
        return err_set(err, ERR_NOT_FOUND, "entry %llu is older than the log, which begins at %llu",
                       (unsigned long long)from, (unsigned long long)first);
    }
    if (from > commit)
        return err_set(err, ERR_NOT_FOUND, "entry %llu is not committed here; the last one is %llu",
                       (unsigned long long)from, (unsigned long long)commit);
    for (unsigned i = 0; i < count && from + i <= commit; i++) {
        const struct raft_entry *entry = replica_entry(&r->core, from + i);
        if (entry == NULL) break;
        cb(ctx, from + i, entry->term, entry->type, entry->buf.base, entry->buf.len);
    }
    return 0;
}

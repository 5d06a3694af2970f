/* SPDX-License-Identifier: Apache-2.0
 * What the members tell each other of themselves with each PING, and what follows from it: room on their disks, and
 * whether their states agree. And the alarms. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "consensus/replica_impl.h"

static bool own_hash(void *ctx, uint64_t index, uint8_t ret[16]) {
    struct replica *r = ctx;
    return r->app.hash != NULL && index <= replica_applied(r) && r->app.hash(r->app.ctx, index, ret);
}

void replica_vitals_fill(void *ctx, struct peer_vitals *ret) {
    struct replica *r = ctx;
    ret->space = r->space_level;
    ret->free_bytes = r->space.free_bytes;
    ret->hash_kind = r->config.hash_kind;
    ret->standing = replica_gate_standing(r);
    agreement_marks(replica_applied(r), own_hash, r, ret->marks);
}

static struct member_vitals *vitals_of(struct replica *r, uint64_t id) {
    for (unsigned i = 0; i < r->vitals_count; i++)
        if (r->vitals[i].id == id) return &r->vitals[i];
    return NULL;
}

const struct member_vitals *replica_vitals_of(const struct replica *r, uint64_t id) {
    return vitals_of((struct replica *)r, id);
}

/* Members that have gone make room for new ones. */
static void forget_strangers(struct replica *r) {
    unsigned kept = 0;
    for (unsigned i = 0; i < r->vitals_count; i++) {
        bool member = false;
        for (unsigned k = 0; k < r->core.configuration.n && !member; k++)
            member = r->core.configuration.servers[k].id == r->vitals[i].id;
        if (member) r->vitals[kept++] = r->vitals[i];
    }
    r->vitals_count = kept;
}

static unsigned voters(struct replica *r, struct agreement_peer ret[PEERS_MAX]) {
    unsigned n = 0;
    for (unsigned i = 0; i < r->vitals_count; i++)
        ret[i] = (struct agreement_peer){.id = r->vitals[i].id,
                                         .hash_kind = r->vitals[i].told.hash_kind,
                                         .differs_index = r->vitals[i].differs_index};
    for (unsigned k = 0; k < r->core.configuration.n; k++) {
        const struct raft_server *server = &r->core.configuration.servers[k];
        if (server->role != RAFT_VOTER) continue;
        n++;
        for (unsigned i = 0; i < r->vitals_count; i++)
            if (ret[i].id == server->id) ret[i].voter = true;
    }
    return n;
}

static void compare_states(struct replica *r) {
    struct agreement_peer peers[PEERS_MAX];
    if (r->app.hash == NULL || r->config.hash_kind == 0 || r->vitals_count == 0) return;
    unsigned n = voters(r, peers);
    for (unsigned i = 0; i < r->vitals_count; i++)
        memcpy(peers[i].marks, r->vitals[i].told.marks, sizeof peers[i].marks);
    uint64_t outvoted = agreement_judge(peers, r->vitals_count, n, r->config.hash_kind, own_hash, r);
    for (unsigned i = 0; i < r->vitals_count; i++) {
        struct member_vitals *v = &r->vitals[i];
        if (peers[i].differs_index != 0 && v->differs_index == 0) {
            v->differs_ms = clock_mono_ms();
            log_event(LOG_ERROR, "state_differs", "peer=%" PRIu64 " index=%" PRIu64, v->id, peers[i].differs_index);
        }
        v->differs_index = peers[i].differs_index;
    }
    if (outvoted == 0) return;
    if (r->store && store_mark_diverged(r->store) != 0) return; /* the store has told why it ends the process */
    replica_fail(r, 4,
                 "the state of this node at entry %" PRIu64
                 " differs from that of the majority: keep the folder for whoever looks for the cause, and start with "
                 "--reinstall",
                 outvoted);
}

void replica_vitals_told(void *ctx, uint64_t id, const struct peer_vitals *told) {
    struct replica *r = ctx;
    if (r->closing || r->fatal.pending) return;
    struct member_vitals *v = vitals_of(r, id);
    if (v == NULL && r->vitals_count == PEERS_MAX) forget_strangers(r);
    if (v == NULL && r->vitals_count < PEERS_MAX) {
        v = &r->vitals[r->vitals_count++];
        *v = (struct member_vitals){.id = id};
    }
    if (v == NULL) return;
    v->told = *told;
    compare_states(r);
}

/* Alarms. */

struct alarms {
    struct replica_alarm *ret;
    unsigned n, max;
};

__attribute__((format(printf, 5, 6))) static void alarm_add(struct alarms *a, const char *code, uint64_t since_ms,
                                                            const char *next, const char *fmt, ...) {
    if (a->n == a->max) return;
    struct replica_alarm *alarm = &a->ret[a->n++];
    *alarm = (struct replica_alarm){
        .code = code, .since_ms = since_ms ? (int64_t)(clock_mono_ms() - since_ms) : 0, .next = next};
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(alarm->text, sizeof alarm->text, fmt, ap);
    va_end(ap);
}

static void alarms_of_space(const struct replica *r, struct alarms *a) {
    static const char next[] = "make room on the disk of the data folder; service resumes by itself";
    uint64_t mib = UINT64_C(1) << 20;
    if (r->space_level == REPLICA_SPACE_SOFT)
        alarm_add(a, "DISK_SOFT", r->space_since_ms, next,
                  "%" PRIu64 " MiB are free, below %" PRIu64 " no new frameworks and tasks are taken",
                  r->space.free_bytes / mib, r->space.soft_bytes / mib);
    if (r->space_level >= REPLICA_SPACE_HARD)
        alarm_add(a, "DISK_HARD", r->space_since_ms, next,
                  "%" PRIu64 " MiB are free, below %" PRIu64
                  " a leader hands over, and the log has only what is set aside for it",
                  r->space.free_bytes / mib, r->space.hard_bytes / mib);
    for (unsigned i = 0; i < r->vitals_count; i++)
        if (r->vitals[i].told.space >= REPLICA_SPACE_SOFT)
            alarm_add(a, "PEER_DISK", 0, next, "master %" PRIu64 " has %" PRIu64 " MiB free", r->vitals[i].id,
                      r->vitals[i].told.free_bytes / mib);
}

static void alarm_of_barred(const struct replica *r, struct alarms *a) {
    if (r->barred != 0 && r->view.leader_id != 0)
        alarm_add(a, "CATCHING_UP", 0, "nothing; until then the cluster can lose one master less",
                  "this node was reinstalled and does not vote before it has what was committed since");
    else if (r->barred != 0)
        alarm_add(
            a, "CATCHING_UP", r->leaderless_since_ms, REPLICA_LEADERLESS_NEXT,
            "this node was reinstalled, and there is no leader to get its data from; it neither votes nor stands");
}

unsigned replica_alarms(struct replica *r, struct replica_alarm *ret, unsigned max) {
    CHECK_MAGIC(r, REPLICA_MAGIC);
    struct alarms a = {.ret = ret, .max = max};
    if (r->hold)
        alarm_add(&a, "HOLD", r->hold_since_ms,
                  "look at it with `conclave log --data-dir`; start another version, or with --skip-hold to try again",
                  "applying %" PRIu64 ".%u has ended this program %u times: nothing is applied, voted or acknowledged",
                  r->crashed.index, r->crashed.n, r->crashed.count);
    alarms_of_space(r, &a);
    for (unsigned i = 0; i < r->vitals_count; i++)
        if (r->vitals[i].differs_index != 0)
            alarm_add(&a, "STATE_DIFFERS", r->vitals[i].differs_ms,
                      "compare `conclave hash` and the logs of the masters; --reinstall the one that is wrong",
                      "the state of master %" PRIu64 " at entry %" PRIu64 " is not ours", r->vitals[i].id,
                      r->vitals[i].differs_index);
    if (r->waiting_since_ms != 0)
        alarm_add(&a, "NOT_ADMITTED", r->waiting_since_ms,
                  "start the other masters; a new folder takes part when more than half of them have answered",
                  "this folder is new and has been accepted by %u other masters", r->accepted_count);
    alarm_of_barred(r, &a);
    return a.n;
}

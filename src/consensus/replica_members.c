/* SPDX-License-Identifier: Apache-2.0
 * Who the members are, and changes of that.
 *
 * Whom we talk to follows from the configuration in our log, committed or not, and, when a peer has shown us a newer
 * committed one, from that too until our log has it. While ours is not known to be committed, the one before it counts
 * as well (that one is committed: no leader appends a change before the last one is): a change that never commits
 * leaves everybody as they were, and a leader that took another out and fell before that was committed hears the one it
 * took out, which may lead now. What we show others is the newest that we know to be committed.
 *
 * A change waits for the turn, because it may be asked for from inside the core. Then it is the core's: raft_add,
 * raft_assign, raft_remove or raft_transfer, each followed by guard_settle; the core calls back from inside itself, so
 * the end is noted and told in the next turn. Adding is two entries: the core adds a node as one that gets no log
 * (spare), and then it is made a learner (standby).
 *
 * Handing over: new proposals are refused and what is under way is committed first, for at most REPLICA_DRAIN_MS; so
 * the other has everything when it is told to stand, and no outcome is unknown. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "consensus/replica_impl.h"
#include "net/address.h"

#define ALIVE_MIN_MS 1000u /* a member that was heard this lately counts as alive, or 4 election timeouts */

/* ---- who is talked to ---- */

static const struct raft_server *server_of(const struct replica *r, uint64_t id) {
    for (unsigned i = 0; i < r->core.configuration.n; i++)
        if (r->core.configuration.servers[i].id == id) return &r->core.configuration.servers[i];
    return NULL;
}

static void member_use(struct replica *r, uint64_t id, const char *address) {
    struct err err;
    if (peers_member_set(r->peers, id, address, &err) != 0)
        log_event(LOG_ERROR, "member_unusable", "text=\"%s\"", err.text);
}

static void peers_follow(struct replica *r) {
    const struct raft_configuration *configuration = &r->core.configuration;
    const struct replica_config *given = &r->config;
    unsigned n_given = configuration->n == 0 ? given->member_count : 0; /* what we were started with counts while there
                                                                           is no log, as behind a reinstall */
    uint64_t ids[3 * PEER_CONFIGURATION_MAX + REPLICA_MEMBERS_MAX], vouched[2 * PEER_CONFIGURATION_MAX];
    _Static_assert(sizeof vouched / sizeof *vouched <= GUARD_VOUCHED_MAX, "the guard takes all");
    unsigned n = 0, n_vouched = 0;
    for (unsigned i = 0; i < configuration->n && i < PEER_CONFIGURATION_MAX; i++)
        ids[n++] = configuration->servers[i].id;
    for (unsigned i = 0; i < n_given; i++)
        ids[n++] = given->members[i].id;
    for (unsigned i = 0; i < r->vouched.n; i++)
        ids[n++] = vouched[n_vouched++] = r->vouched.items[i].id;
    for (unsigned i = 0; i < r->settled.n; i++)
        ids[n++] = vouched[n_vouched++] = r->settled.items[i].id;
    guard_vouch(r->guard, vouched, n_vouched);
    peers_members_keep(r->peers, ids, n);
    for (unsigned i = 0; i < configuration->n; i++)
        if (peer_members_find(&r->vouched, configuration->servers[i].id) == NULL)
            member_use(r, configuration->servers[i].id, configuration->servers[i].address);
    for (unsigned i = 0; i < n_given; i++)
        if (peer_members_find(&r->vouched, given->members[i].id) == NULL)
            member_use(r, given->members[i].id, given->members[i].address);
    for (unsigned i = 0; i < r->vouched.n; i++)
        member_use(r, r->vouched.items[i].id, r->vouched.items[i].address);
    for (unsigned i = 0; i < r->settled.n; i++) {
        const struct peer_member *m = &r->settled.items[i];
        if (server_of(r, m->id) == NULL && peer_members_find(&r->vouched, m->id) == NULL)
            member_use(r, m->id, m->address);
    }
}

/* The index of our configuration, if it is known to be committed; else 0. After a restart the core takes the last one
 * of the log for committed, whatever it is. */
static uint64_t committed_configuration(const struct replica *r) {
    const struct raft *core = &r->core;
    bool committed = core->configuration_uncommitted_index == 0 && core->configuration_index <= core->commit_index;
    return committed && core->configuration.n > 0 ? core->configuration_index : 0;
}

/* Whatever is committed for certain: ours, or the one before it. */
static void settle(struct replica *r) {
    const struct raft *core = &r->core;
    uint64_t committed = committed_configuration(r), before = core->configuration_index;
    if (committed != 0 && committed != r->settled.index) {
        (void)peer_members_from(&core->configuration, committed, &r->settled);
    } else if (core->configuration_uncommitted_index > before && before > r->settled.index) {
        const struct raft_entry *entry = replica_entry(core, before);
        if (entry) (void)peer_members_from_entry(entry->buf.base, entry->buf.len, before, &r->settled);
    }
}

void replica_members_loaded(struct replica *r, const struct raft_snapshot *snapshot, uint64_t first,
                            const struct raft_entry *entries, size_t n) {
    struct peer_members found;
    uint64_t last = 0;
    for (size_t i = n; i > 0; i--) { /* the last one, then the one before it */
        if (entries[i - 1].type != RAFT_CHANGE) continue;
        uint64_t index = first + i - 1;
        if (last == 0) {
            last = index;
        } else if (peer_members_from_entry(entries[i - 1].buf.base, entries[i - 1].buf.len, index, &found)) {
            r->settled = found;
            break;
        }
    }
    if (snapshot && snapshot->configuration_index > r->settled.index)
        (void)peer_members_from(&snapshot->configuration, snapshot->configuration_index, &r->settled);
}

void replica_members_follow(struct replica *r) {
    const struct raft *core = &r->core;
    uint64_t settled = r->settled.index;
    settle(r);
    if (!r->members_followed || settled != r->settled.index || core->configuration_index != r->configuration_seen ||
        core->configuration_uncommitted_index != r->configuration_uncommitted_seen) {
        r->members_followed = true;
        r->configuration_seen = core->configuration_index;
        r->configuration_uncommitted_seen = core->configuration_uncommitted_index;
        if (core->configuration_index >= r->vouched.index) r->vouched = (struct peer_members){0};
        peers_follow(r);
    }
    uint64_t committed = committed_configuration(r);
    if (committed != 0 && r->vouched.index != 0 && r->vouched.index <= committed) {
        r->vouched = (struct peer_members){0};
        peers_follow(r);
    }
    if (committed == 0 || committed == r->told_members) return;
    struct peer_members members;
    r->told_members = committed;
    if (!peer_members_from(&core->configuration, committed, &members)) return;
    peers_members_tell(r->peers, &members);
    log_event(LOG_INFO, "members", "index=%" PRIu64 " count=%u", committed, members.n);
}

void replica_members_introduced(void *ctx, uint64_t from, const struct peer_members *members) {
    struct replica *r = ctx;
    if (r->closing || r->fatal.pending || !r->core_ready) return;
    /* What is settled counts from the start on, before anything is known to be committed: else one that was removed
     * long ago would be let in by what it knew. */
    uint64_t committed = committed_configuration(r), ours = committed > r->settled.index ? committed : r->settled.index;
    bool newer = members->index > ours && members->index > r->vouched.index &&
                 members->index != r->core.configuration_uncommitted_index;
    if (!newer || !peer_members_find(members, from) || !peer_members_find(members, r->config.node_id)) return;
    log_event(LOG_INFO, "members_shown", "by=%" PRIu64 " index=%" PRIu64 " ours=%llu", from, members->index,
              r->core.configuration_index);
    r->vouched = *members;
    peers_follow(r);
}

void replica_members_removed(void *ctx, uint64_t by, uint64_t index) {
    struct replica *r = ctx;
    if (r->closing || server_of(r, r->config.node_id) == NULL) return; /* we wait to be added */
    /* Nobody who was removed comes back, so any committed configuration with us in it is enough to compare with. */
    bool settled = peer_members_find(&r->settled, r->config.node_id) != NULL;
    uint64_t known = settled ? r->settled.index : r->core.configuration_index;
    if (index <= known || index <= r->vouched.index) return; /* it knows less than we do */
    replica_fail(r, 0,
                 "node %" PRIu64 " was removed from the cluster (member %" PRIu64 " says so, log entry %" PRIu64
                 "); its folder is of no use any more, and its id is never given again",
                 r->config.node_id, by, index);
}

uint64_t replica_highest_id(const struct replica *r) {
    uint64_t highest = r->config.node_id;
    for (unsigned i = 0; i < r->core.configuration.n; i++)
        if (r->core.configuration.servers[i].id > highest) highest = r->core.configuration.servers[i].id;
    return highest;
}

/* ---- changes ---- */

const char *replica_change_name(enum replica_change_type type) {
    static const char *const names[] = {"add", "promote", "demote", "remove", "transfer"};
    return (unsigned)type < sizeof names / sizeof *names ? names[type] : "none";
}

bool replica_handing_over(const struct replica *r) {
    return r->change.busy && r->change.type == REPLICA_TRANSFER && r->view.role == GUARD_LEADER;
}

struct standing { /* of the members, as a leader sees them */
    struct guard_status guard;
    unsigned voters, alive; /* voters, and those of them that were heard lately */
    uint64_t patience_ms;
};

static const struct guard_peer_status *standing_peer(const struct standing *s, uint64_t id) {
    for (unsigned i = 0; i < s->guard.peer_count; i++)
        if (s->guard.peers[i].id == id) return &s->guard.peers[i];
    return NULL;
}

static bool standing_alive(const struct standing *s, uint64_t id) {
    const struct guard_peer_status *peer = standing_peer(s, id);
    return peer && peer->last_contact_ms >= 0 && (uint64_t)peer->last_contact_ms < s->patience_ms;
}

static void standing_take(const struct replica *r, struct standing *ret) {
    guard_status(r->guard, &ret->guard);
    ret->patience_ms = r->config.election_ms * 4u > ALIVE_MIN_MS ? r->config.election_ms * 4u : ALIVE_MIN_MS;
    ret->voters = ret->alive = 0;
    for (unsigned i = 0; i < r->core.configuration.n; i++) {
        const struct raft_server *server = &r->core.configuration.servers[i];
        if (server->role != RAFT_VOTER) continue;
        ret->voters++;
        ret->alive += server->id == r->config.node_id || standing_alive(ret, server->id);
    }
}

static int check_quorum(unsigned voters, unsigned alive, const struct replica_change *change, struct err *err) {
    if (change->force || alive >= voters / 2 + 1) return 0;
    return err_set(err, ERR_NO_QUORUM,
                   "only %u of the %u voters would be alive, fewer than a majority: start the others, or say force",
                   alive, voters);
}

static int check_add(const struct replica *r, const struct replica_change *c, struct err *err) {
    struct address address;
    if (c->id == 0 || c->id >= PEER_NUMBER_MAX) return err_set(err, ERR_INVALID, "no id of a node");
    if (c->address == NULL || strlen(c->address) >= REPLICA_ADDRESS_MAX)
        return err_set(err, ERR_INVALID, "the address is missing or too long");
    int rv = address_parse(c->address, 0, 0, &address, err);
    if (rv != 0) return err_wrap(err, "address");
    for (unsigned i = 0; i < r->core.configuration.n; i++) {
        const struct raft_server *server = &r->core.configuration.servers[i];
        if (server->id == c->id || strcmp(server->address, c->address) == 0)
            return err_set(err, ERR_EXISTS, "member %llu has the address %s already", server->id, server->address);
    }
    if (r->core.configuration.n >= REPLICA_MEMBERS_MAX)
        return err_set(err, ERR_LIMIT, "there are %u members, the most there may be: remove one first",
                       r->core.configuration.n);
    return 0;
}

/* Whether the learner could take part at once if it had a vote; else the cluster would be one voter weaker. */
static int check_standing(const struct replica *r, uint64_t id, struct err *err) {
    const struct member_vitals *vitals = replica_vitals_of(r, id);
    uint32_t standing = vitals ? vitals->told.standing : PEER_STANDING_TOLD;
    if (vitals == NULL)
        return err_set(err, ERR_BUSY, "learner %" PRIu64 " has not told yet how it stands: try again in a moment", id);
    if ((standing & PEER_STANDING_TOLD) && !(standing & PEER_STANDING_ADMITTED))
        return err_set(err, ERR_BUSY,
                       "learner %" PRIu64
                       " has been accepted by too few of the voters to take part as one: it must reach "
                       "the peer ports of more than half of them; look at its log, then try again",
                       id);
    if (standing & PEER_STANDING_BARRED)
        return err_set(err, ERR_BUSY,
                       "learner %" PRIu64 " was reinstalled and has not caught up: try again when it has", id);
    return 0;
}

static int check_promote(const struct replica *r, const struct standing *s, const struct raft_server *server,
                         const struct replica_change *c, struct err *err) {
    const struct guard_peer_status *peer = standing_peer(s, c->id);
    if (server->role == RAFT_VOTER) return err_set(err, ERR_EXISTS, "member %" PRIu64 " is a voter already", c->id);
    bool alive = standing_alive(s, c->id);
    uint64_t behind = peer && peer->match_index < s->guard.last_index ? s->guard.last_index - peer->match_index : 0;
    if (!c->force && !alive)
        return err_set(err, ERR_FORBIDDEN,
                       "learner %" PRIu64 " does not answer: start it, and wait until it has caught up", c->id);
    if (!c->force && (behind > REPLICA_PROMOTE_LAG_MAX || !peer || peer->match_index == 0))
        return err_set(err, ERR_FORBIDDEN,
                       "learner %" PRIu64 " is %" PRIu64 " entries behind: wait until it has caught up", c->id, behind);
    int rv = c->force ? 0 : check_standing(r, c->id, err);
    if (rv != 0) return rv;
    return check_quorum(s->voters + 1, s->alive + alive, c, err);
}

static int check_leave(const struct replica *r, const struct standing *s, const struct raft_server *server,
                       const struct replica_change *c, struct err *err) {
    bool voter = server->role == RAFT_VOTER;
    if (c->type == REPLICA_DEMOTE && !voter)
        return err_set(err, ERR_EXISTS, "member %" PRIu64 " is a learner already", c->id);
    if (!voter) return 0;
    if (s->voters == 1) return err_set(err, ERR_INVALID, "member %" PRIu64 " is the last voter", c->id);
    if (c->id == r->config.node_id)
        return err_set(err, ERR_FORBIDDEN, "member %" PRIu64 " leads: hand over first (transfer)", c->id);
    return check_quorum(s->voters - 1, s->alive - standing_alive(s, c->id), c, err);
}

/* Until it has everything the core waits, and takes nothing new. */
static bool standing_level(const struct standing *s, uint64_t id) {
    const struct guard_peer_status *peer = standing_peer(s, id);
    return peer && peer->match_index + REPLICA_TRANSFER_LAG_MAX >= s->guard.last_index;
}

bool replica_may_take_over(const struct replica *r, uint64_t id) {
    struct standing s;
    standing_take(r, &s);
    return standing_alive(&s, id) && standing_level(&s, id);
}

static int check_transfer(const struct replica *r, const struct standing *s, bool force, uint64_t *target,
                          struct err *err) {
    uint64_t furthest = 0;
    const struct raft_server *server = *target ? server_of(r, *target) : NULL;
    if (*target == r->config.node_id) return err_set(err, ERR_EXISTS, "member %" PRIu64 " leads already", *target);
    if (*target && server == NULL) return err_set(err, ERR_NOT_FOUND, "there is no member %" PRIu64, *target);
    if (server && server->role != RAFT_VOTER)
        return err_set(err, ERR_FORBIDDEN, "member %" PRIu64 " has no vote: promote it first", *target);
    if (server && !standing_alive(s, *target))
        return err_set(err, ERR_NO_QUORUM, "member %" PRIu64 " does not answer", *target);
    if (server && !force && !standing_level(s, *target))
        return err_set(err, ERR_FORBIDDEN, "member %" PRIu64 " is far behind: wait until it has caught up", *target);
    for (unsigned i = 0; *target == 0 && i < s->guard.peer_count; i++) {
        const struct guard_peer_status *peer = &s->guard.peers[i];
        if (!peer->voter || !standing_alive(s, peer->id) || (furthest && peer->match_index <= furthest)) continue;
        furthest = peer->match_index;
        *target = peer->id;
    }
    return *target ? 0 : err_set(err, ERR_NO_QUORUM, "no other voter answers: there is nobody to hand over to");
}

static int check_change(const struct replica *r, const struct replica_change *c, uint64_t *id, struct err *err) {
    struct standing s;
    if (r->closing || r->fatal.pending || r->view.role != GUARD_LEADER || r->core.state != RAFT_LEADER)
        return err_set(err, ERR_NOT_LEADER, "this node does not lead");
    if (r->change.busy)
        return err_set(err, ERR_BUSY, "another change is under way (%s of member %" PRIu64 "): wait for its end",
                       replica_change_name(r->change.type), r->change.id);
    if (!guard_can_change(r->guard) || r->core.configuration_uncommitted_index != 0)
        return err_set(err, ERR_BUSY, "the leader has yet to commit what came before: try again in a moment");
    standing_take(r, &s);
    *id = c->id;
    if (c->type == REPLICA_ADD) return check_add(r, c, err);
    if (c->type == REPLICA_TRANSFER) return check_transfer(r, &s, c->force, id, err);
    const struct raft_server *server = server_of(r, c->id);
    if (server == NULL) return err_set(err, ERR_NOT_FOUND, "there is no member %" PRIu64, c->id);
    return c->type == REPLICA_PROMOTE ? check_promote(r, &s, server, c, err) : check_leave(r, &s, server, c, err);
}

int replica_change_check(const struct replica *r, const struct replica_change *c, struct err *err) {
    uint64_t id;
    return check_change(r, c, &id, err);
}

int replica_change(struct replica *r, const struct replica_change *c,
                   void (*done)(void *ctx, int status, const char *why), void *ctx, struct err *err) {
    CHECK_MAGIC(r, REPLICA_MAGIC);
    uint64_t id = 0;
    struct err ours;
    int rv = check_change(r, c, &id, err ? err : &ours);
    if (rv != 0) return rv;
    r->change =
        (struct change){.busy = true, .type = c->type, .id = id, .since_ms = clock_mono_ms(), .done = done, .ctx = ctx};
    if (c->address) (void)snprintf(r->change.address, sizeof r->change.address, "%s", c->address);
    r->change.step = c->type == REPLICA_TRANSFER ? CHANGE_DRAIN : CHANGE_BEGIN;
    log_event(LOG_INFO, "change_asked", "what=%s member=%" PRIu64, replica_change_name(c->type), id);
    replica_wake(r);
    return 0;
}

static void change_end(struct replica *r, int status, const char *why) {
    struct change *c = &r->change;
    log_event(status == 0 ? LOG_INFO : LOG_WARN, "change_ended",
              "what=%s member=%" PRIu64 " ms=%" PRIu64 " status=%s why=\"%s\"", replica_change_name(c->type), c->id,
              clock_mono_ms() - c->since_ms, status == 0 ? "ok" : err_name(status), why);
    c->busy = false;
    if (c->done) c->done(c->ctx, status, why);
}

static void change_cb(struct raft_change *request, int status) {
    struct replica *r = request->data;
    r->change.answered = true;
    r->change.status = status;
    replica_wake(r);
}

static void transfer_cb(struct raft_transfer *request) {
    struct replica *r = request->data;
    r->change.answered = true;
    r->change.status = 0; /* says only that it is over */
    replica_wake(r);
}

static int core_ask(struct replica *r) {
    struct change *c = &r->change;
    c->request.data = c->transfer.data = r;
    switch (c->type) {
    case REPLICA_ADD:
        return c->learner_next ? raft_assign(&r->core, &c->request, c->id, RAFT_STANDBY, change_cb)
                               : raft_add(&r->core, &c->request, c->id, c->address, change_cb);
    case REPLICA_PROMOTE:
        return raft_assign(&r->core, &c->request, c->id, RAFT_VOTER, change_cb);
    case REPLICA_DEMOTE:
        return raft_assign(&r->core, &c->request, c->id, RAFT_STANDBY, change_cb);
    case REPLICA_REMOVE:
        return raft_remove(&r->core, &c->request, c->id, change_cb);
    default:
        return raft_transfer(&r->core, &c->transfer, c->id, transfer_cb);
    }
}

static void change_begin(struct replica *r) {
    struct change *c = &r->change;
    c->step = CHANGE_CORE;
    c->answered = false;
    int rv = core_ask(r);
    guard_settle(r->guard);
    if (rv == 0 || !c->busy) return;
    if (rv == RAFT_NOMEM) replica_fail(r, 1, "out of memory for a change of the membership");
    change_end(r, rv == RAFT_NOTLEADER && !c->learner_next ? ERR_NOT_LEADER : ERR_UNKNOWN_OUTCOME, raft_strerror(rv));
}

static void transfer_ended(struct replica *r) {
    if (r->view.role == GUARD_LEADER)
        change_end(r, ERR_TIMEOUT, "it did not take over within an election timeout");
    else
        change_end(r, 0, "");
}

static void core_answered(struct replica *r) {
    struct change *c = &r->change;
    c->answered = false;
    if (c->type == REPLICA_TRANSFER) {
        transfer_ended(r);
    } else if (c->status == 0 && c->type == REPLICA_ADD && !c->learner_next) {
        c->learner_next = true;
        change_begin(r);
    } else if (c->status == 0) {
        change_end(r, 0, "");
    } else if (c->status == RAFT_NOCONNECTION) {
        change_end(r, ERR_TIMEOUT, "the learner did not catch up: look at its log and its disk, then try again");
    } else {
        change_end(r, ERR_UNKNOWN_OUTCOME, "leadership was lost meanwhile: look who the members are");
    }
}

void replica_change_turn(struct replica *r) {
    struct change *c = &r->change;
    if (!c->busy) return;
    bool leads = r->view.role == GUARD_LEADER && r->core.state == RAFT_LEADER;
    if (c->step == CHANGE_CORE) {
        if (c->answered) core_answered(r);
    } else if (!leads) { /* not begun */
        change_end(r, c->type == REPLICA_TRANSFER ? 0 : ERR_NOT_LEADER, "another node leads");
    } else if (c->step == CHANGE_BEGIN) {
        change_begin(r);
    } else {
        bool drained = queue_empty(&r->waiting) && r->in_flight_count == 0;
        if (drained || clock_mono_ms() - c->since_ms >= REPLICA_DRAIN_MS) change_begin(r);
    }
}

void replica_change_close(struct replica *r) {
    if (r->change.busy) change_end(r, ERR_CLOSED, "the node stops");
}

/* SPDX-License-Identifier: Apache-2.0
 * What must hold, judged from outside: from what hosts send, from what their disks have, from what they apply. Nothing
 * here asks the guard. docs/TESTING.md says which mutant is found by which of these. */
#include "cluster.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "consensus/guard_private.h"

static void *grown(void *array, size_t *cap, uint64_t index, size_t size) {
    if (index < *cap) return array;
    size_t want = *cap == 0 ? 1024 : *cap;
    while (want <= index)
        want *= 2;
    array = realloc(array, want * size);
    CHECK(array != NULL);
    memset((uint8_t *)array + *cap * size, 0, (want - *cap) * size);
    *cap = want;
    return array;
}

/* ---- votes and leaders ---- */

static const struct vote_cast *vote_of(const struct cluster *c, uint64_t voter, uint64_t term) {
    for (size_t i = c->votes_count; i > 0; i--)
        if (c->votes[i - 1].term == term && c->votes[i - 1].voter == voter) return &c->votes[i - 1];
    return NULL;
}

void judge_vote(struct host *h, uint64_t term, uint64_t candidate) {
    struct cluster *c = h->c;
    const struct vote_cast *known = vote_of(c, h->id, term);
    if (known != NULL && known->candidate != candidate)
        cluster_red(c, "two-votes",
                    "node %" PRIu64 " votes for %" PRIu64 " in term %" PRIu64 ", and before for %" PRIu64, h->id,
                    candidate, term, known->candidate);
    if (known != NULL) return;
    uint64_t lacks = medium_lacks(h, c->committed, c->committed_cap);
    if (lacks > 0)
        cluster_red(c, "forgotten",
                    "node %" PRIu64 " votes for %" PRIu64 " in term %" PRIu64 " and has not got back entry %" PRIu64
                    ", which it has acknowledged and lost",
                    h->id, candidate, term, lacks);
    c->votes = grown(c->votes, &c->votes_cap, c->votes_count, sizeof *c->votes);
    c->votes[c->votes_count++] = (struct vote_cast){term, h->id, candidate};
}

static void leads_by_votes(struct host *h) {
    const struct raft *r = &h->replica->core;
    unsigned all = 0, ours = 0;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        if (r->configuration.servers[i].role != RAFT_VOTER) continue;
        all++;
        const struct vote_cast *vote = vote_of(h->c, r->configuration.servers[i].id, r->current_term);
        if (vote != NULL && vote->candidate == h->id) ours++;
    }
    if (2 * ours <= all)
        cluster_red(h->c, "election-quorum", "node %" PRIu64 " leads term %llu with %u of %u votes", h->id,
                    r->current_term, ours, all);
}

static void judge_role(struct host *h) {
    struct cluster *c = h->c;
    const struct raft *r = &h->replica->core;
    bool stands = r->state == RAFT_CANDIDATE && !r->candidate_state.in_pre_vote;
    if (h->seen_candidate && r->state != RAFT_LEADER && !(stands && r->current_term == h->candidate_term))
        c->struck[STRIKE_ELECTION_LOST] = true;
    h->seen_candidate = stands;
    h->candidate_term = r->current_term;
    if (r->state != RAFT_LEADER) return;
    c->leaders = grown(c->leaders, &c->leaders_cap, r->current_term, sizeof *c->leaders);
    unsigned *leader = &c->leaders[r->current_term];
    if (*leader == 0) {
        *leader = (unsigned)h->id;
        c->leader_changes++;
        cluster_note(c, h->id << 8 | 'L', r->current_term, log_last(&r->log), r->commit_index);
        cluster_say(c, h, "leads term %llu, last %llu, commit %llu", r->current_term, log_last(&r->log),
                    r->commit_index);
        leads_by_votes(h);
    }
    if (*leader != h->id)
        cluster_red(c, "two-leaders", "nodes %u and %" PRIu64 " both lead term %llu", *leader, h->id, r->current_term);
}

/* ---- commits ---- */

/* Not over the encoded bytes: the core pads them with whatever is in memory. */
static uint64_t configuration_hash(const struct raft_configuration *conf) {
    uint64_t hash = conf->n;
    for (unsigned i = 0; i < conf->n; i++) {
        const struct raft_server *server = &conf->servers[i];
        const uint64_t words[] = {hash, server->id, (uint64_t)server->role,
                                  hash64_of(server->address, strlen(server->address))};
        hash = hash64_of(words, sizeof words);
    }
    return hash | 1;
}

static void commit_configuration(struct host *h, uint64_t index, const struct raft_entry *entry) {
    struct cluster *c = h->c;
    c->configurations = grown(c->configurations, &c->configurations_cap, index, sizeof *c->configurations);
    if (c->configurations[index] != 0) return;
    struct raft_configuration conf;
    members_decode(&entry->buf, &conf);
    c->configurations[index] = configuration_hash(&conf);
    if (index < c->members_index) {
        raft_configuration_close(&conf);
        return;
    }
    raft_configuration_close(&c->members);
    c->members = conf;
    c->members_index = index;
}

/* Everything a node calls committed has one term on all nodes for ever. */
static void judge_committed(struct host *h) {
    struct cluster *c = h->c;
    const struct raft *r = &h->replica->core;
    for (raft_index i = h->seen_commit + 1; i <= r->commit_index; i++) {
        const struct raft_entry *entry = log_entry(&r->log, i);
        c->committed = grown(c->committed, &c->committed_cap, i, sizeof *c->committed);
        if (entry == NULL) continue; /* inside an installed snapshot */
        if (c->committed[i] == 0) c->committed[i] = entry->term;
        if (c->committed[i] != entry->term) {
            cluster_red(c, "commit-diverged",
                        "node %" PRIu64 " commits entry %llu of term %llu; another committed term %" PRIu64, h->id, i,
                        entry->term, c->committed[i]);
            return;
        }
        if (entry->type == RAFT_CHANGE) commit_configuration(h, i, entry);
    }
}

static unsigned voters_of(const struct raft *r, uint64_t ret[GUARD_MEMBERS_MAX]) {
    unsigned n = 0;
    for (unsigned i = 0; i < r->configuration.n; i++)
        if (r->configuration.servers[i].role == RAFT_VOTER && n < GUARD_MEMBERS_MAX)
            ret[n++] = r->configuration.servers[i].id;
    return n;
}

/* An acknowledgement of what was lost since counts for whoever led when it was given. */
static bool disk_counts(const struct host *leader, const struct host *h, raft_index index, raft_term term) {
    return medium_has(h, index, term) || medium_had(h, index, term, leader->replica->core.current_term);
}

static unsigned disks_with(const struct host *h, raft_index index, raft_term term, const uint64_t *voters, unsigned n) {
    unsigned have = 0;
    for (unsigned i = 0; i < n; i++)
        have += voters[i] <= h->c->host_count && disk_counts(h, &h->c->hosts[voters[i] - 1], index, term);
    return have;
}

/* What a leader has just committed is on the disks of a majority of its voters. Where one step has committed and then
 * changed the configuration, the voters are those of before. */
static void commit_by_disks(struct host *h) {
    const struct raft *r = &h->replica->core;
    raft_term term = log_term(&r->log, r->commit_index);
    uint64_t voters[GUARD_MEMBERS_MAX];
    unsigned all = voters_of(r, voters), have = disks_with(h, r->commit_index, term, voters, all);
    bool changed = r->configuration_uncommitted_index > r->commit_index;
    if (2 * have <= all && changed) {
        all = h->seen_voter_count;
        have = disks_with(h, r->commit_index, term, h->seen_voters, all);
    }
    if (2 * have <= all)
        cluster_red(h->c, "commit-quorum", "node %" PRIu64 " commits entry %llu, which %u of %u voters have on disk",
                    h->id, r->commit_index, have, all);
}

void judge_host(struct host *h) {
    struct cluster *c = h->c;
    const struct raft *r = &h->replica->core;
    if (c->red || h->die_planned || h->replica->guard->dead) return; /* one that ends is judged by its disk */
    if (r->state == RAFT_UNAVAILABLE) cluster_red(c, "unavailable", "node %" PRIu64 ": the core gave up", h->id);
    if (r->current_term < h->seen_term) cluster_red(c, "term", "node %" PRIu64 ": term went back", h->id);
    if (r->commit_index < h->seen_commit) cluster_red(c, "commit", "node %" PRIu64 ": commit index went back", h->id);
    if (r->last_stored > medium_durable(h))
        cluster_red(c, "stored", "node %" PRIu64 ": the core counts entry %llu as stored, the disk has %" PRIu64, h->id,
                    r->last_stored, medium_durable(h));
    if (h->harm == HARM_WIPED && h->replica->pins.admitted)
        cluster_red(c, "admitted", "node %" PRIu64 " was wiped and takes part again under its old id", h->id);
    if (h->catching_up && h->replica->barred == 0 && medium_lacks(h, c->committed, c->committed_cap) == 0) {
        h->catching_up = false;
        c->struck[STRIKE_REINSTALL] = true;
    }
    if (h->sick && h->replica->space_level != REPLICA_SPACE_OK) c->struck[STRIKE_ENOSPC] = true;
    judge_role(h);
    if (r->state == RAFT_LEADER && h->seen_leader && r->current_term == h->seen_term &&
        r->commit_index > h->seen_commit)
        commit_by_disks(h);
    judge_committed(h);
    h->seen_leader = r->state == RAFT_LEADER;
    h->seen_term = r->current_term;
    h->seen_commit = r->commit_index;
    h->seen_voter_count = voters_of(r, h->seen_voters);
}

/* ---- messages ---- */

static void judge_request(struct host *h, const struct raft_append_entries *args) {
    size_t bytes = 0;
    for (unsigned i = 0; i < args->n_entries; i++)
        bytes += args->entries[i].buf.len;
    if (bytes > GUARD_MESSAGE_BYTES && args->n_entries > 1)
        cluster_red(h->c, "oversized", "node %" PRIu64 " sends %zu bytes in one message", h->id, bytes);
    if (args->leader_commit > args->prev_log_index + args->n_entries)
        cluster_red(h->c, "unverified", "node %" PRIu64 " sends commit %llu behind %llu + %u", h->id,
                    args->leader_commit, args->prev_log_index, args->n_entries);
}

/* Whoever says that it has entries has them on its disk, and they are the leader's. */
static void judge_claim(struct host *h, uint64_t to, uint64_t term, uint64_t last) {
    struct cluster *c = h->c;
    if (last > medium_durable(h))
        cluster_red(c, "claim", "node %" PRIu64 " claims entries up to %" PRIu64 ", its disk has %" PRIu64, h->id, last,
                    medium_durable(h));
    if (to == 0 || to > c->host_count || !host_leads(&c->hosts[to - 1])) return;
    const struct raft *leader = &c->hosts[to - 1].replica->core;
    raft_term theirs = log_term(&leader->log, last);
    if (leader->current_term != term || theirs == 0 || medium_has(h, last, theirs)) return;
    cluster_red(c, "claim",
                "node %" PRIu64 " claims entry %" PRIu64 " of term %llu, which its leader has and it has not", h->id,
                last, theirs);
}

void judge_sent(struct host *h, const struct raft_message *m) {
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        judge_request(h, &m->append_entries);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        if (m->append_entries_result.rejected == 0)
            judge_claim(h, m->server_id, m->append_entries_result.term, m->append_entries_result.last_log_index);
        break;
    case RAFT_IO_REQUEST_VOTE:
        judge_claim(h, 0, 0, m->request_vote.last_log_index);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT: {
        const struct raft_request_vote_result *result = &m->request_vote_result;
        if (!result->vote_granted || result->pre_vote != raft_tribool_false) break;
        const struct vote_cast *vote = vote_of(h->c, h->id, result->term);
        if (vote == NULL || vote->candidate != m->server_id)
            cluster_red(h->c, "two-votes", "node %" PRIu64 " grants node %llu a vote of term %llu that it has not cast",
                        h->id, m->server_id, result->term);
        break;
    }
    default:
        break;
    }
}

/* ---- snapshots ---- */

/* A snapshot carries the newest configuration that was committed up to its index, and no other. */
void judge_snapshot(struct host *h, const struct raft_snapshot *s) {
    struct cluster *c = h->c;
    if (h->replica != NULL) judge_committed(h);
    uint64_t newest = 0;
    for (uint64_t i = s->index < c->configurations_cap ? s->index : c->configurations_cap; i > 0 && newest == 0; i--)
        if (i < c->configurations_cap && c->configurations[i] != 0) newest = i;
    if (newest == 0) return;
    if (configuration_hash(&s->configuration) != c->configurations[newest])
        cluster_red(c, "snapshot-config",
                    "node %" PRIu64
                    ": snapshot %llu has the configuration of entry %llu, which is not that of entry %" PRIu64,
                    h->id, s->index, s->configuration_index, newest);
}

/* ---- what is applied ---- */

void judge_command(struct host *h, uint64_t index, uint32_t n, const uint8_t *command, size_t len) {
    if (n == 0) {
        if (index <= h->applied)
            cluster_red(h->c, "order", "node %" PRIu64 " applies entry %" PRIu64 " after %" PRIu64, h->id, index,
                        h->applied);
        h->entry_index = index;
        h->entry_count = 0;
        h->entry_payload = 0;
    }
    if (index != h->entry_index || n != h->entry_count)
        cluster_red(h->c, "order", "node %" PRIu64 " applies %" PRIu64 ".%u, expected %" PRIu64 ".%u", h->id, index, n,
                    h->entry_index, h->entry_count);
    const uint64_t words[] = {h->entry_payload, hash64_of(command, len)};
    h->entry_payload = hash64_of(words, sizeof words);
    h->entry_count++;
}

/* No batch is in the log twice: all commands differ by their times. */
static void judge_once(struct host *h, uint64_t index, uint64_t payload) {
    struct cluster *c = h->c;
    if (2 * c->payloads_count >= c->payloads_cap) {
        size_t cap = c->payloads_cap == 0 ? 4096 : 2 * c->payloads_cap;
        uint64_t *fresh = calloc(2 * cap, sizeof *fresh);
        CHECK(fresh != NULL);
        for (size_t i = 0; i < c->payloads_cap; i++) {
            if (c->payloads[2 * i + 1] == 0) continue;
            size_t at = c->payloads[2 * i] & (cap - 1);
            while (fresh[2 * at + 1] != 0)
                at = (at + 1) & (cap - 1);
            memcpy(&fresh[2 * at], &c->payloads[2 * i], 2 * sizeof *fresh);
        }
        free(c->payloads);
        c->payloads = fresh;
        c->payloads_cap = cap;
    }
    size_t at = payload & (c->payloads_cap - 1);
    while (c->payloads[2 * at + 1] != 0) {
        if (c->payloads[2 * at] == payload) {
            cluster_red(c, "twice", "node %" PRIu64 ": entry %" PRIu64 " is entry %" PRIu64 " once more", h->id, index,
                        c->payloads[2 * at + 1]);
            return;
        }
        at = (at + 1) & (c->payloads_cap - 1);
    }
    c->payloads[2 * at] = payload;
    c->payloads[2 * at + 1] = index;
    c->payloads_count++;
}

static bool same_as_first(const struct host *h, const struct applied *first) {
    return first->payload == h->entry_payload && first->count == h->entry_count &&
           hash128_equal(first->state, state_hash(h->state));
}

void judge_entry(struct host *h, uint64_t index) {
    struct cluster *c = h->c;
    if (c->red) return;
    if (index != h->entry_index) cluster_red(c, "order", "node %" PRIu64 ": entry %" PRIu64 " is empty", h->id, index);
    c->applied = grown(c->applied, &c->applied_cap, index, sizeof *c->applied);
    struct applied *first = &c->applied[index];
    if (first->count == 0) {
        *first = (struct applied){h->entry_payload, state_hash(h->state), 0, h->entry_count};
        if (index > c->applied_max) c->applied_max = index;
        judge_once(h, index, h->entry_payload);
        return;
    }
    if (same_as_first(h, first)) return;
    cluster_red(c, "diverged", "node %" PRIu64 " at entry %" PRIu64 ": %s differ from those of who applied it first",
                h->id, index,
                first->payload != h->entry_payload || first->count != h->entry_count ? "commands"
                                                                                     : "the states behind it");
}

void judge_restored(struct host *h) {
    struct cluster *c = h->c;
    uint64_t index = h->applied;
    if (index == 0 || index >= c->applied_cap || c->applied[index].count == 0) return;
    if (!hash128_equal(c->applied[index].state, state_hash(h->state)))
        cluster_red(c, "diverged", "node %" PRIu64 " restores a snapshot of entry %" PRIu64 " that is another state",
                    h->id, index);
}

void judge_read(struct host *h, uint64_t at_least) {
    struct cluster *c = h->c;
    c->reads_served++;
    c->struck[STRIKE_READ] = true;
    if (h->applied < at_least)
        cluster_red(c, "stale-read",
                    "node %" PRIu64 " reads at entry %" PRIu64 "; entry %" PRIu64 " was acknowledged or read before",
                    h->id, h->applied, at_least);
    if (h->applied > c->read_max) c->read_max = h->applied;
}

void judge_removed(struct host *h) {
    struct cluster *c = h->c;
    for (unsigned i = 0; i < c->members.n; i++)
        if (c->members.servers[i].id == h->id)
            cluster_red(c, "removed", "node %" PRIu64 " ends as removed, entry %" PRIu64 " has it as a member", h->id,
                        c->members_index);
}

/* ---- the end ---- */

void judge_end(struct cluster *c) {
    for (unsigned i = 0; i < c->host_count && !c->red; i++) {
        struct host *h = &c->hosts[i];
        struct err err = {0};
        if (h->counters.trains > 0) c->struck[STRIKE_TRAIN] = true;
        if (!h->up) continue;
        if (guard_counters(h->replica->guard)->trains > 0) c->struck[STRIKE_TRAIN] = true;
        if (state_check(h->state, &err) != 0) cluster_red(c, "state", "node %" PRIu64 ": %s", h->id, err.text);
    }
}

void judge_done(struct cluster *c) {
    free(c->applied);
    free(c->payloads);
    free(c->committed);
    free(c->configurations);
    free(c->leaders);
    free(c->votes);
}

/* SPDX-License-Identifier: Apache-2.0
 * What must hold, judged from outside: nothing here asks the guard. */
#include "sim.h"

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

static void check_leader(struct sim_node *node) {
    struct sim *sim = node->sim;
    const struct raft *r = &node->raft;
    if (r->state != RAFT_LEADER) return;
    sim->leaders = grown(sim->leaders, &sim->leaders_cap, r->current_term, sizeof *sim->leaders);
    unsigned *leader = &sim->leaders[r->current_term];
    if (*leader == 0) {
        *leader = (unsigned)node->id;
        sim_trace(sim, node->id << 16 | 'L' << 8 | 'L', r->current_term, log_last(&r->log), r->commit_index);
    }
    if (*leader != node->id)
        sim_red(sim, "two-leaders", "nodes %u and %llu both lead term %llu", *leader, node->id, r->current_term);
}

/* Everything a node calls committed has one term on all nodes for ever. */
static void check_committed(struct sim_node *node) {
    struct sim *sim = node->sim;
    const struct raft *r = &node->raft;
    for (raft_index i = node->seen_commit + 1; i <= r->commit_index; i++) {
        raft_term term = log_term(&r->log, i);
        sim->committed = grown(sim->committed, &sim->committed_cap, i, sizeof *sim->committed);
        if (term == 0) continue; /* inside an installed snapshot */
        if (sim->committed[i] == 0) sim->committed[i] = term;
        if (sim->committed[i] == term) continue;
        sim_red(sim, "commit-diverged", "node %llu commits entry %llu of term %llu; another committed term %llu",
                node->id, i, term, sim->committed[i]);
        return;
    }
}

void check_node(struct sim_node *node) {
    struct sim *sim = node->sim;
    const struct raft *r = &node->raft;
    if (sim->result.red || node->restart_wanted) return; /* one that is about to restart is judged by its disk */
    if (r->state == RAFT_UNAVAILABLE) sim_red(sim, "unavailable", "node %llu: the core gave up", node->id);
    if (r->current_term < node->seen_term) sim_red(sim, "term", "node %llu: term went back", node->id);
    if (r->commit_index < node->seen_commit) sim_red(sim, "commit", "node %llu: commit index went back", node->id);
    if (r->last_stored > log_durable(node->disk))
        sim_red(sim, "stored", "node %llu: the core counts entry %llu as stored, the disk has %llu", node->id,
                r->last_stored, log_durable(node->disk));
    check_leader(node);
    check_committed(node);
    node->seen_term = r->current_term;
    node->seen_commit = r->commit_index;
}

bool check_apply(struct sim_node *node, uint64_t index, raft_term term, uint64_t payload) {
    struct sim *sim = node->sim;
    sim->applied = grown(sim->applied, &sim->applied_cap, index, sizeof *sim->applied);
    struct sim_applied *first = &sim->applied[index];
    if (first->term == 0) {
        *first = (struct sim_applied){payload, node->hash, term};
        if (index > sim->applied_max) sim->applied_max = index;
        return true;
    }
    if (first->payload == payload && first->chain == node->hash && first->term == term) return true;
    sim_red(sim, "diverged",
            "node %llu applies %" PRIu64 " of term %llu at entry %" PRIu64 ", another applied %" PRIu64 " of term %llu",
            node->id, payload, term, index, first->payload, first->term);
    return false;
}

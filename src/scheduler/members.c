/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/members.h"

#include <stdio.h>
#include <string.h>

#include "scheduler/agents.h"

#define LOOK_MS  200u   /* between two looks at the configuration */
#define SWEEP_MS 10000u /* a record without a member is one that is being added, or one that never came in */

static void address_guess(const char *peer, uint16_t port, char ret[REPLICA_ADDRESS_MAX]) {
    struct address address;
    char text[ADDRESS_TEXT_MAX];
    ret[0] = '\0';
    if (address_parse(peer, 0, 0, &address, NULL) != 0) return;
    address.port = port;
    const char *out = address_format(&address, text);
    if (strlen(out) < REPLICA_ADDRESS_MAX) memcpy(ret, out, strlen(out) + 1);
}

static void text_take(const char *text, char ret[REPLICA_ADDRESS_MAX]) {
    (void)snprintf(ret, REPLICA_ADDRESS_MAX, "%s", text);
}

unsigned members_view(const struct master *m, const struct replica_status *status,
                      struct member_view ret[REPLICA_MEMBERS_MAX]) {
    const struct leader_record *leader = state_leader(m->state);
    for (unsigned i = 0; i < status->peer_count; i++) {
        const struct replica_peer_status *peer = &status->peers[i];
        const struct member_record *record = state_member(m->state, peer->id);
        ret[i].id = peer->id;
        if (peer->id == status->node_id) {
            text_take(m->config->http_advertise, ret[i].http);
            text_take(m->config->link_advertise, ret[i].link);
        } else if (leader->index && leader->node == peer->id) {
            text_take(leader->http, ret[i].http);
            text_take(leader->link, ret[i].link);
        } else if (record) {
            text_take(record->http, ret[i].http);
            text_take(record->link, ret[i].link);
        } else {
            address_guess(peer->address, m->config->http_listen.port, ret[i].http);
            address_guess(peer->address, m->config->link_listen.port, ret[i].link);
        }
    }
    return status->peer_count;
}

size_t members_links(const struct master *m, struct member_view views[REPLICA_MEMBERS_MAX],
                     char *ret[REPLICA_MEMBERS_MAX]) {
    struct replica_status status;
    size_t n = 0;
    replica_status(m->replica, &status);
    unsigned count = members_view(m, &status, views);
    for (unsigned i = 0; i < count; i++)
        if (views[i].link[0]) ret[n++] = views[i].link;
    return n;
}

static bool is_member(const struct replica_status *status, uint64_t id) {
    for (unsigned i = 0; i < status->peer_count; i++)
        if (status->peers[i].id == id) return true;
    return false;
}

static void sweep(struct master *m, const struct replica_status *status) {
    const struct member_record *record;
    for (uint32_t i = 0; (record = state_member_nth(m->state, i)); i++) {
        if (is_member(status, record->id)) continue;
        Conclave__Log__MemberRemove body = CONCLAVE__LOG__MEMBER_REMOVE__INIT;
        Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
        body.id = record->id;
        command.member_remove = &body;
        (void)master_propose(m, &command, NULL, NULL); /* again at the next sweep, if it was refused */
    }
}

void members_tick(struct master *m, uint64_t now_ms) {
    struct replica_status status;
    if (now_ms < m->members_look_ms) return;
    m->members_look_ms = now_ms + LOOK_MS;
    replica_status(m->replica, &status);
    if (status.configuration_index != m->members_told) {
        m->members_told = status.configuration_index;
        agents_members_changed(m->agents);
        m->members_sweep_ms = now_ms + SWEEP_MS;
    }
    if (now_ms < m->members_sweep_ms || status.change_ms >= 0 || m->member_call) return;
    m->members_sweep_ms = now_ms + SWEEP_MS;
    sweep(m, &status);
}

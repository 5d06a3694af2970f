/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/peer_members.h"

#include <string.h>

#define HEAD_BYTES   9u  /* index, count */
#define MEMBER_BYTES 10u /* id, role, length */
#define SERVER_BYTES 11u /* id, an address of one byte, its end, role */

bool peer_members_from(const struct raft_configuration *configuration, uint64_t index, struct peer_members *ret) {
    ret->index = 0;
    ret->n = 0;
    if (configuration->n == 0 || configuration->n > PEER_CONFIGURATION_MAX) return false;
    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        size_t len = strlen(server->address);
        if (len == 0 || len >= PEER_ADDRESS_MAX) return false;
        ret->items[i].id = server->id;
        ret->items[i].role = server->role;
        memcpy(ret->items[i].address, server->address, len + 1);
    }
    ret->index = index;
    ret->n = configuration->n;
    return true;
}

/* Reads one server of an entry at `data`; returns its length, or 0. */
static size_t server_decode(const uint8_t *data, size_t left, struct peer_member *ret) {
    if (left < SERVER_BYTES) return 0;
    const uint8_t *address = data + 8, *end = memchr(address, 0, left - 9);
    size_t len = end ? (size_t)(end - address) : 0;
    if (len == 0 || len >= PEER_ADDRESS_MAX) return 0;
    ret->id = load_u64(data);
    ret->role = end[1];
    memcpy(ret->address, address, len + 1);
    return ret->id == 0 || ret->id >= PEER_NUMBER_MAX || ret->role > RAFT_SPARE ? 0 : 8 + len + 2;
}

bool peer_members_from_entry(const uint8_t *data, size_t len, uint64_t index, struct peer_members *ret) {
    struct peer_members members = {.index = index};
    uint64_t n = len < HEAD_BYTES || data[0] != 1 ? 0 : load_u64(data + 1);
    size_t at = HEAD_BYTES;
    if (n == 0 || n > PEER_CONFIGURATION_MAX) return false;
    while (members.n < n) {
        size_t took = server_decode(data + at, len - at, &members.items[members.n]);
        if (took == 0 || peer_members_find(&members, members.items[members.n].id)) return false;
        at += took;
        members.n++;
    }
    if (len - at >= 8) return false;
    *ret = members;
    return true;
}

const struct peer_member *peer_members_find(const struct peer_members *members, uint64_t id) {
    for (unsigned i = 0; i < members->n; i++)
        if (members->items[i].id == id) return &members->items[i];
    return NULL;
}

void peer_members_encode(const struct peer_members *members, struct buf *ret) {
    buf_append_u64(ret, members->index);
    buf_append_byte(ret, (uint8_t)members->n);
    for (unsigned i = 0; i < members->n; i++) {
        const struct peer_member *m = &members->items[i];
        size_t len = strlen(m->address);
        buf_append_u64(ret, m->id);
        buf_append_byte(ret, (uint8_t)m->role);
        buf_append_byte(ret, (uint8_t)len);
        buf_append(ret, m->address, len);
    }
}

/* Reads one member at `data`; returns its length, or 0. */
static size_t member_decode(const uint8_t *data, size_t left, struct peer_member *ret) {
    if (left < MEMBER_BYTES) return 0;
    size_t len = data[9];
    ret->id = load_u64(data);
    ret->role = data[8];
    if (ret->id == 0 || ret->id >= PEER_NUMBER_MAX || ret->role > RAFT_SPARE) return 0;
    if (len == 0 || len >= PEER_ADDRESS_MAX || len > left - MEMBER_BYTES || memchr(data + MEMBER_BYTES, 0, len))
        return 0;
    memcpy(ret->address, data + MEMBER_BYTES, len);
    ret->address[len] = '\0';
    return MEMBER_BYTES + len;
}

int peer_members_decode(const uint8_t *data, size_t len, struct peer_members *ret) {
    struct peer_members members;
    if (len < HEAD_BYTES) return ERR_PARSE;
    members.index = load_u64(data);
    members.n = 0;
    unsigned n = data[8];
    size_t at = HEAD_BYTES;
    if (members.index == 0 || members.index >= PEER_NUMBER_MAX || n == 0 || n > PEER_CONFIGURATION_MAX)
        return ERR_PARSE;
    while (members.n < n) {
        size_t took = member_decode(data + at, len - at, &members.items[members.n]);
        if (took == 0 || peer_members_find(&members, members.items[members.n].id)) return ERR_PARSE;
        at += took;
        members.n++;
    }
    if (at != len) return ERR_PARSE;
    ret->index = members.index;
    ret->n = n;
    memcpy(ret->items, members.items, n * sizeof *ret->items);
    return 0;
}

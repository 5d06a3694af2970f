/* SPDX-License-Identifier: Apache-2.0
 * Who the members are, as one master tells another before its hello: the payload of a MEMBERS frame. Pure codec.
 *
 * A member that was away while others were added knows nothing of them, and would refuse them as strangers: then nobody
 * could bring it up to date. So whoever dials shows the newest committed configuration it has. It is believed if it is
 * newer than the receiver's own and names them both; a node that was removed, or never was a member, has none such to
 * show. (Who may use an id at all is settled by TLS, not here.)
 *
 * Payload: u64 index of the configuration's entry, u8 count (1..PEER_CONFIGURATION_MAX), then for each server u64 id,
 * u8 role, u8 length of its address, the address. Ids are not 0 and differ. */
#ifndef CONCLAVE_CONSENSUS_PEER_MEMBERS_H
#define CONCLAVE_CONSENSUS_PEER_MEMBERS_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "consensus/peer_codec.h"

struct peer_member {
    uint64_t id;
    int role; /* RAFT_VOTER, RAFT_STANDBY, RAFT_SPARE */
    char address[PEER_ADDRESS_MAX];
};

struct peer_members {
    uint64_t index; /* of the entry; 0: nothing is known */
    unsigned n;
    struct peer_member items[PEER_CONFIGURATION_MAX];
};

/* False, and *ret is empty, if the configuration is over a bound. */
bool peer_members_from(const struct raft_configuration *configuration, uint64_t index, struct peer_members *ret);
/* The same of a configuration entry's data, as the core writes them: 1, u64 count, count times {u64 id, terminated
 * address, u8 role}, then up to 7 bytes of padding. False, and *ret is untouched, unless it is one of these bounds. */
bool peer_members_from_entry(const uint8_t *data, size_t len, uint64_t index, struct peer_members *ret);
const struct peer_member *peer_members_find(const struct peer_members *members, uint64_t id); /* or NULL */

/* Appends the payload; `members` has at least one. */
void peer_members_encode(const struct peer_members *members, struct buf *ret);
/* ERR_PARSE, and *ret is untouched, unless the bytes are exactly one such payload. */
int peer_members_decode(const uint8_t *data, size_t len, struct peer_members *ret);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * Bytes from another master, before they reach the core: whatever can be read must give the same bytes when written. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "consensus/peer_codec.h"
#include "consensus/peer_members.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct peer_hello hello;
    if (peer_hello_decode(data, size, &hello) == 0) {
        uint8_t again[PEER_HELLO_BYTES];
        peer_hello_encode(&hello, again);
        CHECK(memcmp(again, data, sizeof again) == 0); /* what a later program says behind it is not read */
    }
    struct peer_vitals vitals;
    uint64_t number;
    if (peer_ping_decode(data, size, &number, &vitals) == 0) {
        uint8_t again[PEER_PING_BYTES];
        peer_ping_encode(number, &vitals, again);
        CHECK(memcmp(again, data, PEER_PING_LEAST) == 0);
        CHECK(size < sizeof again ? vitals.standing == 0 : memcmp(again, data, PEER_PING_LEAST + 4) == 0);
    }
    static struct peer_members members;
    if (peer_members_decode(data, size, &members) == 0) {
        struct buf again;
        buf_init(&again, PEER_MESSAGE_MAX);
        peer_members_encode(&members, &again);
        CHECK(again.len == size && memcmp(again.data, data, size) == 0);
        buf_done(&again);
    }
    if (peer_members_from_entry(data, size, 1, &members)) {
        CHECK(members.n >= 1 && members.n <= PEER_CONFIGURATION_MAX);
        for (unsigned i = 0; i < members.n; i++)
            CHECK(members.items[i].address[0] && peer_members_find(&members, members.items[i].id) == &members.items[i]);
    }
    struct raft_message message;
    if (peer_message_decode(data, size, &message) != 0) return 0;
    struct buf again;
    buf_init(&again, PEER_MESSAGE_MAX);
    CHECK(peer_message_encode(&message, &again) == 0);
    CHECK(again.len == size && memcmp(again.data, data, size) == 0);
    buf_done(&again);
    peer_message_free(&message);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/new_life.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "consensus/replica.h"
#include "net/address.h"

#define PEER_PORT       5060
#define STATE_BYTES_MAX ((size_t)1 << 30)

int life_of(const struct state *state, uint64_t index, uint64_t term, struct life *life, struct err *err) {
    uint32_t now = state_incarnation(state);
    if (life->incarnation == 0 && now < UINT32_MAX) life->incarnation = now + 1;
    if (life->incarnation <= now)
        return err_set(err, ERR_INVALID, "the incarnation must be higher than %" PRIu32 ", that of the state", now);
    uint64_t steps = life->incarnation - now;
    if (steps > LIFE_NUMBER_MAX / LIFE_INDEX_STEP || index > LIFE_NUMBER_MAX - steps * LIFE_INDEX_STEP ||
        term > LIFE_NUMBER_MAX - steps * LIFE_TERM_STEP)
        return err_set(err, ERR_LIMIT, "no entry of the log is left for incarnation %" PRIu32, life->incarnation);
    life->index = index + steps * LIFE_INDEX_STEP;
    life->term = term + steps * LIFE_TERM_STEP;
    return 0;
}

static bool member_stays(void *ctx, uint64_t id, const char *peer) {
    const struct archive *made = ctx;
    for (unsigned i = 0; i < made->member_count; i++)
        if (made->members[i].id == id && !strcmp(made->members[i].address, peer)) return true;
    return false;
}

int life_begin(struct state *state, const struct life *life, const struct archive_member *members, unsigned count,
               struct archive *ret, struct err *err) {
    struct archive made = {.index = life->index, .term = life->term, .conf_index = life->index, .member_count = count};
    struct buf bytes;
    uint64_t highest = 0;
    for (unsigned i = 0; i < count; i++) {
        made.members[i] = members[i];
        made.members[i].voter = true;
        if (members[i].id > highest) highest = members[i].id;
    }
    state_begin_life(state, life->incarnation, life->index);
    state_begin_members(state, member_stays, &made, highest);
    int rc = state_check(state, err);
    if (rc) return rc;
    buf_init(&bytes, STATE_BYTES_MAX);
    rc = state_snapshot(state, &bytes);
    if (rc) {
        buf_done(&bytes);
        return err_set(err, rc, "the state is too large for a snapshot, or memory is short");
    }
    made.state = buf_take(&bytes, &made.state_len);
    *ret = made;
    return 0;
}

static int member_parse(const char *part, size_t len, struct archive_member *ret, struct err *err) {
    char text[256], out[ADDRESS_TEXT_MAX], *end = NULL;
    struct address address;
    if (len >= sizeof text) return err_set(err, ERR_INVALID, "--peers: an address is too long");
    memcpy(text, part, len);
    text[len] = '\0';
    char *equals = strchr(text, '=');
    unsigned long long id = equals && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (!equals || end != equals || id == 0 || id > STATE_MEMBER_ID_MAX)
        return err_set(err, ERR_INVALID, "--peers: wants ID=HOST[:PORT],..., has '%.60s'", text);
    int rc = address_parse(equals + 1, PEER_PORT, 0, &address, err);
    if (rc) return err_wrap(err, "--peers");
    if (strlen(address_format(&address, out)) >= sizeof ret->address)
        return err_set(err, ERR_INVALID, "--peers: an address is too long");
    *ret = (struct archive_member){.id = id, .voter = true};
    memcpy(ret->address, out, strlen(out) + 1);
    return 0;
}

int members_parse(const char *text, struct archive_member ret[ARCHIVE_MEMBERS_MAX], unsigned *ret_count,
                  struct err *err) {
    unsigned n = 0;
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        if (n == REPLICA_MEMBERS_MAX)
            return err_set(err, ERR_INVALID, "--peers: more than %d masters", REPLICA_MEMBERS_MAX);
        int rc = member_parse(at, len, &ret[n], err);
        if (rc) return rc;
        for (unsigned i = 0; i < n; i++)
            if (ret[i].id == ret[n].id || !strcmp(ret[i].address, ret[n].address))
                return err_set(err, ERR_INVALID, "--peers: an id or an address stands twice");
        n++;
        at += len;
        if (!*at) break;
    }
    *ret_count = n;
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * See peer_codec.h. The reader is a cursor that remembers having failed, so each decoder is a straight list of fields
 * with one test at its end. */
#include "consensus/peer_codec.h"

#include <stdbool.h>
#include <string.h>

#include "base/check.h"
#include "consensus/guard.h"

#define ENTRY_HEAD_BYTES 13u /* term, type, length */

const char *peer_refusal_text(uint32_t refusal) {
    switch (refusal) {
#define PEER_REFUSAL_CASE(name, value, text)                                                                           \
    case (value):                                                                                                      \
        return text;
        PEER_REFUSALS(PEER_REFUSAL_CASE)
#undef PEER_REFUSAL_CASE
    default:
        return "unknown reason";
    }
}

void peer_hello_encode(const struct peer_hello *hello, uint8_t ret[PEER_HELLO_BYTES]) {
    store_u32(ret, hello->protocol);
    store_u32(ret + 4, hello->stream);
    memcpy(ret + 8, hello->cluster_id, 16);
    store_u64(ret + 24, hello->from);
    store_u64(ret + 32, hello->to);
    store_u64(ret + 40, hello->nonce);
    store_u32(ret + 48, hello->program_level);
    size_t len = strnlen(hello->program_version, PEER_VERSION_BYTES - 1);
    memset(ret + 52, 0, PEER_VERSION_BYTES);
    memcpy(ret + 52, hello->program_version, len);
    store_u64(ret + 72, hello->folder);
}

int peer_hello_decode(const uint8_t *data, size_t len, struct peer_hello *ret) {
    if (len < PEER_HELLO_BYTES || len > PEER_HELLO_MAX) return ERR_PARSE;
    const char *version = (const char *)data + 52;
    size_t version_len = strnlen(version, PEER_VERSION_BYTES);
    if (version_len == PEER_VERSION_BYTES) return ERR_PARSE;
    for (size_t i = 0; i < PEER_VERSION_BYTES; i++) {
        bool text = version[i] > ' ' && version[i] <= '~';
        if (i < version_len ? !text : version[i] != '\0') return ERR_PARSE;
    }
    ret->protocol = load_u32(data);
    ret->stream = load_u32(data + 4);
    memcpy(ret->cluster_id, data + 8, 16);
    ret->from = load_u64(data + 24);
    ret->to = load_u64(data + 32);
    ret->nonce = load_u64(data + 40);
    ret->program_level = load_u32(data + 48);
    memset(ret->program_version, 0, sizeof ret->program_version);
    memcpy(ret->program_version, version, version_len);
    ret->folder = load_u64(data + 72);
    return 0;
}

void peer_ping_encode(uint64_t number, const struct peer_vitals *vitals, uint8_t ret[PEER_PING_BYTES]) {
    store_u64(ret, number);
    store_u32(ret + 8, vitals->space);
    store_u32(ret + 12, vitals->hash_kind);
    store_u64(ret + 16, vitals->free_bytes);
    for (unsigned i = 0; i < PEER_MARKS; i++) {
        store_u64(ret + 24 + 24 * i, vitals->marks[i].index);
        memcpy(ret + 32 + 24 * i, vitals->marks[i].hash, 16);
    }
    store_u32(ret + PEER_PING_LEAST, vitals->standing);
    store_u32(ret + PEER_PING_LEAST + 4, 0);
}

int peer_ping_decode(const uint8_t *data, size_t len, uint64_t *ret_number, struct peer_vitals *ret) {
    if (len < PEER_PING_LEAST || len > PEER_PING_MAX) return ERR_PARSE;
    *ret_number = load_u64(data);
    ret->space = load_u32(data + 8);
    ret->hash_kind = load_u32(data + 12);
    ret->free_bytes = load_u64(data + 16);
    for (unsigned i = 0; i < PEER_MARKS; i++) {
        ret->marks[i].index = load_u64(data + 24 + 24 * i);
        memcpy(ret->marks[i].hash, data + 32 + 24 * i, 16);
    }
    ret->standing = len < PEER_PING_BYTES ? 0 : load_u32(data + PEER_PING_LEAST);
    return 0;
}

/* Writing. */

static void put_append_entries(struct buf *b, const struct raft_append_entries *m) {
    buf_append_u64(b, m->term);
    buf_append_u64(b, m->prev_log_index);
    buf_append_u64(b, m->prev_log_term);
    buf_append_u64(b, m->leader_commit);
    buf_append_u32(b, m->n_entries);
    for (unsigned i = 0; i < m->n_entries; i++) {
        buf_append_u64(b, m->entries[i].term);
        buf_append_byte(b, (uint8_t)m->entries[i].type);
        buf_append_u32(b, (uint32_t)m->entries[i].buf.len);
    }
    for (unsigned i = 0; i < m->n_entries; i++)
        buf_append(b, m->entries[i].buf.base, m->entries[i].buf.len);
}

static int put_install(struct buf *b, const struct raft_install_snapshot *m) {
    if (m->conf.n > PEER_CONFIGURATION_MAX || m->data.len > PEER_SNAPSHOT_MAX) return ERR_INVALID;
    buf_append_u64(b, m->term);
    buf_append_u64(b, m->last_index);
    buf_append_u64(b, m->last_term);
    buf_append_u64(b, m->conf_index);
    buf_append_u64(b, m->data.len);
    buf_append_byte(b, (uint8_t)m->conf.n);
    for (unsigned i = 0; i < m->conf.n; i++) {
        const struct raft_server *server = &m->conf.servers[i];
        size_t len = strlen(server->address);
        if (len == 0 || len >= PEER_ADDRESS_MAX) return ERR_INVALID;
        buf_append_u64(b, server->id);
        buf_append_byte(b, (uint8_t)server->role);
        buf_append_byte(b, (uint8_t)len);
        buf_append(b, server->address, len);
    }
    return 0;
}

static int put_message(struct buf *b, const struct raft_message *m) {
    buf_append_byte(b, (uint8_t)m->type);
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        put_append_entries(b, &m->append_entries);
        return 0;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        buf_append_u64(b, m->append_entries_result.term);
        buf_append_u64(b, m->append_entries_result.rejected);
        buf_append_u64(b, m->append_entries_result.last_log_index);
        return 0;
    case RAFT_IO_REQUEST_VOTE:
        buf_append_u64(b, m->request_vote.term);
        buf_append_u64(b, m->request_vote.candidate_id);
        buf_append_u64(b, m->request_vote.last_log_index);
        buf_append_u64(b, m->request_vote.last_log_term);
        buf_append_byte(b, m->request_vote.disrupt_leader);
        buf_append_byte(b, m->request_vote.pre_vote);
        return 0;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        buf_append_u64(b, m->request_vote_result.term);
        buf_append_byte(b, m->request_vote_result.vote_granted);
        buf_append_byte(b, (uint8_t)m->request_vote_result.pre_vote);
        return 0;
    case RAFT_IO_INSTALL_SNAPSHOT:
        return put_install(b, &m->install_snapshot);
    case RAFT_IO_TIMEOUT_NOW:
    case GUARD_IO_PROBE:
    case GUARD_IO_PROBE_RESULT:
    case GUARD_IO_READ:
    case GUARD_IO_READ_RESULT:
        buf_append_u64(b, m->timeout_now.term);
        buf_append_u64(b, m->timeout_now.last_log_index);
        buf_append_u64(b, m->timeout_now.last_log_term);
        return 0;
    default:
        return ERR_INVALID;
    }
}

int peer_message_encode(const struct raft_message *message, struct buf *ret) {
    size_t before = ret->len;
    int rv = put_message(ret, message);
    if (rv == 0 && (ret->failed || ret->len - before > PEER_MESSAGE_MAX)) rv = ERR_LIMIT;
    if (rv == 0) return 0;
    ret->len = before;
    ret->failed = false;
    return rv;
}

/* Reading. */

struct cursor {
    const uint8_t *at;
    size_t left;
    bool bad; /* something was not as it must be; reads give 0 from then on */
};

static const uint8_t *take(struct cursor *c, size_t len) {
    if (c->bad || c->left < len) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *p = c->at;
    c->at += len;
    c->left -= len;
    return p;
}

static uint64_t get_u64(struct cursor *c) {
    const uint8_t *p = take(c, 8);
    return p ? load_u64(p) : 0;
}

/* A term or an index. */
static uint64_t get_number(struct cursor *c) {
    uint64_t v = get_u64(c);
    if (v >= PEER_NUMBER_MAX) c->bad = true;
    return v;
}

static uint32_t get_u32(struct cursor *c) {
    const uint8_t *p = take(c, 4);
    return p ? load_u32(p) : 0;
}

/* A byte of 0..max. */
static uint8_t get_byte(struct cursor *c, uint8_t max) {
    const uint8_t *p = take(c, 1);
    if (p && *p > max) c->bad = true;
    return p ? *p : 0;
}

/* The core decodes a configuration entry without looking at its bounds, so the bytes are walked here first: u8 format
 * 1, u64 count, count times {u64 id, terminated address, u8 role}, then up to 7 bytes of any content (the core leaves
 * its padding uninitialised). */
static bool configuration_entry_ok(const uint8_t *data, size_t len) {
    struct cursor c = {data, len, false};
    if (get_byte(&c, 1) != 1) return false;
    uint64_t n = get_u64(&c);
    if (n == 0 || n > PEER_CONFIGURATION_MAX) return false;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t id = get_number(&c);
        const uint8_t *end = c.bad ? NULL : memchr(c.at, 0, c.left);
        if (id == 0 || end == NULL || end == c.at || (size_t)(end - c.at) >= PEER_ADDRESS_MAX) return false;
        take(&c, (size_t)(end - c.at) + 1);
        get_byte(&c, RAFT_SPARE);
    }
    return !c.bad && c.left < 8;
}

/* Fills the entries from their heads and the data behind them, both already measured. */
static bool fill_entries(struct cursor *heads, const uint8_t *data, struct raft_entry *entries, unsigned n,
                         uint8_t *batch) {
    for (unsigned i = 0; i < n; i++) {
        struct raft_entry *e = &entries[i];
        e->term = get_number(heads);
        e->type = get_byte(heads, RAFT_CHANGE);
        e->buf.len = get_u32(heads);
        e->buf.base = batch;
        e->batch = entries[0].buf.base;
        if (heads->bad || e->term == 0 || e->type < RAFT_COMMAND) return false;
        memcpy(batch, data, e->buf.len);
        if (e->type == RAFT_CHANGE && !configuration_entry_ok(batch, e->buf.len)) return false;
        batch += e->buf.len;
        data += e->buf.len;
    }
    return true;
}

static int get_entries(struct cursor *c, unsigned n, struct raft_append_entries *ret) {
    if (c->bad || n > c->left / ENTRY_HEAD_BYTES) return ERR_PARSE;
    struct cursor heads = {c->at, n * (size_t)ENTRY_HEAD_BYTES, false};
    take(c, heads.left);
    size_t total = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t len = load_u32(heads.at + i * (size_t)ENTRY_HEAD_BYTES + 9);
        if (len == 0 || len % 8 != 0 || len > c->left - total) return ERR_PARSE;
        total += len;
    }
    if (total != c->left) return ERR_PARSE;
    struct raft_entry *entries = raft_malloc(n * sizeof *entries);
    uint8_t *batch = raft_malloc(total);
    int rv = entries && batch ? 0 : ERR_NOMEM;
    if (rv == 0 && !fill_entries(&heads, c->at, entries, n, batch)) rv = ERR_PARSE;
    if (rv != 0) {
        raft_free(batch);
        raft_free(entries);
        return rv;
    }
    take(c, total);
    ret->entries = entries;
    ret->n_entries = n;
    return 0;
}

static int get_append_entries(struct cursor *c, struct raft_append_entries *ret) {
    ret->term = get_number(c);
    ret->prev_log_index = get_number(c);
    ret->prev_log_term = get_number(c);
    ret->leader_commit = get_number(c);
    uint32_t n = get_u32(c);
    ret->entries = NULL;
    ret->n_entries = 0;
    if (c->bad) return ERR_PARSE;
    return n == 0 ? 0 : get_entries(c, n, ret);
}

static int get_configuration(struct cursor *c, struct raft_configuration *ret) {
    raft_configuration_init(ret);
    unsigned n = get_byte(c, PEER_CONFIGURATION_MAX);
    for (unsigned i = 0; i < n && !c->bad; i++) {
        uint64_t id = get_number(c);
        int role = get_byte(c, RAFT_SPARE);
        size_t len = get_byte(c, PEER_ADDRESS_MAX - 1);
        const uint8_t *text = take(c, len);
        if (text == NULL || len == 0 || id == 0 || memchr(text, 0, len)) {
            c->bad = true;
            break;
        }
        char address[PEER_ADDRESS_MAX];
        memcpy(address, text, len);
        address[len] = 0;
        int rv = raft_configuration_add(ret, id, address, role);
        if (rv == RAFT_NOMEM) return ERR_NOMEM;
        if (rv != 0) c->bad = true;
    }
    return c->bad || n == 0 ? ERR_PARSE : 0;
}

static int get_install(struct cursor *c, struct raft_install_snapshot *ret) {
    ret->term = get_number(c);
    ret->last_index = get_number(c);
    ret->last_term = get_number(c);
    ret->conf_index = get_number(c);
    ret->data.len = get_u64(c);
    ret->data.base = NULL;
    if (c->bad || ret->data.len > PEER_SNAPSHOT_MAX || ret->last_index == 0 || ret->last_term == 0) return ERR_PARSE;
    int rv = get_configuration(c, &ret->conf);
    if (rv == 0 && c->left > 0) rv = ERR_PARSE;
    if (rv != 0) raft_configuration_close(&ret->conf);
    return rv;
}

static int get_message(struct cursor *c, struct raft_message *m) {
    m->type = get_byte(c, GUARD_IO_READ_RESULT);
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return get_append_entries(c, &m->append_entries);
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        m->append_entries_result.term = get_number(c);
        m->append_entries_result.rejected = get_number(c);
        m->append_entries_result.last_log_index = get_number(c);
        return 0;
    case RAFT_IO_REQUEST_VOTE:
        m->request_vote.term = get_number(c);
        m->request_vote.candidate_id = get_number(c);
        m->request_vote.last_log_index = get_number(c);
        m->request_vote.last_log_term = get_number(c);
        m->request_vote.disrupt_leader = get_byte(c, 1);
        m->request_vote.pre_vote = get_byte(c, 1);
        return 0;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        m->request_vote_result.term = get_number(c);
        m->request_vote_result.vote_granted = get_byte(c, 1);
        m->request_vote_result.pre_vote = get_byte(c, raft_tribool_false);
        return 0;
    case RAFT_IO_INSTALL_SNAPSHOT:
        return get_install(c, &m->install_snapshot);
    case RAFT_IO_TIMEOUT_NOW:
    case GUARD_IO_PROBE:
    case GUARD_IO_PROBE_RESULT:
    case GUARD_IO_READ:
    case GUARD_IO_READ_RESULT:
        m->timeout_now.term = get_number(c);
        m->timeout_now.last_log_index = get_number(c);
        m->timeout_now.last_log_term = get_number(c);
        return 0;
    default:
        return ERR_PARSE;
    }
}

int peer_message_decode(const uint8_t *data, size_t len, struct raft_message *ret) {
    if (len > PEER_MESSAGE_MAX) return ERR_PARSE;
    struct cursor c = {data, len, false};
    struct raft_message message;
    memset(&message, 0, sizeof message);
    int rv = get_message(&c, &message);
    if (rv != 0) return rv; /* nothing is held: the decoders with memory release it themselves */
    if (c.bad || c.left > 0) {
        peer_message_free(&message);
        return ERR_PARSE;
    }
    *ret = message;
    return 0;
}

void peer_message_free(struct raft_message *message) {
    if (message->type == RAFT_IO_APPEND_ENTRIES) {
        struct raft_append_entries *m = &message->append_entries;
        if (m->n_entries > 0) raft_free(m->entries[0].batch);
        raft_free(m->entries);
        m->entries = NULL;
        m->n_entries = 0;
    } else if (message->type == RAFT_IO_INSTALL_SNAPSHOT) {
        raft_configuration_close(&message->install_snapshot.conf);
        raft_free(message->install_snapshot.data.base);
        message->install_snapshot.data.base = NULL;
    }
}

/* SPDX-License-Identifier: Apache-2.0
 * Reading snapshot files from a disk, through the decoder. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "consensus/snapshot_file.h"
#include "consensus/snapshot_format.h"

#define PIECE (1u << 20)

static int cut_short(const char *name, uint64_t offset, struct fault *ret_fault, struct err *err) {
    fault_set(ret_fault, name, offset, "snapshot", fault_remedy_replace, "%s", "the file ends too early");
    return fault_err(ret_fault, err);
}

/* Bytes [from, to) of the file into the decoder. */
static int feed(struct disk *disk, const char *name, struct snapshot_decoder *d, uint64_t from, uint64_t to,
                struct fault *ret_fault, struct err *err) {
    uint8_t *piece = malloc(PIECE);
    if (!piece) return err_set(err, ERR_NOMEM, "no memory to read a snapshot");
    int rv = 0;
    while (rv == 0 && from < to) {
        size_t n = to - from < PIECE ? (size_t)(to - from) : PIECE, got = 0;
        rv = disk_read(disk, name, from, piece, n, &got, err);
        if (rv == 0 && got != n) rv = cut_short(name, from, ret_fault, err);
        if (rv == 0) rv = snapshot_decoder_data(d, piece, n, ret_fault, err);
        from += n;
    }
    free(piece);
    return rv;
}

int snapshot_load(struct disk *disk, const uint8_t cluster_id[16], const struct snapshot_id *id,
                  const struct snapshot_sink *sink, struct raft_snapshot **ret, struct fault *ret_fault,
                  struct err *err) {
    char name[DISK_NAME_MAX];
    uint64_t size = 0;
    struct snapshot_decoder *d = NULL;
    snapshot_name(id, name);
    int rv = disk_size(disk, name, &size, err);
    if (rv == 0) rv = snapshot_decoder_new(cluster_id, id, name, size, sink, &d, err);
    if (rv == 0) rv = feed(disk, name, d, 0, size, ret_fault, err);
    if (rv == 0) rv = snapshot_decoder_end(d, ret, ret_fault, err);
    snapshot_decoder_free(d);
    return rv;
}

/* ---- the ends of it ---- */

static int footer_read(struct disk *disk, const char *name, uint64_t size, struct snapshot_footer *ret,
                       struct fault *ret_fault, struct err *err) {
    uint8_t bytes[SNAPSHOT_FOOTER_SIZE];
    size_t got = 0;
    if (size < SNAPSHOT_HEADER_SIZE + SNAPSHOT_FOOTER_SIZE) return cut_short(name, size, ret_fault, err);
    uint64_t at = size - SNAPSHOT_FOOTER_SIZE;
    int rv = disk_read(disk, name, at, bytes, sizeof bytes, &got, err);
    if (rv != 0) return rv;
    if (got == sizeof bytes && snapshot_footer_decode(bytes, ret) && ret->file_size == size) return 0;
    fault_set(ret_fault, name, at, "snapshot", fault_remedy_replace, "%s", "the footer is damaged");
    return fault_err(ret_fault, err);
}

int snapshot_head(struct disk *disk, const uint8_t cluster_id[16], const struct snapshot_id *id,
                  struct raft_snapshot **ret, struct fault *ret_fault, struct err *err) {
    char name[DISK_NAME_MAX];
    uint64_t size = 0;
    struct snapshot_footer footer = {0};
    struct snapshot_decoder *d = NULL;
    snapshot_name(id, name);
    int rv = disk_size(disk, name, &size, err);
    if (rv == 0) rv = footer_read(disk, name, size, &footer, ret_fault, err);
    if (rv == 0) rv = snapshot_decoder_new(cluster_id, id, name, size, NULL, &d, err);
    for (uint64_t at = 0; rv == 0 && snapshot_decoder_need(d) > 0;) {
        size_t n = snapshot_decoder_need(d);
        rv = feed(disk, name, d, at, at + n, ret_fault, err);
        at += n;
    }
    if (rv == 0) rv = snapshot_decoder_result(d, &footer, ret, ret_fault, err);
    snapshot_decoder_free(d);
    return rv;
}

/* ---- into memory ---- */

struct memory {
    uint8_t *state;
    size_t len, cap;
};

static int memory_data(void *ctx, const uint8_t *data, size_t len, struct err *err) {
    struct memory *m = ctx;
    if (len > SNAPSHOT_MEMORY_MAX - m->len) return err_set(err, ERR_LIMIT, "a state that is too large for memory");
    if (m->len + len > m->cap) {
        size_t cap = m->cap * 2 > m->len + len ? m->cap * 2 : m->len + len;
        uint8_t *grown = raft_realloc(m->state, cap);
        if (!grown) return err_set(err, ERR_NOMEM, "no memory to read a snapshot");
        m->state = grown;
        m->cap = cap;
    }
    memcpy(m->state + m->len, data, len);
    m->len += len;
    return 0;
}

int snapshot_read(struct disk *disk, const uint8_t cluster_id[16], const struct snapshot_id *id,
                  struct raft_snapshot **ret, struct fault *ret_fault, struct err *err) {
    struct memory m = {0};
    struct snapshot_sink sink = {.data = memory_data, .ctx = &m};
    struct raft_snapshot *made = NULL;
    if (!ret) return snapshot_load(disk, cluster_id, id, NULL, NULL, ret_fault, err);
    int rv = snapshot_load(disk, cluster_id, id, &sink, &made, ret_fault, err);
    if (rv == 0 && !m.state) m.state = raft_malloc(1);
    if (rv == 0 && !m.state) rv = err_set(err, ERR_NOMEM, "no memory to read a snapshot");
    if (rv != 0) {
        raft_free(m.state);
        snapshot_free(made);
        return rv;
    }
    raft_free(made->bufs[0].base);
    made->bufs[0] = (struct raft_buffer){.base = m.state, .len = m.len};
    *ret = made;
    return 0;
}

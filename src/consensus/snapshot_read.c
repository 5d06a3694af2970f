/* SPDX-License-Identifier: Apache-2.0
 * Every length is held against the size of the file before anything is allocated or read by it. */
#include <inttypes.h>
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "consensus/snapshot_file.h"
#include "consensus/snapshot_format.h"

#define LZ4_RATIO_MAX 256u /* the format cannot do better */

struct reader {
    struct disk *disk;
    struct fault *fault;
    struct err *err;
    char name[DISK_NAME_MAX];
    uint64_t size, offset;
    uint32_t crc; /* of all read */
    struct snapshot_header header;
    uint8_t conf[SNAPSHOT_CONF_MAX];
    uint8_t *packed;
    size_t packed_cap;
    uint8_t *state; /* the plain bytes */
    uint8_t *row;   /* the chunks' hashes */
    LZ4F_dctx *lz4;
};

static int bad(struct reader *r, const char *what) {
    fault_set(r->fault, r->name, r->offset, "snapshot", fault_remedy_replace, "%s", what);
    return fault_err(r->fault, r->err);
}

static int get(struct reader *r, void *bytes, size_t len) {
    size_t n;
    int rv = disk_read(r->disk, r->name, r->offset, bytes, len, &n, r->err);
    if (rv != 0) return rv;
    return n == len ? 0 : bad(r, "the file ends too early");
}

static void pass(struct reader *r, const void *bytes, size_t len) {
    r->crc = crc32c(r->crc, bytes, len);
    r->offset += len;
}

static int header_read(struct reader *r, const uint8_t cluster_id[16], const struct snapshot_id *id) {
    uint8_t bytes[SNAPSHOT_HEADER_SIZE];
    struct snapshot_header *h = &r->header;
    int rv = get(r, bytes, sizeof bytes);
    if (rv != 0) return rv;
    if (!snapshot_header_decode(bytes, h)) return bad(r, "this is no snapshot of a known format");
    uint64_t chunks = (h->state_size + SNAPSHOT_CHUNK - 1) / SNAPSHOT_CHUNK;
    if (h->conf_size > SNAPSHOT_CONF_MAX || h->state_size > SNAPSHOT_STATE_MAX || h->chunks != chunks ||
        h->state_size / LZ4_RATIO_MAX > r->size)
        return bad(r, "the header has impossible sizes");
    pass(r, bytes, sizeof bytes);
    rv = get(r, r->conf, h->conf_size);
    if (rv != 0) return rv;
    if (!snapshot_header_ok(bytes, r->conf, h->conf_size)) return bad(r, "the header is damaged");
    pass(r, r->conf, h->conf_size);
    if (memcmp(h->cluster_id, cluster_id, 16) != 0) return bad(r, "it belongs to another cluster");
    if (h->index != id->index || h->term != id->term) return bad(r, "it is another snapshot than its name says");
    return 0;
}

static int chunk_unpack(struct reader *r, const struct snapshot_chunk *c, uint8_t *plain) {
    size_t n = c->plain_size, used = c->packed_size;
    LZ4F_resetDecompressionContext(r->lz4);
    size_t rest = LZ4F_decompress(r->lz4, plain, &n, r->packed, &used, NULL);
    if (LZ4F_isError(rest) || rest != 0 || n != c->plain_size || used != c->packed_size)
        return bad(r, "a chunk does not unpack");
    return 0;
}

static int chunk_read(struct reader *r, uint32_t seq) {
    uint8_t bytes[SNAPSHOT_CHUNK_HEADER];
    struct snapshot_chunk c;
    uint64_t from = (uint64_t)seq * SNAPSHOT_CHUNK, left = r->header.state_size - from;
    int rv = get(r, bytes, sizeof bytes);
    if (rv != 0) return rv;
    if (!snapshot_chunk_decode(bytes, &c)) return bad(r, "the header of a chunk is damaged");
    if (c.seq != seq || c.plain_size != (left < SNAPSHOT_CHUNK ? left : SNAPSHOT_CHUNK) ||
        c.packed_size > r->packed_cap)
        return bad(r, "a chunk is out of place");
    pass(r, bytes, sizeof bytes);
    rv = get(r, r->packed, c.packed_size);
    if (rv != 0) return rv;
    if (crc32c(0, r->packed, c.packed_size) != c.crc) return bad(r, "a chunk is damaged");
    rv = chunk_unpack(r, &c, r->state + from);
    if (rv != 0) return rv;
    pass(r, r->packed, c.packed_size);
    struct hash128 h = hash128_of(r->state + from, c.plain_size);
    store_u64(r->row + (size_t)seq * 16, h.lo);
    store_u64(r->row + (size_t)seq * 16 + 8, h.hi);
    return 0;
}

static int footer_read(struct reader *r) {
    uint8_t bytes[SNAPSHOT_FOOTER_SIZE];
    struct snapshot_footer f;
    struct hash128 hash = hash128_of(r->row, (size_t)r->header.chunks * 16);
    int rv = get(r, bytes, sizeof bytes);
    if (rv != 0) return rv;
    if (!snapshot_footer_decode(bytes, &f)) return bad(r, "the footer is damaged");
    if (f.chunks != r->header.chunks || f.crc != r->crc) return bad(r, "the checksum of the file does not fit");
    if (f.file_size != r->size || r->offset + sizeof bytes != r->size) return bad(r, "the file has a wrong length");
    return hash128_equal(hash, r->header.hash) ? 0 : bad(r, "the hash of the state does not fit");
}

static int configuration_decode(struct reader *r, struct raft_configuration *ret) {
    const uint8_t *p = r->conf, *end = r->conf + r->header.conf_size;
    if (end - p < 4) return bad(r, "the configuration is malformed");
    uint32_t n = load_u32(p);
    p += 4;
    while (n--) {
        char address[UINT16_MAX + 1];
        if (end - p < 11) return bad(r, "the configuration is malformed");
        uint64_t id = load_u64(p);
        uint8_t role = p[8];
        uint16_t len = load_u16(p + 9);
        p += 11;
        if (end - p < len) return bad(r, "the configuration is malformed");
        memcpy(address, p, len);
        address[len] = '\0';
        p += len;
        int rv = raft_configuration_add(ret, id, address, role);
        if (rv == RAFT_NOMEM) return err_set(r->err, ERR_NOMEM, "no memory to read a snapshot");
        if (rv != 0) return bad(r, "the configuration is malformed");
    }
    return p == end ? 0 : bad(r, "the configuration is malformed");
}

static int body_read(struct reader *r) {
    size_t size = (size_t)r->header.state_size;
    uint64_t bound = LZ4F_compressFrameBound(SNAPSHOT_CHUNK, NULL);
    r->packed_cap = (size_t)(bound < r->size ? bound : r->size);
    r->packed = malloc(r->packed_cap);
    r->row = malloc((size_t)r->header.chunks * 16 + 1);
    r->state = raft_malloc(size ? size : 1);
    if (!r->packed || !r->row || !r->state) return err_set(r->err, ERR_NOMEM, "no memory to read a snapshot");
    if (LZ4F_isError(LZ4F_createDecompressionContext(&r->lz4, LZ4F_VERSION)))
        return err_set(r->err, ERR_NOMEM, "no memory to read a snapshot");
    int rv = 0;
    for (uint32_t i = 0; rv == 0 && i < r->header.chunks; i++)
        rv = chunk_read(r, i);
    return rv == 0 ? footer_read(r) : rv;
}

/* Takes the reader's state. */
static int result_make(struct reader *r, struct raft_snapshot **ret) {
    struct raft_snapshot *s = raft_calloc(1, sizeof *s);
    if (!s) return err_set(r->err, ERR_NOMEM, "no memory to read a snapshot");
    raft_configuration_init(&s->configuration);
    s->index = r->header.index;
    s->term = r->header.term;
    s->configuration_index = r->header.conf_index;
    int rv = configuration_decode(r, &s->configuration);
    s->bufs = raft_malloc(sizeof *s->bufs);
    if (rv == 0 && !s->bufs) rv = err_set(r->err, ERR_NOMEM, "no memory to read a snapshot");
    if (rv != 0) {
        snapshot_free(s);
        return rv;
    }
    s->bufs[0] = (struct raft_buffer){.base = r->state, .len = (size_t)r->header.state_size};
    s->n_bufs = 1;
    r->state = NULL;
    *ret = s;
    return 0;
}

int snapshot_read(struct disk *disk, const uint8_t cluster_id[16], const struct snapshot_id *id,
                  struct raft_snapshot **ret, struct fault *ret_fault, struct err *err) {
    struct raft_snapshot *snapshot = NULL;
    struct reader *r = calloc(1, sizeof *r);
    if (!r) return err_set(err, ERR_NOMEM, "no memory to read a snapshot");
    r->disk = disk;
    r->fault = ret_fault;
    r->err = err;
    snapshot_name(id, r->name);
    int rv = disk_size(disk, r->name, &r->size, err);
    if (rv == 0) rv = header_read(r, cluster_id, id);
    if (rv == 0) rv = body_read(r);
    if (rv == 0) rv = result_make(r, &snapshot);
    LZ4F_freeDecompressionContext(r->lz4);
    raft_free(r->state);
    free(r->packed);
    free(r->row);
    free(r);
    if (rv != 0) return rv;
    if (ret) {
        *ret = snapshot;
    } else {
        snapshot_free(snapshot);
    }
    return 0;
}

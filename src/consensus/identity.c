/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/identity.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "consensus/fault.h"
#include "consensus/pins.h"
#include "consensus/snapshot_file.h"
#include "consensus/vote.h"
#include "consensus/wal_format.h"

#define MAGIC       UINT64_C(0x314449564c434e43) /* "CNCLVID1" */
#define FILE_SIZE   64u
#define CRC_AT      60u /* in every format the sum is the last four bytes of the file, over all before it */
#define VERSION_AT  8u  /* and magic and format are the first twelve */
#define FILE_LARGER 4096u
#define FLAGS_AT    56u
#define FLAG_JOINED 1u

static void identity_encode(const struct identity *id, uint8_t bytes[FILE_SIZE]) {
    memset(bytes, 0, FILE_SIZE);
    store_u64(bytes, MAGIC);
    store_u32(bytes + VERSION_AT, IDENTITY_FORMAT);
    memcpy(bytes + 16, id->cluster_id, 16);
    store_u64(bytes + 32, id->node_id);
    store_u64(bytes + 40, id->created_ms);
    store_u64(bytes + 48, id->folder);
    store_u32(bytes + FLAGS_AT, id->joined ? FLAG_JOINED : 0);
    store_u32(bytes + CRC_AT, crc32c(0, bytes, CRC_AT));
}

struct census {
    bool data;     /* log or snapshot files */
    bool vote;     /* a vote file */
    bool identity; /* the file itself */
};

static void census_take(void *data, const char *name) {
    struct census *c = data;
    struct snapshot_id id;
    uint64_t seq;
    if (wal_segment_name_parse(name, &seq) || wal_spare_name_parse(name, &seq) || snapshot_name_parse(name, &id))
        c->data = true;
    if (strcmp(name, VOTE_FILE) == 0) c->vote = true;
    if (strcmp(name, IDENTITY_FILE) == 0) c->identity = true;
}

static int damaged(uint64_t offset, const char *text, struct err *err) {
    struct fault fault;
    fault_set(&fault, IDENTITY_FILE, offset, "identity", fault_remedy_newid, "%s", text);
    return fault_err(&fault, err);
}

/* No identity: pristine, unless there is data, or a vote that somebody has used (a vote file that is as vote_format
 * leaves it, or damaged while it was made, is no data: identity_format makes it anew). */
static int missing(struct disk *disk, const struct census *c, struct err *err) {
    bool used = c->data;
    if (!used && c->vote) {
        uint8_t block[DISK_BLOCK];
        size_t n = 0;
        int rv = disk_read(disk, VOTE_FILE, 0, block, sizeof block, &n, err);
        if (rv != 0) return rv;
        used = n != sizeof block || load_u64(block + 40) != 1;
    }
    if (used) return damaged(0, "the file is missing beside data", err);
    return err_set(err, ERR_NOT_FOUND, "no data of a master is in this folder");
}

int identity_read(struct disk *disk, struct identity *ret, struct err *err) {
    struct census census = {0};
    uint8_t bytes[FILE_LARGER];
    size_t n;
    int rv = disk_list(disk, census_take, &census, err);
    if (rv != 0) return rv;
    if (!census.identity) return missing(disk, &census, err);
    rv = disk_read(disk, IDENTITY_FILE, 0, bytes, sizeof bytes, &n, err);
    if (rv != 0) return rv;
    if (n < 20 || load_u64(bytes) != MAGIC) return damaged(0, "this is no identity file", err);
    if (load_u32(bytes + n - 4) != crc32c(0, bytes, n - 4)) return damaged(n - 4, "the checksum does not fit", err);
    uint32_t format = load_u32(bytes + VERSION_AT);
    if (format != IDENTITY_FORMAT || n != FILE_SIZE)
        return err_set(err, ERR_INCOMPATIBLE,
                       "the folder has format %" PRIu32 ", this program knows %u: start the "
                       "version that wrote it",
                       format, IDENTITY_FORMAT);
    memcpy(ret->cluster_id, bytes + 16, 16);
    ret->node_id = load_u64(bytes + 32);
    ret->created_ms = load_u64(bytes + 40);
    ret->folder = load_u64(bytes + 48);
    ret->joined = (load_u32(bytes + FLAGS_AT) & FLAG_JOINED) != 0;
    return 0;
}

uint64_t identity_folder(const struct identity *identity) {
    uint8_t bytes[FILE_SIZE];
    if (identity->folder != 0) return identity->folder;
    identity_encode(identity, bytes);
    uint64_t derived = hash128_of(bytes, sizeof bytes).lo;
    return derived != 0 ? derived : 1;
}

static void hex16(const uint8_t bytes[16], char ret[33]) {
    for (unsigned i = 0; i < 16; i++)
        (void)snprintf(ret + (size_t)2 * i, 3, "%02x", bytes[i]);
}

int identity_check(struct disk *disk, const struct identity *want, struct err *err) {
    struct identity found;
    int rv = identity_read(disk, &found, err);
    if (rv != 0) return rv;
    if (memcmp(found.cluster_id, want->cluster_id, 16) != 0) {
        char is[33], should[33];
        hex16(found.cluster_id, is);
        hex16(want->cluster_id, should);
        return err_set(err, ERR_INVALID, "the folder belongs to cluster %s, not to %s: give this node its own folder",
                       is, should);
    }
    if (found.node_id != want->node_id)
        return err_set(err, ERR_INVALID,
                       "the folder belongs to node %" PRIu64 ", not to node %" PRIu64 ": give this node its own folder",
                       found.node_id, want->node_id);
    return 0;
}

int identity_format(struct disk *disk, const struct identity *identity, struct err *err) {
    struct identity found;
    uint8_t bytes[FILE_SIZE];
    CHECK(identity->node_id != 0);
    int rv = identity_read(disk, &found, err);
    if (rv == 0) return err_set(err, ERR_EXISTS, "the folder belongs to node %" PRIu64 " already", found.node_id);
    if (rv != ERR_NOT_FOUND) return rv;
    rv = vote_format(disk, identity, err);
    if (rv == 0 && identity->folder != 0) rv = pins_format(disk, identity, err);
    if (rv != 0) return rv;
    identity_encode(identity, bytes);
    return disk_replace(disk, IDENTITY_FILE, bytes, sizeof bytes, err);
}

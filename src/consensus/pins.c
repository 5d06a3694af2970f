/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/pins.h"

#include <string.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "consensus/fault.h"

#define PINS_MAGIC  UINT64_C(0x314e504c434e4f43) /* "CONCLPN1" */
#define PINS_FORMAT 1u
#define CRC_AT      12u
#define FIRST_AT    64u
#define PIN_BYTES   16u
#define SLOTS       2u

_Static_assert(FIRST_AT + PINS_MAX * PIN_BYTES <= DISK_BLOCK, "all pins fit into a slot");

static void slot_encode(const struct pins *p, uint8_t block[DISK_BLOCK]) {
    memset(block, 0, DISK_BLOCK);
    store_u64(block, PINS_MAGIC);
    store_u32(block + 8, PINS_FORMAT);
    memcpy(block + 16, p->identity.cluster_id, 16);
    store_u64(block + 32, p->identity.node_id);
    store_u64(block + 40, p->version);
    store_u32(block + 48, p->admitted);
    store_u32(block + 52, p->count);
    for (uint32_t i = 0; i < p->count; i++) {
        store_u64(block + FIRST_AT + PIN_BYTES * i, p->pins[i].id);
        store_u64(block + FIRST_AT + PIN_BYTES * i + 8, p->pins[i].folder);
    }
    store_u32(block + CRC_AT, crc32c(0, block, DISK_BLOCK));
}

static bool slot_decode(const uint8_t block[DISK_BLOCK], struct pins *p) {
    uint8_t copy[DISK_BLOCK];
    memcpy(copy, block, sizeof copy);
    store_u32(copy + CRC_AT, 0);
    if (load_u64(block) != PINS_MAGIC || load_u32(block + 8) != PINS_FORMAT) return false;
    if (crc32c(0, copy, sizeof copy) != load_u32(block + CRC_AT)) return false;
    if (memcmp(block + 16, p->identity.cluster_id, 16) != 0 || load_u64(block + 32) != p->identity.node_id)
        return false;
    uint32_t count = load_u32(block + 52);
    if (count > PINS_MAX) return false;
    p->version = load_u64(block + 40);
    p->admitted = load_u32(block + 48) != 0;
    p->count = count;
    for (uint32_t i = 0; i < count; i++)
        p->pins[i] = (struct pin){.id = load_u64(block + FIRST_AT + PIN_BYTES * i),
                                  .folder = load_u64(block + FIRST_AT + PIN_BYTES * i + 8)};
    return true;
}

static int file_make(struct pins *p, struct err *err) {
    uint8_t both[SLOTS * DISK_BLOCK];
    slot_encode(p, both);
    memcpy(both + DISK_BLOCK, both, DISK_BLOCK);
    return disk_replace(p->disk, PINS_FILE, both, sizeof both, err);
}

static int write_both(struct pins *p, struct err *err) {
    _Alignas(DISK_BLOCK) uint8_t block[DISK_BLOCK];
    if (!p->written) return 0; /* an older folder on a full disk: remembered while we run */
    p->version++;
    slot_encode(p, block);
    int rv = disk_write_sync(p->disk, PINS_FILE, 0, block, sizeof block, err);
    if (rv == 0) rv = disk_write_sync(p->disk, PINS_FILE, DISK_BLOCK, block, sizeof block, err);
    return rv;
}

int pins_format(struct disk *disk, const struct identity *identity, struct err *err) {
    struct pins p = {.disk = disk, .identity = *identity, .version = 1};
    return file_make(&p, err);
}

static int damaged(struct fault *ret, const char *text, struct err *err) {
    fault_set(ret, PINS_FILE, 0, "pins", fault_remedy_newid, "%s", text);
    return fault_err(ret, err);
}

int pins_read(struct disk *disk, const struct identity *identity, struct pins *ret, bool *ret_repair,
              struct fault *ret_fault, struct err *err) {
    uint8_t both[SLOTS * DISK_BLOCK];
    size_t n = 0;
    *ret = (struct pins){.disk = disk, .identity = *identity, .written = true};
    *ret_repair = false;
    ret_fault->file[0] = '\0';
    int rv = disk_read(disk, PINS_FILE, 0, both, sizeof both, &n, err);
    if (rv == ERR_NOT_FOUND && identity->folder != 0) return damaged(ret_fault, "the file is missing", err);
    if (rv != 0) return rv;
    if (n != sizeof both) return damaged(ret_fault, "the file is too short", err);
    struct pins b = *ret;
    bool a_ok = slot_decode(both, ret), b_ok = slot_decode(both + DISK_BLOCK, &b);
    if (!a_ok && !b_ok) return damaged(ret_fault, "both slots are damaged, or another folder's", err);
    if (!a_ok || !b_ok)
        fault_set(ret_fault, PINS_FILE, a_ok ? DISK_BLOCK : 0, "pins", fault_remedy_repair, "%s",
                  "one slot is damaged, the other is whole");
    *ret_repair = !a_ok || !b_ok || ret->version != b.version; /* or a change that was cut short */
    if (!a_ok) *ret = b;
    return 0;
}

static int make_for_older(struct pins *p, struct err *err) {
    p->version = 1;
    p->admitted = true;
    int rv = file_make(p, err);
    p->written = rv == 0;
    if (rv != ERR_LIMIT) return rv;
    log_event(LOG_WARN, "pins_not_written", "text=\"%s\"", err ? err->text : "");
    return 0;
}

int pins_open(struct disk *disk, const struct identity *identity, struct pins *ret, struct err *err) {
    struct fault fault;
    bool repair;
    int rv = pins_read(disk, identity, ret, &repair, &fault, err);
    if (rv == ERR_NOT_FOUND) return make_for_older(ret, err);
    return rv == 0 && repair ? write_both(ret, err) : rv;
}

static bool is_member(uint64_t id, const uint64_t *members, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        if (members[i] == id) return true;
    return false;
}

static void forget_others(struct pins *p, const uint64_t *members, unsigned n) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->count; i++)
        if (is_member(p->pins[i].id, members, n)) p->pins[kept++] = p->pins[i];
    p->count = kept;
}

int pins_meet(struct pins *p, uint64_t id, uint64_t folder, const uint64_t *members, unsigned n_members,
              struct err *err) {
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->pins[i].id != id) continue;
        if (p->pins[i].folder == folder) return 0;
        return err_set(err, ERR_FORBIDDEN, "another folder is known under this id");
    }
    if (p->count == PINS_MAX) forget_others(p, members, n_members);
    if (p->count == PINS_MAX) return err_set(err, ERR_LIMIT, "%u members are known", PINS_MAX);
    p->pins[p->count++] = (struct pin){.id = id, .folder = folder};
    return write_both(p, err);
}

int pins_admit(struct pins *p, struct err *err) {
    if (p->admitted) return 0;
    p->admitted = true;
    return write_both(p, err);
}

unsigned pins_needed(unsigned others) {
    return others == 0 ? 0 : others / 2 + 1;
}

/* SPDX-License-Identifier: Apache-2.0
 * The disk of a host: disk_file.h over simulated sectors, and the shadow. The shadow sees what the replica gives to the
 * store and what the store says is durable (the linker puts __wrap_store_* in between), and after a restart it holds
 * what comes back against that: nothing that was durable may be missing or changed, and nothing may come back that was
 * never written. */
#include "cluster.h"

#include <stdlib.h>
#include <string.h>

#include "../../lib/sim_disk.h"
#include "base/check.h"
#include "base/hash.h"
#include "consensus/disk_file.h"
#include "consensus/identity.h"
#include "consensus/verify.h"
#include "consensus/vote.h"
#include "consensus/wal_format.h"

struct written {
    uint64_t term, hash;
};

struct shadow {
    struct written *entries; /* by index */
    size_t cap;
    uint64_t tail;                             /* last entry given to the store */
    uint64_t durable;                          /* last one it has completed, and that was not truncated since */
    uint64_t snapshot;                         /* newest that is known durable */
    uint64_t installing;                       /* index of the install under way, 0 none */
    uint64_t term, vote, next_term, next_vote; /* the second pair: being written */
    struct queue appends;                      /* under way */
    uint64_t *ever; /* open addressing: every (index, term, hash) that was ever written here */
    size_t ever_cap, ever_count;
    struct shadow *lost; /* what there was before the folder was reinstalled */
};

struct append {
    struct queue link;
    struct host *h;
    unsigned life;
    struct raft_io_append req, *core_req;
    raft_io_append_cb cb;
    uint64_t first, last; /* last: without what was truncated since */
};

/* ---- the disk ---- */

static void notify(void *data, uint64_t id, enum sim_disk_kind kind, size_t len) {
    struct host *h = data;
    struct cluster *c = h->c;
    uint64_t us = kind == SIM_DISK_JOB ? rng_between(&c->rng, 200, 8000) : rng_between(&c->rng, 100, 1000);
    (void)len;
    if (h->slow_us > 0) us += rng_below(&c->rng, h->slow_us);
    cluster_at(c, us, EVENT_DISK, (unsigned)h->id - 1, h->life, (void *)(uintptr_t)id);
}

int disk_file_open(const char *path, uv_loop_t *loop, struct disk **ret, struct err *err) {
    (void)path;
    (void)loop;
    (void)err;
    CHECK(shim_host != NULL);
    *ret = sim_disk_face(shim_host->disk);
    return 0;
}

void medium_event(struct host *h, void *data) {
    sim_disk_step_id(h->disk, (uint64_t)(uintptr_t)data);
}

void medium_new(struct host *h) {
    h->disk = sim_disk_new(h->c->cfg.seed * 64 + h->id + 7919u * h->life);
    sim_disk_set_notify(h->disk, notify, h);
    h->shadow = calloc(1, sizeof *h->shadow);
    CHECK(h->shadow != NULL);
    queue_init(&h->shadow->appends);
}

static void appends_forget(struct shadow *s) {
    while (!queue_empty(&s->appends)) {
        struct append *a = QUEUE_ENTRY(s->appends.next, struct append, link);
        queue_remove(&a->link);
        free(a);
    }
}

static void shadow_free(struct shadow *s) {
    if (s == NULL) return;
    appends_forget(s);
    shadow_free(s->lost);
    free(s->entries);
    free(s->ever);
    free(s);
}

void medium_free(struct host *h) {
    shadow_free(h->shadow);
    shadow_free(h->own_shadow);
    sim_disk_free(h->disk);
    if (h->own_disk != NULL) sim_disk_free(h->own_disk);
}

void medium_crash(struct host *h) {
    sim_disk_crash(h->disk);
    appends_forget(h->shadow);
}

/* ---- the shadow ---- */

static void ever_put(uint64_t *table, size_t cap, uint64_t key) {
    size_t i = key & (cap - 1);
    while (table[i] != 0 && table[i] != key)
        i = (i + 1) & (cap - 1);
    table[i] = key;
}

static uint64_t ever_key(uint64_t index, uint64_t term, uint64_t hash) {
    const uint64_t words[] = {index, term, hash};
    return hash64_of(words, sizeof words) | 1;
}

static void ever_add(struct shadow *s, uint64_t index, uint64_t term, uint64_t hash) {
    if (2 * s->ever_count >= s->ever_cap) {
        size_t cap = s->ever_cap == 0 ? 2048 : 2 * s->ever_cap;
        uint64_t *grown = calloc(cap, sizeof *grown);
        CHECK(grown != NULL);
        for (size_t i = 0; i < s->ever_cap; i++)
            if (s->ever[i] != 0) ever_put(grown, cap, s->ever[i]);
        free(s->ever);
        s->ever = grown;
        s->ever_cap = cap;
    }
    ever_put(s->ever, s->ever_cap, ever_key(index, term, hash));
    s->ever_count++;
}

static bool ever_was(const struct shadow *s, uint64_t index, uint64_t term, uint64_t hash) {
    uint64_t key = ever_key(index, term, hash);
    if (s->ever_cap == 0) return false;
    for (size_t i = key & (s->ever_cap - 1); s->ever[i] != 0; i = (i + 1) & (s->ever_cap - 1))
        if (s->ever[i] == key) return true;
    return false;
}

static void note_entry(struct shadow *s, uint64_t index, const struct raft_entry *entry) {
    if (index >= s->cap) {
        size_t cap = s->cap == 0 ? 1024 : s->cap;
        while (cap <= index)
            cap *= 2;
        s->entries = realloc(s->entries, cap * sizeof *s->entries);
        CHECK(s->entries != NULL);
        memset(s->entries + s->cap, 0, (cap - s->cap) * sizeof *s->entries);
        s->cap = cap;
    }
    s->entries[index] = (struct written){entry->term, hash64_of(entry->buf.base, entry->buf.len)};
}

static void note_written(struct shadow *s, uint64_t index, const struct raft_entry *entry) {
    note_entry(s, index, entry);
    ever_add(s, index, entry->term, s->entries[index].hash);
}

uint64_t medium_durable(const struct host *h) {
    const struct shadow *s = h->shadow;
    return s->durable > s->snapshot ? s->durable : s->snapshot;
}

static bool shadow_has(const struct shadow *s, uint64_t index, uint64_t term) {
    if (index <= s->snapshot) return true;
    return index <= s->durable && index < s->cap && s->entries[index].term == term;
}

bool medium_has(const struct host *h, uint64_t index, uint64_t term) {
    return shadow_has(h->shadow, index, term);
}

/* ---- data that is lost for good ---- */

static const struct shadow *lost_of(const struct host *h) {
    return h->own_shadow != NULL ? h->own_shadow : h->shadow->lost;
}

bool medium_had(const struct host *h, uint64_t index, uint64_t term, uint64_t leader_term) {
    for (const struct shadow *s = lost_of(h); s != NULL; s = s->lost)
        if (leader_term <= s->next_term && shadow_has(s, index, term)) return true;
    return false;
}

uint64_t medium_lacks(const struct host *h, const uint64_t *terms, size_t n) {
    for (const struct shadow *s = lost_of(h); s != NULL && n > 0; s = s->lost) {
        uint64_t last = s->durable > s->snapshot ? s->durable : s->snapshot;
        if (last >= n) last = n - 1;
        while (last > 0 && (terms[last] == 0 || !shadow_has(s, last, terms[last])))
            last--;
        if (last > 0 && !medium_has(h, last, terms[last])) return last;
    }
    return 0;
}

void medium_wipe(struct host *h) {
    CHECK(h->own_disk == NULL && !h->up);
    h->own_disk = h->disk;
    h->own_shadow = h->shadow;
    medium_new(h);
}

void medium_put_back(struct host *h) {
    CHECK(h->own_disk != NULL && !h->up);
    sim_disk_free(h->disk);
    shadow_free(h->shadow);
    h->disk = h->own_disk;
    h->shadow = h->own_shadow;
    h->own_disk = NULL;
    h->own_shadow = NULL;
    sim_disk_set_capacity(h->disk, 0); /* who has it in hands makes room on it, too */
    sim_disk_fault_after(h->disk, 0, SIM_DISK_NONE);
}

/* Overwrites a sector of a file of the log or of a snapshot, or removes the file. */
static void files_damage(struct sim_disk *d, uint64_t how) {
    static char names[256][DISK_NAME_MAX];
    static const uint8_t garbage[SIM_SECTOR] = {0xa5, 0x5a, 0xff};
    struct snapshot_id id;
    uint64_t seq;
    size_t n = sim_disk_names(d, names, 256), kept = 0, len;
    for (size_t i = 0; i < n && i < 256; i++)
        if (wal_segment_name_parse(names[i], &seq) || snapshot_name_parse(names[i], &id))
            memmove(names[kept++], names[i], DISK_NAME_MAX);
    if (kept == 0) return;
    const char *name = names[how / 4 % kept];
    const uint8_t *data = sim_disk_data(d, name, &len);
    while (len > SIM_SECTOR && data[len - 1] == 0)
        len--; /* behind it nothing was ever written */
    if (how % 4 == 0)
        sim_disk_delete(d, name);
    else if (len >= SIM_SECTOR)
        sim_disk_poke(d, name, how / 64 % (len / SIM_SECTOR) * SIM_SECTOR, garbage, sizeof garbage);
}

static bool must_be_replaced(struct disk *disk) {
    static struct verify_report report;
    struct err err;
    CHECK(verify_run(disk, false, &report, &err) == 0);
    for (size_t i = 0; i < report.n_faults; i++)
        if (report.faults[i].remedy == fault_remedy_replace) return true;
    return false;
}

void medium_damage(struct host *h, uint64_t how) {
    struct disk *disk = sim_disk_face(h->disk);
    struct identity identity;
    struct vote vote;
    struct fault fault;
    struct err err;
    bool repair;
    sim_disk_fault_after(h->disk, 0, SIM_DISK_NONE);
    sim_disk_set_capacity(h->disk, 0);
    if (how % 3 > 0) files_damage(h->disk, how / 3);
    if (must_be_replaced(disk)) return;
    CHECK(identity_read(disk, &identity, &err) == 0);
    CHECK(vote_read(disk, &identity, &vote, &repair, &fault, &err) == 0);
    if (repair) CHECK(vote_repair(disk, &identity, &err) == 0);
    vote.version++;
    vote.marks |= VOTE_MARK_DIVERGED;
    CHECK(vote_write(disk, &identity, &vote, &err) == 0);
}

/* The folder comes back empty, in a later term, without a vote. */
static void reinstalled(struct host *h, raft_term term, raft_id vote, const struct raft_snapshot *snapshot, size_t n) {
    struct shadow *s = h->shadow, *lost = calloc(1, sizeof *lost);
    CHECK(lost != NULL);
    uint64_t last = s->term > s->next_term ? s->term : s->next_term;
    if (term <= s->term || term > last + 1 || vote != 0)
        cluster_red(h->c, "vote-lost", "node %llu: reinstalled in term %llu with vote %llu, it was in %llu",
                    (unsigned long long)h->id, term, vote, (unsigned long long)last);
    if (n > 0 || snapshot != NULL)
        cluster_red(h->c, "store-invented", "node %llu: reinstalled, with %zu entries", (unsigned long long)h->id, n);
    *lost = *s;
    queue_init(&lost->appends);
    lost->next_term = last;
    lost->ever = NULL; /* stays: what was written may still come in from the others, but never from here */
    *s = (struct shadow){.ever = s->ever, .ever_cap = s->ever_cap, .ever_count = s->ever_count, .lost = lost};
    queue_init(&s->appends);
    s->term = s->next_term = term;
    sim_disk_fault_after(h->disk, 0, SIM_DISK_NONE);
    h->harm = HARM_NONE;
    h->catching_up = true;
}

/* ---- between the replica and its store ---- */

int __real_store_append(struct store *s, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                        raft_io_append_cb cb);
int __wrap_store_append(struct store *s, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                        raft_io_append_cb cb);
int __real_store_truncate(struct store *s, raft_index index);
int __wrap_store_truncate(struct store *s, raft_index index);
int __real_store_set_term(struct store *s, raft_term term);
int __wrap_store_set_term(struct store *s, raft_term term);
int __real_store_set_vote(struct store *s, raft_id voted_for);
int __wrap_store_set_vote(struct store *s, raft_id voted_for);
int __real_store_bootstrap(struct store *s, const struct raft_configuration *configuration);
int __wrap_store_bootstrap(struct store *s, const struct raft_configuration *configuration);
int __real_store_load(struct store *s, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
                      raft_index *start, struct raft_entry **entries, size_t *n);
int __wrap_store_load(struct store *s, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
                      raft_index *start, struct raft_entry **entries, size_t *n);
int __real_store_snapshot_begin(struct store *s, unsigned trailing, struct raft_io_snapshot_put *req,
                                const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
int __wrap_store_snapshot_begin(struct store *s, unsigned trailing, struct raft_io_snapshot_put *req,
                                const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
int __real_store_snapshot_put(struct store *s, unsigned trailing, struct raft_io_snapshot_put *req,
                              const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
int __wrap_store_snapshot_put(struct store *s, unsigned trailing, struct raft_io_snapshot_put *req,
                              const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);

static void append_done(struct raft_io_append *req, int status) {
    struct append *a = req->data;
    queue_remove(&a->link);
    if (status == 0 && a->last >= a->first) a->h->shadow->durable = a->last;
    a->cb(a->core_req, status);
    free(a);
}

int __wrap_store_append(struct store *s, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                        raft_io_append_cb cb) {
    struct host *h = shim_host;
    struct shadow *shadow = h->shadow;
    struct append *a = calloc(1, sizeof *a);
    CHECK(a != NULL);
    *a = (struct append){.h = h, .core_req = req, .cb = cb, .first = shadow->tail + 1, .last = shadow->tail + n};
    a->req.data = a;
    for (unsigned i = 0; i < n; i++)
        note_written(shadow, a->first + i, &entries[i]);
    shadow->tail += n;
    queue_push(&shadow->appends, &a->link);
    int rv = __real_store_append(s, &a->req, entries, n, append_done);
    if (rv == 0) return 0;
    queue_remove(&a->link);
    free(a);
    return rv;
}

int __wrap_store_truncate(struct store *s, raft_index index) {
    struct shadow *shadow = shim_host->shadow;
    shadow->tail = index - 1;
    if (shadow->durable >= index) shadow->durable = index - 1;
    for (struct queue *q = shadow->appends.next; q != &shadow->appends; q = q->next) {
        struct append *a = QUEUE_ENTRY(q, struct append, link);
        if (a->last >= index) a->last = index - 1;
    }
    return __real_store_truncate(s, index);
}

static int vote_result(struct shadow *s, int rv) {
    if (rv != 0) return rv; /* either pair may come back */
    s->term = s->next_term;
    s->vote = s->next_vote;
    return 0;
}

int __wrap_store_set_term(struct store *s, raft_term term) {
    struct shadow *shadow = shim_host->shadow;
    shadow->next_term = term;
    shadow->next_vote = 0;
    return vote_result(shadow, __real_store_set_term(s, term));
}

int __wrap_store_set_vote(struct store *s, raft_id voted_for) {
    struct shadow *shadow = shim_host->shadow;
    shadow->next_term = shadow->term;
    shadow->next_vote = voted_for;
    int rv = vote_result(shadow, __real_store_set_vote(s, voted_for));
    if (rv == 0) judge_vote(shim_host, shadow->term, voted_for);
    return rv;
}

int __wrap_store_bootstrap(struct store *s, const struct raft_configuration *configuration) {
    struct shadow *shadow = shim_host->shadow;
    struct raft_entry first = {.term = 1};
    if (shadow->next_term == 0) { /* else it is only asked whether there is something */
        note_entry(shadow, 1, &first);
        shadow->entries[1].hash = 0; /* the core pads it with whatever is in memory */
        shadow->next_term = 1;
    }
    int rv = __real_store_bootstrap(s, configuration);
    if (rv != 0) return rv; /* cut short: the term and the entry may come back */
    shadow->term = 1;
    shadow->tail = shadow->durable = 1;
    return 0;
}

struct put {
    struct host *h;
    struct raft_io_snapshot_put req, *core_req;
    raft_io_snapshot_put_cb cb;
    uint64_t index;
    bool install;
};

static void put_done(struct raft_io_snapshot_put *req, int status) {
    struct put *put = req->data;
    struct shadow *s = put->h->shadow;
    if (status == 0) {
        put->h->c->struck[put->install ? STRIKE_INSTALL : STRIKE_SNAPSHOT] = true;
        if (put->index > s->snapshot) s->snapshot = put->index;
        if (put->install) {
            s->tail = s->durable = put->index;
            s->installing = 0;
        }
    }
    put->cb(put->core_req, status);
    free(put);
}

static struct put *put_new(unsigned trailing, struct raft_io_snapshot_put *req, const struct raft_snapshot *snapshot,
                           raft_io_snapshot_put_cb cb) {
    struct host *h = shim_host;
    struct put *put = calloc(1, sizeof *put);
    CHECK(put != NULL);
    *put = (struct put){.h = h, .core_req = req, .cb = cb, .index = snapshot->index, .install = trailing == 0};
    put->req.data = put;
    judge_snapshot(h, snapshot);
    if (put->install) h->shadow->installing = put->index;
    return put;
}

int __wrap_store_snapshot_put(struct store *s, unsigned trailing, struct raft_io_snapshot_put *req,
                              const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb) {
    struct put *put = put_new(trailing, req, snapshot, cb);
    int rv = __real_store_snapshot_put(s, trailing, &put->req, snapshot, put_done);
    if (rv != 0) free(put);
    return rv;
}

int __wrap_store_snapshot_begin(struct store *s, unsigned trailing, struct raft_io_snapshot_put *req,
                                const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb) {
    struct put *put = put_new(trailing, req, snapshot, cb);
    int rv = __real_store_snapshot_begin(s, trailing, &put->req, snapshot, put_done);
    if (rv != 0) free(put);
    return rv;
}

/* ---- what comes back ---- */

static void compare(struct host *h, const struct raft_snapshot *snapshot, raft_index start,
                    const struct raft_entry *entries, size_t n) {
    struct shadow *s = h->shadow;
    struct cluster *c = h->c;
    uint64_t base = snapshot == NULL ? 0 : snapshot->index, last = start + n - 1;
    bool installed = s->installing != 0 && base >= s->installing;
    if (base < s->snapshot)
        cluster_red(c, "store-lost", "node %llu had snapshot %llu, %llu came back", (unsigned long long)h->id,
                    (unsigned long long)s->snapshot, (unsigned long long)base);
    if (n > 0 && start > base + 1)
        cluster_red(c, "store-hole", "node %llu: snapshot %llu and entries from %llu on", (unsigned long long)h->id,
                    (unsigned long long)base, start);
    if (!installed && last < s->durable && base < s->durable)
        cluster_red(c, "store-lost", "node %llu had entries up to %llu durable, %llu came back",
                    (unsigned long long)h->id, (unsigned long long)s->durable, (unsigned long long)last);
    for (size_t i = 0; i < n && !c->red; i++) {
        uint64_t index = start + i, hash = hash64_of(entries[i].buf.base, entries[i].buf.len);
        bool durable = index <= s->durable && index < s->cap && !installed;
        bool same = durable && s->entries[index].term == entries[i].term &&
                    (s->entries[index].hash == hash || s->entries[index].hash == 0);
        if (durable && !same && s->entries[index].term != 0)
            cluster_red(c, "store-changed", "node %llu: entry %llu was durable with term %llu and comes back with %llu",
                        (unsigned long long)h->id, (unsigned long long)index,
                        (unsigned long long)s->entries[index].term, entries[i].term);
        bool first = index == 1 && s->cap > 1 && s->entries[1].hash == 0 && s->entries[1].term == entries[i].term;
        if (!durable && !first && !ever_was(s, index, entries[i].term, hash))
            cluster_red(c, "store-invented", "node %llu: entry %llu of term %llu was never written",
                        (unsigned long long)h->id, (unsigned long long)index, entries[i].term);
    }
}

int __wrap_store_load(struct store *store, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
                      raft_index *start, struct raft_entry **entries, size_t *n) {
    struct host *h = shim_host;
    struct shadow *s = h->shadow;
    int rv = __real_store_load(store, term, vote, snapshot, start, entries, n);
    if (rv != 0) return rv;
    struct store_stats stats;
    store_stats(store, &stats);
    if (stats.torn_bytes > 0) h->c->struck[STRIKE_TORN_TAIL] = true;
    if (h->harm == HARM_DAMAGED && h->reinstall) reinstalled(h, *term, *vote, *snapshot, *n);
    bool old = *term == s->term && *vote == s->vote, new = *term == s->next_term &&*vote == s->next_vote;
    if (!old && !new)
        cluster_red(h->c, "vote-lost", "node %llu: term %llu vote %llu came back as %llu %llu",
                    (unsigned long long)h->id, (unsigned long long)s->term, (unsigned long long)s->vote, *term, *vote);
    if (*vote != 0) judge_vote(h, *term, *vote); /* one whose write failed may be there after all */
    s->term = s->next_term = *term;
    s->vote = s->next_vote = *vote;
    compare(h, *snapshot, *start, *entries, *n);
    if (*snapshot != NULL) {
        judge_snapshot(h, *snapshot);
        if ((*snapshot)->index > s->snapshot) s->snapshot = (*snapshot)->index;
    }
    s->installing = 0;
    s->tail = s->durable = *start + *n - 1;
    for (size_t i = 0; i < *n; i++)
        note_entry(s, *start + i, &(*entries)[i]);
    return 0;
}

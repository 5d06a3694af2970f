/* SPDX-License-Identifier: Apache-2.0
 * Every file has two images: `data`, what its user sees, and `safe`, what is durable; `dirty` marks the sectors in
 * which they may differ. Changes of names are kept in a journal until sync_dir, so that a crash can undo a suffix of
 * them. */
#include "sim_disk.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/rng.h"

#define FILES_MAX   4096u
#define JOURNAL_MAX 4096u
#define PENDING_MAX 64u
#define DYING       1 /* from step_begin: this step is the one at which the machine stops */

struct sim_file {
    char name[DISK_NAME_MAX];
    bool visible;
    uint8_t *data, *safe; /* both of `cap` bytes, zero behind their sizes */
    bool *dirty;          /* one a sector */
    size_t size, safe_size, cap;
};

enum change_kind { CHANGE_CREATE, CHANGE_RENAME, CHANGE_REMOVE };
struct change {
    enum change_kind kind;
    struct sim_file *file;
    struct sim_file *replaced; /* of a rename over something */
    char from[DISK_NAME_MAX];
};

struct item {
    uint64_t id;
    enum sim_disk_kind kind;
    struct disk_job *job;
    char name[DISK_NAME_MAX];
    uint64_t offset;
    uint8_t *bytes; /* copied: the user may free its buffer when it is abandoned */
    size_t len;
    disk_write_cb cb;
    void *data;
};

struct sim_disk {
    struct disk face; /* first, so that the face is the disk */
    struct rng rng;
    struct sim_file **files; /* removed ones stay until sync_dir */
    size_t n_files, cap_files;
    struct change *journal;
    size_t n_journal, cap_journal;
    struct item pending[PENDING_MAX];
    size_t n_pending;
    uint64_t next_id, steps, countdown, capacity, failures, refusals;
    enum sim_disk_fault fault;
    bool dead;
    void (*notify)(void *data, uint64_t id, enum sim_disk_kind kind, size_t len);
    void *notify_data;
};

static struct sim_disk *self(struct disk *face) {
    return (struct sim_disk *)face;
}

static size_t sectors(size_t bytes) {
    return (bytes + SIM_SECTOR - 1) / SIM_SECTOR;
}

static struct sim_file *file_find(const struct sim_disk *d, const char *name) {
    for (size_t i = 0; i < d->n_files; i++)
        if (d->files[i]->visible && strcmp(d->files[i]->name, name) == 0) return d->files[i];
    return NULL;
}

static void file_free(struct sim_file *f) {
    free(f->data);
    free(f->safe);
    free(f->dirty);
    free(f);
}

/* Makes room for one more item in an array that grows up to `max` items. */
static void *array_room(void *array, size_t n, size_t *cap, size_t max, size_t item) {
    if (n < *cap) return array;
    CHECK(n < max);
    *cap = *cap ? 2 * *cap : 8;
    void *grown = realloc(array, *cap * item);
    CHECK(grown);
    return grown;
}

static struct sim_file *file_add(struct sim_disk *d, const char *name) {
    CHECK(strlen(name) < DISK_NAME_MAX);
    d->files = array_room(d->files, d->n_files, &d->cap_files, FILES_MAX, sizeof *d->files);
    struct sim_file *f = calloc(1, sizeof *f);
    CHECK(f);
    memcpy(f->name, name, strlen(name) + 1);
    f->visible = true;
    d->files[d->n_files++] = f;
    return f;
}

static void *grow_zeroed(void *old, size_t old_bytes, size_t bytes) {
    uint8_t *p = realloc(old, bytes);
    CHECK(p);
    memset(p + old_bytes, 0, bytes - old_bytes);
    return p;
}

static void file_reserve(struct sim_file *f, size_t size) {
    if (size <= f->cap) return;
    size_t cap = f->cap ? f->cap : SIM_SECTOR;
    while (cap < size)
        cap *= 2;
    f->data = grow_zeroed(f->data, f->cap, cap);
    f->safe = grow_zeroed(f->safe, f->cap, cap);
    f->dirty = grow_zeroed(f->dirty, f->cap / SIM_SECTOR, cap / SIM_SECTOR);
    f->cap = cap;
}

static uint64_t bytes_used(const struct sim_disk *d) {
    uint64_t sum = 0;
    for (size_t i = 0; i < d->n_files; i++)
        if (d->files[i]->visible) sum += d->files[i]->size;
    return sum;
}

static bool fits(struct sim_disk *d, size_t more) {
    bool ok = d->capacity == 0 || more == 0 || bytes_used(d) + more <= d->capacity;
    d->refusals += !ok;
    return ok;
}

/* ---- steps and faults ---- */

static int step_begin(struct sim_disk *d, struct err *err, const char *what) {
    if (d->dead) return err_set(err, ERR_CLOSED, "%s: the machine is down", what);
    d->steps++;
    if (d->countdown == 0 || --d->countdown > 0) return 0;
    if (d->fault == SIM_DISK_FAIL || d->fault == SIM_DISK_TEAR) d->failures++;
    if (d->fault == SIM_DISK_FAIL || d->fault == SIM_DISK_TEAR)
        return err_set(err, ERR_IO, "%s: input/output error", what);
    if (d->fault == SIM_DISK_NOSPACE) return err_set(err, ERR_LIMIT, "%s: no space left on device", what);
    d->dead = true;
    return DYING;
}

static int died(struct err *err) {
    return err_set(err, ERR_CLOSED, "the machine went down");
}

static struct change *journal_add(struct sim_disk *d, enum change_kind kind, struct sim_file *f) {
    d->journal = array_room(d->journal, d->n_journal, &d->cap_journal, JOURNAL_MAX, sizeof *d->journal);
    struct change *c = &d->journal[d->n_journal++];
    *c = (struct change){.kind = kind, .file = f};
    return c;
}

static void journal_commit(struct sim_disk *d) {
    d->n_journal = 0;
    size_t kept = 0;
    for (size_t i = 0; i < d->n_files; i++) {
        if (d->files[i]->visible) {
            d->files[kept++] = d->files[i];
        } else {
            file_free(d->files[i]);
        }
    }
    d->n_files = kept;
}

static void journal_undo(const struct change *c) {
    switch (c->kind) {
    case CHANGE_CREATE:
        c->file->visible = false;
        break;
    case CHANGE_REMOVE:
        c->file->visible = true;
        break;
    case CHANGE_RENAME:
        memcpy(c->file->name, c->from, sizeof c->from);
        if (c->replaced) c->replaced->visible = true;
        break;
    }
}

static void file_make_safe(struct sim_file *f) {
    memcpy(f->safe, f->data, f->size);
    if (f->cap > f->size) memset(f->safe + f->size, 0, f->cap - f->size);
    memset(f->dirty, 0, f->cap / SIM_SECTOR * sizeof *f->dirty);
    f->safe_size = f->size;
}

/* ---- the face ---- */

static void op_queue(struct sim_disk *d, struct item item) {
    CHECK(d->n_pending < PENDING_MAX);
    item.id = d->next_id++;
    d->pending[d->n_pending++] = item;
    if (d->notify) d->notify(d->notify_data, item.id, item.kind, item.len);
}

static void op_write(struct disk *face, const char *name, uint64_t offset, const void *buf, size_t len,
                     disk_write_cb cb, void *data) {
    struct sim_disk *d = self(face);
    CHECK(offset % DISK_BLOCK == 0 && len % DISK_BLOCK == 0 && len > 0 && (uintptr_t)buf % DISK_BLOCK == 0);
    for (size_t i = 0; i < d->n_pending; i++)
        CHECK(d->pending[i].kind != SIM_DISK_WRITE);
    struct item item = {
        .kind = SIM_DISK_WRITE, .offset = offset, .bytes = malloc(len), .len = len, .cb = cb, .data = data};
    CHECK(item.bytes && strlen(name) < DISK_NAME_MAX);
    memcpy(item.bytes, buf, len);
    memcpy(item.name, name, strlen(name) + 1);
    op_queue(d, item);
}

static void op_run(struct disk *face, struct disk_job *job) {
    op_queue(self(face), (struct item){.kind = SIM_DISK_JOB, .job = job});
}

static int op_read(struct disk *face, const char *name, uint64_t offset, void *buf, size_t len, size_t *ret_len,
                   struct err *err) {
    struct sim_disk *d = self(face);
    if (d->dead) return died(err);
    struct sim_file *f = file_find(d, name);
    if (!f) return err_set(err, ERR_NOT_FOUND, "%s: no such file", name);
    size_t n = offset >= f->size ? 0 : f->size - offset;
    if (n > len) n = len;
    if (n) memcpy(buf, f->data + offset, n);
    *ret_len = n;
    return 0;
}

static int op_size(struct disk *face, const char *name, uint64_t *ret_size, struct err *err) {
    struct sim_disk *d = self(face);
    if (d->dead) return died(err);
    struct sim_file *f = file_find(d, name);
    if (!f) return err_set(err, ERR_NOT_FOUND, "%s: no such file", name);
    *ret_size = f->size;
    return 0;
}

static int op_list(struct disk *face, void (*cb)(void *data, const char *name), void *data, struct err *err) {
    struct sim_disk *d = self(face);
    if (d->dead) return died(err);
    for (size_t i = 0; i < d->n_files; i++)
        if (d->files[i]->visible) cb(data, d->files[i]->name);
    return 0;
}

static int op_create(struct disk *face, const char *name, uint64_t size, int fill, struct err *err) {
    (void)fill;
    struct sim_disk *d = self(face);
    int rv = step_begin(d, err, "create");
    if (rv < 0) return rv;
    if (!fits(d, size)) return err_set(err, ERR_LIMIT, "%s: no space left on device", name);
    if (rv == DYING && rng_below(&d->rng, 2)) return died(err); /* not there */
    struct sim_file *old = file_find(d, name);
    if (old) old->visible = false;
    struct sim_file *f = file_add(d, name);
    file_reserve(f, size);
    f->size = size;
    file_make_safe(f);
    journal_commit(d);
    return rv == DYING ? died(err) : 0;
}

static int op_write_at(struct disk *face, const char *name, uint64_t offset, const void *buf, size_t len,
                       struct err *err) {
    struct sim_disk *d = self(face);
    int rv = step_begin(d, err, "write");
    if (rv < 0) return rv;
    struct sim_file *f = file_find(d, name);
    size_t more = f && offset + len <= f->size ? 0 : offset + len - (f ? f->size : 0);
    if (!fits(d, more)) return err_set(err, ERR_LIMIT, "%s: no space left on device", name);
    if (!f) {
        f = file_add(d, name);
        journal_add(d, CHANGE_CREATE, f);
    }
    file_reserve(f, offset + len);
    if (len) memcpy(f->data + offset, buf, len);
    size_t first = (f->size < offset ? f->size : offset) / SIM_SECTOR;
    for (size_t s = first; s < sectors(offset + len); s++)
        f->dirty[s] = true;
    if (f->size < offset + len) f->size = offset + len;
    return rv == DYING ? died(err) : 0;
}

static int op_sync(struct disk *face, const char *name, struct err *err) {
    struct sim_disk *d = self(face);
    int rv = step_begin(d, err, "sync");
    if (rv == DYING) return died(err);
    if (rv < 0) return rv;
    struct sim_file *f = file_find(d, name);
    if (!f) return err_set(err, ERR_NOT_FOUND, "%s: no such file", name);
    file_make_safe(f);
    return 0;
}

static int op_write_sync(struct disk *face, const char *name, uint64_t offset, const void *buf, size_t len,
                         struct err *err) {
    struct sim_disk *d = self(face);
    CHECK(offset % DISK_BLOCK == 0 && len % DISK_BLOCK == 0 && len > 0 && (uintptr_t)buf % DISK_BLOCK == 0);
    struct sim_file *f = file_find(d, name);
    if (!f) return err_set(err, ERR_NOT_FOUND, "%s: no such file", name);
    CHECK(offset + len <= f->size);
    int rv = op_write_at(face, name, offset, buf, len, err);
    if (rv != 0) return rv;
    memcpy(f->safe + offset, f->data + offset, len);
    for (size_t s = offset / SIM_SECTOR; s < (offset + len) / SIM_SECTOR; s++)
        f->dirty[s] = false;
    return 0;
}

static int op_replace(struct disk *face, const char *name, const void *buf, size_t len, struct err *err) {
    struct sim_disk *d = self(face);
    int rv = step_begin(d, err, "replace");
    if (rv < 0) return rv;
    if (!fits(d, len)) return err_set(err, ERR_LIMIT, "%s: no space left on device", name);
    if (rv == DYING && rng_below(&d->rng, 2)) return died(err); /* old content */
    struct sim_file *f = file_find(d, name);
    if (!f) f = file_add(d, name);
    file_reserve(f, len);
    if (f->cap) memset(f->data, 0, f->cap);
    if (len) memcpy(f->data, buf, len);
    f->size = len;
    if (f->cap) file_make_safe(f);
    journal_commit(d);
    return rv == DYING ? died(err) : 0;
}

static int op_rename(struct disk *face, const char *from, const char *to, struct err *err) {
    struct sim_disk *d = self(face);
    int rv = step_begin(d, err, "rename");
    if (rv < 0) return rv;
    struct sim_file *f = file_find(d, from), *old = file_find(d, to);
    if (!f) return err_set(err, ERR_NOT_FOUND, "%s: no such file", from);
    CHECK(f != old && strlen(to) < DISK_NAME_MAX);
    struct change *c = journal_add(d, CHANGE_RENAME, f);
    c->replaced = old;
    memcpy(c->from, f->name, sizeof c->from);
    if (old) old->visible = false;
    memset(f->name, 0, sizeof f->name);
    memcpy(f->name, to, strlen(to) + 1);
    return rv == DYING ? died(err) : 0;
}

static int op_remove(struct disk *face, const char *name, struct err *err) {
    struct sim_disk *d = self(face);
    int rv = step_begin(d, err, "remove");
    if (rv < 0) return rv;
    struct sim_file *f = file_find(d, name);
    if (f) {
        f->visible = false;
        journal_add(d, CHANGE_REMOVE, f);
    }
    return rv == DYING ? died(err) : 0;
}

static int op_sync_dir(struct disk *face, struct err *err) {
    struct sim_disk *d = self(face);
    int rv = step_begin(d, err, "sync of the folder");
    if (rv == DYING) return died(err);
    if (rv < 0) return rv;
    journal_commit(d);
    return 0;
}

static int op_free_space(struct disk *face, uint64_t *ret_bytes, struct err *err) {
    struct sim_disk *d = self(face);
    if (d->dead) return died(err);
    uint64_t used = bytes_used(d);
    *ret_bytes = d->capacity == 0 ? UINT64_MAX / 2 : used < d->capacity ? d->capacity - used : 0;
    return 0;
}

static void op_close(struct disk *face) {
    (void)face;
}

static const struct disk_ops ops = {.write = op_write,
                                    .run = op_run,
                                    .read = op_read,
                                    .size = op_size,
                                    .list = op_list,
                                    .create = op_create,
                                    .write_at = op_write_at,
                                    .sync = op_sync,
                                    .write_sync = op_write_sync,
                                    .replace = op_replace,
                                    .rename = op_rename,
                                    .remove = op_remove,
                                    .sync_dir = op_sync_dir,
                                    .free_space = op_free_space,
                                    .close = op_close};

/* ---- life ---- */

struct sim_disk *sim_disk_new(uint64_t seed) {
    struct sim_disk *d = calloc(1, sizeof *d);
    CHECK(d);
    d->face.ops = &ops;
    d->next_id = 1;
    rng_seed(&d->rng, seed);
    return d;
}

static void pending_drop(struct sim_disk *d, size_t i) {
    free(d->pending[i].bytes);
    memmove(&d->pending[i], &d->pending[i + 1], (d->n_pending - i - 1) * sizeof d->pending[0]);
    d->n_pending--;
}

void sim_disk_free(struct sim_disk *d) {
    while (d->n_pending)
        pending_drop(d, d->n_pending - 1);
    for (size_t i = 0; i < d->n_files; i++)
        file_free(d->files[i]);
    free(d->files);
    free(d->journal);
    free(d);
}

struct disk *sim_disk_face(struct sim_disk *d) {
    return &d->face;
}

struct sim_disk *sim_disk_copy(const struct sim_disk *d, uint64_t seed) {
    struct sim_disk *copy = sim_disk_new(seed);
    copy->capacity = d->capacity;
    for (size_t i = 0; i < d->n_files; i++) {
        const struct sim_file *f = d->files[i];
        if (!f->visible) continue;
        struct sim_file *g = file_add(copy, f->name);
        file_reserve(g, f->size);
        if (f->size) memcpy(g->data, f->data, f->size);
        g->size = f->size;
        if (g->cap) file_make_safe(g);
    }
    return copy;
}

/* ---- pending items ---- */

size_t sim_disk_pending(const struct sim_disk *d) {
    return d->n_pending;
}

enum sim_disk_kind sim_disk_kind_at(const struct sim_disk *d, size_t i) {
    CHECK(i < d->n_pending);
    return d->pending[i].kind;
}

size_t sim_disk_bytes_at(const struct sim_disk *d, size_t i) {
    CHECK(i < d->n_pending);
    return d->pending[i].len;
}

static void write_tear(struct sim_disk *d, const struct item *item, bool (*keep)(void *data, size_t sector),
                       void *data);

static void write_step(struct sim_disk *d, size_t i) {
    struct item item = d->pending[i];
    struct err err;
    int rv = step_begin(d, &err, "write");
    if (rv == DYING) return; /* stays pending, for the crash to tear */
    if (rv == 0) {
        struct sim_file *f = file_find(d, item.name);
        CHECK(f && item.offset + item.len <= f->size);
        memcpy(f->data + item.offset, item.bytes, item.len);
        memcpy(f->safe + item.offset, item.bytes, item.len);
        for (size_t s = item.offset / SIM_SECTOR; s < sectors(item.offset + item.len); s++)
            f->dirty[s] = false;
        if (f->safe_size < item.offset + item.len) f->safe_size = item.offset + item.len;
    }
    if (rv == ERR_IO && d->fault == SIM_DISK_TEAR) write_tear(d, &item, NULL, NULL);
    pending_drop(d, i);
    item.cb(item.data, rv, 0);
}

void sim_disk_step(struct sim_disk *d, size_t i) {
    CHECK(i < d->n_pending);
    if (d->dead) return;
    if (d->pending[i].kind == SIM_DISK_WRITE) {
        write_step(d, i);
        return;
    }
    struct disk_job *job = d->pending[i].job;
    pending_drop(d, i);
    job->work(job->data);
    if (!d->dead) job->done(job->data);
}

size_t sim_disk_pump(struct sim_disk *d, size_t max) {
    size_t n = 0;
    while (n < max && d->n_pending && !d->dead) {
        sim_disk_step(d, 0);
        n++;
    }
    return n;
}

void sim_disk_set_notify(struct sim_disk *d,
                         void (*notify)(void *data, uint64_t id, enum sim_disk_kind kind, size_t len), void *data) {
    d->notify = notify;
    d->notify_data = data;
}

bool sim_disk_step_id(struct sim_disk *d, uint64_t id) {
    for (size_t i = 0; i < d->n_pending; i++) {
        if (d->pending[i].id != id) continue;
        sim_disk_step(d, i);
        return true;
    }
    return false;
}

/* ---- crash ---- */

/* Which sectors of one torn thing land: all, none, a prefix, a suffix, or each by its own coin. Prefixes and suffixes
 * are what real devices mostly do; the coin covers every other order. */
struct tear {
    unsigned mode;
    size_t cut;
};

static struct tear tear_draw(struct sim_disk *d, size_t n) {
    return (struct tear){.mode = (unsigned)rng_below(&d->rng, 6), .cut = rng_below(&d->rng, n + 1)};
}

static bool tear_lands(struct sim_disk *d, const struct tear *t, size_t k) {
    switch (t->mode) {
    case 0:
        return true;
    case 1:
        return false;
    case 2:
        return k < t->cut;
    case 3:
        return k >= t->cut;
    default:
        return rng_below(&d->rng, 2);
    }
}

static void file_crash(struct sim_disk *d, struct sim_file *f, bool lose) {
    if (f->size != f->safe_size) {
        size_t lo = f->size < f->safe_size ? f->size : f->safe_size;
        size_t hi = f->size < f->safe_size ? f->safe_size : f->size;
        size_t size = lose ? f->safe_size : rng_between(&d->rng, lo, hi);
        if (!lose && rng_below(&d->rng, 3) == 0) size = f->size;
        f->size = size;
    }
    struct tear tear = tear_draw(d, sectors(f->cap));
    for (size_t s = 0; s < f->cap / SIM_SECTOR; s++) {
        if (!f->dirty[s]) continue;
        bool lands = !lose && tear_lands(d, &tear, s);
        if (!lands) memcpy(f->data + s * SIM_SECTOR, f->safe + s * SIM_SECTOR, SIM_SECTOR);
    }
    if (f->cap > f->size) memset(f->data + f->size, 0, f->cap - f->size);
    if (f->cap) file_make_safe(f);
}

static void write_tear(struct sim_disk *d, const struct item *item, bool (*keep)(void *data, size_t sector),
                       void *data) {
    struct sim_file *f = file_find(d, item->name);
    if (!f || item->offset + item->len > f->size) return; /* its file did not survive */
    size_t n = item->len / SIM_SECTOR;
    struct tear tear = tear_draw(d, n);
    for (size_t k = 0; k < n; k++) {
        if (!(keep ? keep(data, k) : tear_lands(d, &tear, k))) continue;
        memcpy(f->data + item->offset + k * SIM_SECTOR, item->bytes + k * SIM_SECTOR, SIM_SECTOR);
    }
    file_make_safe(f);
}

static void crash(struct sim_disk *d, bool (*keep)(void *data, size_t sector), void *data) {
    size_t survive = keep ? 0 : rng_below(&d->rng, d->n_journal + 1);
    while (d->n_journal > survive)
        journal_undo(&d->journal[--d->n_journal]);
    journal_commit(d);
    for (size_t i = 0; i < d->n_files; i++)
        file_crash(d, d->files[i], keep != NULL);
    for (size_t i = 0; i < d->n_pending; i++)
        if (d->pending[i].kind == SIM_DISK_WRITE) write_tear(d, &d->pending[i], keep, data);
    while (d->n_pending)
        pending_drop(d, d->n_pending - 1);
    d->dead = false;
    d->countdown = 0;
}

void sim_disk_crash(struct sim_disk *d) {
    crash(d, NULL, NULL);
}

void sim_disk_crash_keep(struct sim_disk *d, bool (*keep)(void *data, size_t sector), void *data) {
    crash(d, keep, data);
}

/* ---- faults and inspection ---- */

void sim_disk_fault_after(struct sim_disk *d, uint64_t n, enum sim_disk_fault fault) {
    d->countdown = fault == SIM_DISK_NONE ? 0 : n;
    d->fault = fault;
}

uint64_t sim_disk_steps(const struct sim_disk *d) {
    return d->steps;
}

uint64_t sim_disk_failures(const struct sim_disk *d) {
    return d->failures;
}

uint64_t sim_disk_refusals(const struct sim_disk *d) {
    return d->refusals;
}

uint64_t sim_disk_used(const struct sim_disk *d) {
    return bytes_used(d);
}

bool sim_disk_dead(const struct sim_disk *d) {
    return d->dead;
}

void sim_disk_set_capacity(struct sim_disk *d, uint64_t bytes) {
    d->capacity = bytes;
}

void sim_disk_poke(struct sim_disk *d, const char *name, uint64_t offset, const void *data, size_t len) {
    struct sim_file *f = file_find(d, name);
    CHECK(f && offset + len <= f->size);
    memcpy(f->data + offset, data, len);
    memcpy(f->safe + offset, data, len);
}

void sim_disk_flip(struct sim_disk *d, const char *name, uint64_t offset, unsigned bit) {
    struct sim_file *f = file_find(d, name);
    CHECK(f && offset < f->size && bit < 8);
    uint8_t flipped = (uint8_t)(f->data[offset] ^ 1u << bit);
    sim_disk_poke(d, name, offset, &flipped, 1);
}

const uint8_t *sim_disk_data(const struct sim_disk *d, const char *name, size_t *ret_len) {
    struct sim_file *f = file_find(d, name);
    if (!f) return NULL;
    *ret_len = f->size;
    return f->data;
}

void sim_disk_delete(struct sim_disk *d, const char *name) {
    struct sim_file *f = file_find(d, name);
    if (!f) return;
    f->visible = false;
    journal_commit(d);
}

static int name_compare(const void *a, const void *b) {
    return strcmp(a, b);
}

size_t sim_disk_names(const struct sim_disk *d, char (*ret)[DISK_NAME_MAX], size_t max) {
    size_t n = 0;
    for (size_t i = 0; i < d->n_files; i++) {
        if (!d->files[i]->visible) continue;
        if (n < max) memcpy(ret[n], d->files[i]->name, DISK_NAME_MAX);
        n++;
    }
    qsort(ret, n < max ? n : max, DISK_NAME_MAX, name_compare);
    return n;
}

/* SPDX-License-Identifier: Apache-2.0
 * The replicated log alone, without scheduler and HTTP: three processes on loopback, each with a folder on a real disk.
 *
 *   replica_bench [--dir DIR] [--seconds S] [--kills N] [--bytes B]
 *
 * Prints a line of JSON for each depth (commands in flight on the leader): commands and durable writes a second,
 * latency from propose to apply; and one for the time from kill -9 of the leader to the first commit of its successor,
 * under a load of depth 10. The parent only tells the three what to do; a member that leads proposes to itself. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "consensus/replica.h"

#define MEMBERS     3
#define SAMPLES_MAX 4000000u
#define DEPTH_MAX   4096u

struct options {
    const char *dir;
    unsigned seconds, kills, stops;
    size_t bytes;
};

/* One member, in its own process. */
struct member {
    uv_loop_t loop;
    uv_poll_t orders; /* from the parent: "load DEPTH\n" */
    uv_prepare_t prepare;
    struct replica *replica;
    enum replica_role role;
    uint64_t term, told_term;
    uint64_t id;
    size_t bytes;
    unsigned depth, out;
    uint64_t sent_us[DEPTH_MAX]; /* by ticket - 1 */
    unsigned free[DEPTH_MAX], free_count;
    uint32_t *samples;
    unsigned n;
    uint64_t begun_us, writes_before;
};

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)fflush(stdout);
}

static void fill(struct member *m) {
    uint8_t command[4096];
    memset(command, 'x', m->bytes);
    while (m->role == REPLICA_LEADER && m->out < m->depth && m->free_count > 0) {
        unsigned slot = m->free[m->free_count - 1];
        store_u64(command, m->id);
        if (replica_propose(m->replica, command, m->bytes, (void *)(uintptr_t)(slot + 1)) != 0) return;
        m->free_count--;
        m->out++;
        m->sent_us[slot] = clock_mono_us();
    }
}

static void back(struct member *m, void *ticket, bool good) {
    unsigned slot = (unsigned)(uintptr_t)ticket - 1;
    if (good && m->n < SAMPLES_MAX) m->samples[m->n++] = (uint32_t)(clock_mono_us() - m->sent_us[slot]);
    m->free[m->free_count++] = slot;
    m->out--;
}

static void first_command(void *ctx, uint64_t term, struct buf *ret) {
    const struct member *m = ctx;
    buf_append_u64(ret, UINT64_MAX);
    buf_append_u64(ret, m->id);
    buf_append_u64(ret, term);
}

static void apply(void *ctx, uint64_t term, struct position at, const uint8_t *command, size_t len, void *ticket) {
    struct member *m = ctx;
    (void)at;
    if (len == 24 && load_u64(command) == UINT64_MAX && load_u64(command + 8) == m->id && term == m->term &&
        m->role == REPLICA_LEADER)
        say("first %" PRIu64 " %" PRIu64 "\n", term, clock_mono_us());
    if (ticket) back(m, ticket, true);
}

static void entry_applied(void *ctx, uint64_t index) {
    (void)ctx, (void)index;
}

static void dropped(void *ctx, void *ticket) {
    back(ctx, ticket, false);
}

static void role_changed(void *ctx, enum replica_role role, uint64_t term, uint64_t leader_id) {
    struct member *m = ctx;
    (void)leader_id;
    m->role = role;
    m->term = term;
}

static int snapshot(void *ctx, struct buf *ret) {
    (void)ctx;
    return buf_append_u64(ret, 1);
}

static int restore(void *ctx, const uint8_t *data, size_t len, struct err *err) {
    (void)ctx, (void)data, (void)len, (void)err;
    return 0;
}

static void fatal(void *ctx, int exit_status, const char *why) {
    (void)ctx, (void)why;
    _exit(exit_status);
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(struct member *m) {
    struct replica_status status;
    replica_status(m->replica, &status);
    uint64_t us = clock_mono_us() - m->begun_us;
    qsort(m->samples, m->n, sizeof *m->samples, compare);
    if (m->role != REPLICA_LEADER || m->n == 0) return;
    double seconds = (double)us / 1e6;
    say("result {\"bench\":\"replica\",\"metric\":\"depth_%u\",\"commits_per_s\":%.0f,\"writes_per_s\":%.0f,\"n\":%u,"
        "\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"max_us\":%u,\"write_p50_us\":%" PRIu64 ",\"write_p99_us\":%" PRIu64
        "}\n",
        m->depth, m->n / seconds, (double)(status.writes - m->writes_before) / seconds, m->n, m->samples[m->n / 2],
        m->samples[(uint64_t)m->n * 9 / 10], m->samples[(uint64_t)m->n * 99 / 100], m->samples[m->n - 1],
        status.fsync_p50_us, status.fsync_p99_us);
}

/* The orders are one line each: "load DEPTH" (0 ends a measurement and reports it). */
static void orders_cb(uv_poll_t *poll, int status, int events) {
    struct member *m = poll->data;
    char line[64];
    (void)status, (void)events;
    ssize_t n = read(STDIN_FILENO, line, sizeof line - 1);
    if (n <= 0) _exit(0); /* the parent is gone */
    line[n] = 0;
    unsigned depth = (unsigned)strtoul(line + 5, NULL, 10);
    if (depth == 0) report(m);
    struct replica_status now;
    replica_status(m->replica, &now);
    m->n = 0;
    m->depth = depth > DEPTH_MAX ? DEPTH_MAX : depth;
    m->begun_us = clock_mono_us();
    m->writes_before = now.writes;
}

static void prepare_cb(uv_prepare_t *prepare) {
    fill(prepare->data);
}

static void address_of(uint64_t id, int base, char *ret, size_t len) {
    (void)snprintf(ret, len, "127.%d.%d.%d:5060", 160 + base / 62500 % 64, 1 + base / 250 % 250,
                   3 * (base % 80) + (int)id);
}

static _Noreturn void member_main(const struct options *options, uint64_t id, int base) {
    static struct member m;
    char who[8], dir[512], listen[REPLICA_ADDRESS_MAX];
    (void)snprintf(who, sizeof who, "m%" PRIu64, id);
    log_setup(getenv("VERBOSE") ? LOG_INFO : LOG_ERROR, strdup(who));
    m.id = id;
    m.bytes = options->bytes;
    m.samples = malloc(SAMPLES_MAX * sizeof *m.samples);
    for (unsigned i = 0; i < DEPTH_MAX; i++)
        m.free[m.free_count++] = i;
    CHECK(uv_loop_init(&m.loop) == 0);
    CHECK(uv_poll_init(&m.loop, &m.orders, STDIN_FILENO) == 0);
    CHECK(uv_poll_start(&m.orders, UV_READABLE, orders_cb) == 0);
    CHECK(uv_prepare_init(&m.loop, &m.prepare) == 0);
    CHECK(uv_prepare_start(&m.prepare, prepare_cb) == 0);
    m.orders.data = m.prepare.data = &m;
    (void)snprintf(dir, sizeof dir, "%s/%" PRIu64, options->dir, id);
    (void)mkdir(dir, 0700);
    address_of(id, base, listen, sizeof listen);
    struct replica_config config = {.data_dir = dir,
                                    .cluster_id = "bench",
                                    .node_id = id,
                                    .listen = listen,
                                    .member_count = MEMBERS,
                                    .heartbeat_ms = 50,
                                    .election_ms = 300};
    for (unsigned i = 0; i < MEMBERS; i++) {
        config.members[i].id = i + 1;
        address_of(i + 1, base, config.members[i].address, REPLICA_ADDRESS_MAX);
    }
    struct replica_app app = {.ctx = &m,
                              .first_command = first_command,
                              .apply = apply,
                              .entry_applied = entry_applied,
                              .dropped = dropped,
                              .role_changed = role_changed,
                              .snapshot = snapshot,
                              .restore = restore,
                              .fatal = fatal};
    struct err err = {0};
    if (replica_open(&m.loop, &config, &app, &m.replica, &err) != 0) {
        (void)fprintf(stderr, "member %" PRIu64 ": %s\n", id, err.text);
        _exit(1);
    }
    uv_run(&m.loop, UV_RUN_DEFAULT);
    _exit(0);
}

/* The parent. */
struct child {
    pid_t pid;
    int to, from;
    char line[4096];
    size_t len;
};

struct parent {
    const struct options *options;
    struct child children[MEMBERS];
    int base;
    int leader;        /* index, of the highest term told, or -1 */
    uint64_t term;     /* of `leader` */
    uint64_t first_us; /* when its first command was applied */
    bool reported;
    bool quiet; /* results are not wanted */
};

static void spawn(struct parent *p, int i) {
    int to[2], from[2];
    CHECK(pipe2(to, 0) == 0 && pipe2(from, 0) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(dup2(to[0], STDIN_FILENO) >= 0 && dup2(from[1], STDOUT_FILENO) >= 0);
        for (int fd = 3; fd < 64; fd++)
            (void)close(fd);
        member_main(p->options, (uint64_t)i + 1, p->base);
    }
    (void)close(to[0]);
    (void)close(from[1]);
    p->children[i] = (struct child){.pid = pid, .to = to[1], .from = from[0]};
}

static void kill_child(struct parent *p, int i) {
    struct child *child = &p->children[i];
    CHECK(kill(child->pid, SIGKILL) == 0);
    CHECK(waitpid(child->pid, NULL, 0) == child->pid);
    (void)close(child->to);
    (void)close(child->from);
    child->pid = 0;
}

static void order(struct parent *p, unsigned depth) {
    char line[32];
    int n = snprintf(line, sizeof line, "load %u\n", depth);
    for (int i = 0; i < MEMBERS; i++)
        if (p->children[i].pid) (void)!write(p->children[i].to, line, (size_t)n);
}

static void heard(struct parent *p, int i, char *line) {
    uint64_t term, us;
    if (sscanf(line, "first %" SCNu64 " %" SCNu64, &term, &us) == 2) {
        if (term < p->term) return;
        p->term = term;
        p->leader = i;
        p->first_us = us;
    } else if (strncmp(line, "result ", 7) == 0) {
        if (!p->quiet) say("%s\n", line + 7);
        p->reported = true;
    }
}

/* Reads what the children say for `ms`, or until a leader is there or a result has been printed. */
static void listen_for(struct parent *p, unsigned ms, bool leader, bool result) {
    uint64_t until = clock_mono_ms() + ms;
    while (clock_mono_ms() < until && !(leader && p->leader >= 0) && !(result && p->reported)) {
        struct pollfd fds[MEMBERS];
        for (int i = 0; i < MEMBERS; i++)
            fds[i] = (struct pollfd){.fd = p->children[i].pid ? p->children[i].from : -1, .events = POLLIN};
        (void)poll(fds, MEMBERS, 5);
        for (int i = 0; i < MEMBERS; i++) {
            struct child *child = &p->children[i];
            if (fds[i].fd < 0 || fds[i].revents == 0) continue;
            ssize_t n = read(child->from, child->line + child->len, sizeof child->line - 1 - child->len);
            CHECK(n > 0); /* a child has died */
            child->len += (size_t)n;
            child->line[child->len] = 0;
            for (char *end; (end = strchr(child->line, '\n'));) {
                *end = 0;
                heard(p, i, child->line);
                child->len -= (size_t)(end + 1 - child->line);
                memmove(child->line, end + 1, child->len + 1);
            }
        }
    }
}

static void measure_depth(struct parent *p, unsigned depth) {
    order(p, depth); /* warm up */
    listen_for(p, 500, false, false);
    order(p, depth);
    listen_for(p, p->options->seconds * 1000, false, false);
    p->reported = false;
    order(p, 0);
    listen_for(p, 3000, false, true);
}

/* Takes the leader away `rounds` times, dead or silent, and prints how long the next one took to commit. */
static void measure_failover(struct parent *p, const char *metric, int number, unsigned rounds) {
    static uint32_t us[1000];
    unsigned n = 0;
    p->quiet = true;
    for (unsigned k = 0; k < rounds && k < 1000; k++) {
        order(p, 10);
        listen_for(p, 700, false, false);
        int victim = p->leader;
        uint64_t term = p->term, begun = clock_mono_us();
        p->leader = -1;
        if (number == SIGKILL)
            kill_child(p, victim);
        else
            CHECK(kill(p->children[victim].pid, number) == 0);
        listen_for(p, 10000, true, false);
        CHECK(p->leader >= 0 && p->term > term);
        us[n++] = (uint32_t)(p->first_us - begun);
        if (getenv("VERBOSE"))
            (void)fprintf(stderr, "%s %u: m%d -> m%d %u us\n", metric, k, victim + 1, p->leader + 1, us[n - 1]);
        order(p, 0);
        if (number == SIGKILL)
            spawn(p, victim);
        else
            CHECK(kill(p->children[victim].pid, SIGCONT) == 0);
        listen_for(p, 300, false, false);
    }
    if (n == 0) return;
    qsort(us, n, sizeof *us, compare);
    say("{\"bench\":\"replica\",\"metric\":\"%s\",\"n\":%u,\"min\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"max\":%.1f}\n",
        metric, n, us[0] / 1e3, us[n / 2] / 1e3, us[n * 9 / 10] / 1e3, us[n - 1] / 1e3);
}

/* What one durable write of a block costs on this disk now: the unit of everything above. */
static void measure_disk(const struct options *options) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/probe", options->dir);
    int fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_DSYNC, 0600);
    void *block = NULL;
    static uint32_t us[2000];
    if (fd < 0 || posix_memalign(&block, 4096, 1 << 20) != 0) return;
    memset(block, 1, 1 << 20);
    CHECK(write(fd, block, 1 << 20) == 1 << 20);
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t begun = clock_mono_us();
        CHECK(pwrite(fd, block, 4096, (off_t)(i % 256) * 4096) == 4096);
        us[i] = (uint32_t)(clock_mono_us() - begun);
    }
    (void)close(fd);
    (void)unlink(path);
    free(block);
    qsort(us, 2000, sizeof *us, compare);
    say("{\"bench\":\"replica\",\"metric\":\"one_write\",\"n\":2000,\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u}\n",
        us[1000], us[1800], us[1980]);
}

static bool options_read(struct options *o, int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return false;
        if (strcmp(argv[i], "--dir") == 0)
            o->dir = argv[i + 1];
        else if (strcmp(argv[i], "--seconds") == 0)
            o->seconds = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--kills") == 0)
            o->kills = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--stops") == 0)
            o->stops = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--bytes") == 0)
            o->bytes = strtoul(argv[i + 1], NULL, 10);
        else
            return false;
    }
    return o->bytes >= 32 && o->bytes <= 4096;
}

int main(int argc, char **argv) {
    char dir[] = "/var/tmp/replica-bench-XXXXXX";
    struct options options = {.seconds = 5, .kills = 30, .stops = 20, .bytes = 256};
    if (!options_read(&options, argc, argv)) {
        (void)fprintf(stderr,
                      "usage: replica_bench [--dir DIR] [--seconds S] [--kills N] [--stops N] [--bytes 32..4096]\n");
        return 64;
    }
    if (options.dir == NULL) options.dir = mkdtemp(dir);
    CHECK(options.dir != NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    static struct parent p;
    p = (struct parent){.options = &options, .base = (int)getpid(), .leader = -1};
    measure_disk(&options);
    for (int i = 0; i < MEMBERS; i++)
        spawn(&p, i);
    listen_for(&p, 10000, true, false);
    CHECK(p.leader >= 0);
    static const unsigned depths[] = {1, 10, 100, 1000};
    for (unsigned i = 0; options.seconds > 0 && i < 4; i++)
        measure_depth(&p, depths[i]);
    measure_failover(&p, "kill9_to_commit_ms", SIGKILL, options.kills);
    measure_failover(&p, "sigstop_to_commit_ms", SIGSTOP, options.stops);
    for (int i = 0; i < MEMBERS; i++)
        kill_child(&p, i);
    if (options.dir == dir) {
        char command[600];
        (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
        return system(command) == 0 ? 0 : 1;
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/dev.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rng.h"
#include "cli/client.h"
#include "cli/status.h"

#define CLUSTER_FILE_HEAD "conclave-dev 1"

static void nodes_name(struct dev_cluster *c) {
    for (unsigned i = 0; i < DEV_NODES; i++) {
        struct dev_node *n = &c->nodes[i];
        n->master = i < DEV_MASTERS;
        n->id = n->master ? i + 1 : i - DEV_MASTERS + 1;
        (void)snprintf(n->name, sizeof n->name, "%c%u", n->master ? 'm' : 'a', n->id);
        (void)snprintf(n->host, sizeof n->host, "127.0.0.%u", (n->master ? 10 : 20) + n->id);
        (void)snprintf(n->dir, sizeof n->dir, "%s/%s", c->dir, n->name);
    }
}

static void cluster_new(struct dev_cluster *c) {
    uint8_t id[16];
    random_bytes(id, sizeof id);
    for (int i = 0; i < 16; i++)
        (void)snprintf(c->cluster_id + 2 * i, 3, "%02x", id[i]);
}

static int cluster_line(struct dev_cluster *c, const char *line) {
    char name[8], value[128];
    long pid;
    uint64_t start;
    if (sscanf(line, "cluster-id %32s", c->cluster_id) == 1) return 0;
    if (!strcmp(line, "tls\n")) {
        c->tls = true;
        return 0;
    }
    if (sscanf(line, "resources %127s", value) == 1) {
        (void)snprintf(c->resources, sizeof c->resources, "%s", value);
        return 0;
    }
    if (sscanf(line, "process %7s %ld %" SCNu64, name, &pid, &start) != 3 || pid <= 1) return ERR_CORRUPT;
    struct dev_node *node = dev_node_find(c, name);
    if (!node) return ERR_CORRUPT;
    node->pid = (pid_t)pid;
    node->start_time = start;
    return 0;
}

int dev_load(const char *dir, struct dev_cluster *ret, struct err *err) {
    char path[600], line[256];
    *ret = (struct dev_cluster){0};
    if (snprintf(ret->dir, sizeof ret->dir, "%s", dir) >= (int)sizeof ret->dir)
        return err_set(err, ERR_INVALID, "--dir: too long");
    nodes_name(ret);
    (void)snprintf(path, sizeof path, "%s/cluster", dir);
    FILE *f = fopen(path, "re");
    if (!f && errno == ENOENT) {
        cluster_new(ret);
        ret->fresh = true;
        return 0;
    }
    if (!f) return err_sys(err, errno, "%s", path);
    int rc =
        fgets(line, sizeof line, f) && !strncmp(line, CLUSTER_FILE_HEAD, strlen(CLUSTER_FILE_HEAD)) ? 0 : ERR_CORRUPT;
    while (rc == 0 && fgets(line, sizeof line, f))
        rc = cluster_line(ret, line);
    (void)fclose(f);
    if (rc == 0 && strlen(ret->cluster_id) != 32) rc = ERR_CORRUPT;
    return rc ? err_set(err, rc, "%s is not a file of conclave dev", path) : 0;
}

int dev_save(const struct dev_cluster *c, struct err *err) {
    char path[600], next[640];
    for (char *slash = strchr(c->dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) { /* parents */
        char parent[400];
        (void)snprintf(parent, sizeof parent, "%.*s", (int)(slash - c->dir), c->dir);
        (void)mkdir(parent, 0755);
    }
    if (mkdir(c->dir, 0700) && errno != EEXIST) return err_sys(err, errno, "making %s", c->dir);
    (void)snprintf(path, sizeof path, "%s/cluster", c->dir);
    (void)snprintf(next, sizeof next, "%s.next", path);
    FILE *f = fopen(next, "we");
    if (!f) return err_sys(err, errno, "%s", next);
    fprintf(f, CLUSTER_FILE_HEAD "\ncluster-id %s\n", c->cluster_id);
    if (c->tls) fprintf(f, "tls\n");
    if (c->resources[0]) fprintf(f, "resources %s\n", c->resources);
    for (unsigned i = 0; i < DEV_NODES; i++)
        if (c->nodes[i].pid)
            fprintf(f, "process %s %ld %" PRIu64 "\n", c->nodes[i].name, (long)c->nodes[i].pid, c->nodes[i].start_time);
    if (fclose(f) || rename(next, path)) return err_sys(err, errno, "%s", path);
    return 0;
}

/* State letter and start time of a process; false when there is none. */
static bool process_look(pid_t pid, char *ret_state, uint64_t *ret_start) {
    char path[64], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *f = fopen(path, "re");
    if (!f) return false;
    size_t n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    char *at = strrchr(text, ')'); /* the name may hold anything */
    if (!at || at[1] != ' ') return false;
    *ret_state = at[2];
    at += 3;
    for (int field = 4; field <= 22; field++) {
        while (*at == ' ')
            at++;
        if (field == 22) return sscanf(at, "%" SCNu64, ret_start) == 1;
        while (*at && *at != ' ')
            at++;
    }
    return false;
}

enum dev_state dev_node_state(const struct dev_node *node) {
    char state;
    uint64_t start;
    if (node->pid <= 1 || !process_look(node->pid, &state, &start) || start != node->start_time || state == 'Z' ||
        state == 'X')
        return DEV_DOWN;
    return state == 'T' ? DEV_PAUSED : DEV_RUNNING;
}

struct dev_node *dev_node_find(struct dev_cluster *c, const char *name) {
    for (unsigned i = 0; i < DEV_NODES; i++)
        if (!strcmp(c->nodes[i].name, name)) return &c->nodes[i];
    return NULL;
}

/* A detached child: own session, output to the log, nothing inherited. Replaces the process or ends it with 127. */
static void child_exec(const char *log, char **argv) {
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (setsid() < 0 || out < 0 || in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(127);
    (void)close_range(3, ~0u, 0);
    (void)execv("/proc/self/exe", argv);
    _exit(127);
}

int dev_node_start(struct dev_cluster *c, struct dev_node *node, struct err *err) {
    char log[600], id[16], peers[160], masters[160], listen[64];
    struct dev_tls_paths tls = {0};
    dev_tls_paths(c, node, &tls);
    const char *resources = c->resources[0] ? c->resources : "cpus:4;mem:4096;disk:10000;ports:[31000-32000]";
    char *master[] = {(char *)"conclave",
                      (char *)"master",
                      (char *)"--data-dir",
                      node->dir,
                      (char *)"--cluster-id",
                      c->cluster_id,
                      (char *)"--node",
                      id,
                      (char *)"--peers",
                      peers,
                      (char *)"--chaos",
                      c->tls ? (char *)"--tls-ca" : NULL,
                      tls.ca,
                      (char *)"--tls-cert",
                      tls.cert,
                      (char *)"--tls-key",
                      tls.key,
                      NULL};
    char *agent[] = {(char *)"conclave",
                     (char *)"agent",
                     (char *)"--work-dir",
                     node->dir,
                     (char *)"--masters",
                     masters,
                     (char *)"--listen",
                     listen,
                     (char *)"--advertise",
                     listen,
                     (char *)"--hostname",
                     listen,
                     (char *)"--resources",
                     (char *)resources,
                     c->tls ? (char *)"--tls-ca" : NULL,
                     tls.ca,
                     (char *)"--tls-cert",
                     tls.cert,
                     (char *)"--tls-key",
                     tls.key,
                     NULL};
    char state;
    (void)snprintf(log, sizeof log, "%s.log", node->dir);
    (void)snprintf(id, sizeof id, "%u", node->id);
    (void)snprintf(listen, sizeof listen, "%s", node->host);
    (void)snprintf(peers, sizeof peers, "1=127.0.0.11,2=127.0.0.12,3=127.0.0.13");
    (void)snprintf(masters, sizeof masters, "127.0.0.11:5061,127.0.0.12:5061,127.0.0.13:5061");
    pid_t pid = fork();
    if (pid < 0) return err_sys(err, errno, "starting %s", node->name);
    if (pid == 0) child_exec(log, node->master ? master : agent);
    node->pid = pid;
    if (!process_look(pid, &state, &node->start_time))
        return err_set(err, ERR_IO, "%s ended at once; see %s", node->name, log);
    return dev_save(c, err);
}

int dev_node_signal(const struct dev_node *node, int signal, struct err *err) {
    if (dev_node_state(node) == DEV_DOWN) return err_set(err, ERR_NOT_FOUND, "%s is not running", node->name);
    if (kill(node->pid, signal)) return err_sys(err, errno, "signalling %s", node->name);
    return 0;
}

void dev_options(const struct dev_cluster *c, struct options *o) {
    *o = (struct options){0};
    for (unsigned i = 0; i < DEV_MASTERS; i++)
        (void)snprintf(o->masters[o->master_count++], sizeof o->masters[0], "%s:5050", c->nodes[i].host);
}

int dev_wait_ready(const struct dev_cluster *c, unsigned agents, unsigned timeout_ms, struct err *err) {
    struct options o;
    uint64_t end = clock_mono_ms() + timeout_ms;
    dev_options(c, &o);
    while (clock_mono_ms() < end) {
        struct arena arena;
        arena_init(&arena, CLIENT_ANSWER_MAX);
        Conclave__Admin__Status *s = status_gather(&o, 500, &arena, err);
        bool ready = s && s->has_agents_back && s->agents_back >= agents && strcmp(s->health, "no-quorum");
        arena_done(&arena);
        if (ready) return 0;
        for (unsigned i = 0; i < DEV_NODES; i++)
            if (c->nodes[i].pid && dev_node_state(&c->nodes[i]) == DEV_DOWN && c->nodes[i].master)
                return err_set(err, ERR_IO, "%s ended; see %s.log", c->nodes[i].name, c->nodes[i].dir);
        (void)usleep(20000);
    }
    return err_set(err, ERR_TIMEOUT, "not ready within %u s; the logs are %s/*.log", timeout_ms / 1000, c->dir);
}

/* "conclave shim --dir FOLDER": the folder, if the process is one of those and runs inside our folder. */
static bool shim_is_ours(const struct dev_cluster *c, long pid) {
    char path[64], text[4096];
    (void)snprintf(path, sizeof path, "/proc/%ld/cmdline", pid);
    FILE *f = fopen(path, "re");
    if (!f) return false;
    size_t n = fread(text, 1, sizeof text - 1, f), len = strlen(c->dir);
    (void)fclose(f);
    text[n] = '\0';
    const char *const head[] = {"conclave", "shim", "--dir"};
    const char *at = text;
    for (int i = 0; i < 3; i++) {
        if (strcmp(at, head[i])) return false;
        at += strlen(at) + 1;
        if (at >= text + n) return false;
    }
    return !strncmp(at, c->dir, len) && at[len] == '/';
}

unsigned dev_end_tasks(const struct dev_cluster *c) {
    unsigned found = 0;
    DIR *proc = opendir("/proc");
    if (!proc) return 0;
    for (struct dirent *e; (e = readdir(proc));) {
        long pid = strtol(e->d_name, NULL, 10);
        if (pid <= 1 || !shim_is_ours(c, pid)) continue;
        found++;
        (void)kill((pid_t)pid, SIGUSR1); /* the shim kills its task and records its end */
    }
    (void)closedir(proc);
    return found;
}

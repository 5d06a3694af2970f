/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/dev.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/print.h"
#include "cli/status.h"

#define DEV_STOP_MS 10000

struct dev {
    struct options o;
    const char *dir, *resources;
    bool no_tls;
    struct dev_cluster cluster;
};

static void default_dir(char *ret, size_t size) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state && *state)
        (void)snprintf(ret, size, "%s/conclave/dev", state);
    else
        (void)snprintf(ret, size, "%s/.local/state/conclave/dev", home && *home ? home : "/tmp");
}

static const char *state_text(enum dev_state s) {
    return s == DEV_RUNNING ? "running" : s == DEV_PAUSED ? "paused" : "down";
}

/* ---- up and status ---- */

static void nodes_message(const struct dev_cluster *c, uint64_t leader, enum output output) {
    Conclave__Admin__DevNode rows[DEV_NODES], *masters[DEV_MASTERS], *agents[DEV_AGENTS];
    static char http[DEV_NODES][64], peer[DEV_NODES][64], link[DEV_NODES][64];
    Conclave__Admin__DevUp up = CONCLAVE__ADMIN__DEV_UP__INIT;
    up.has_leader = leader != 0;
    up.leader = leader;
    up.masters = masters;
    up.agents = agents;
    for (unsigned i = 0; i < DEV_NODES; i++) {
        const struct dev_node *n = &c->nodes[i];
        rows[i] = (Conclave__Admin__DevNode)CONCLAVE__ADMIN__DEV_NODE__INIT;
        (void)snprintf(http[i], sizeof http[i], "%s:%d", n->host, n->master ? 5050 : 5051);
        (void)snprintf(peer[i], sizeof peer[i], "%s:5060", n->host);
        (void)snprintf(link[i], sizeof link[i], "%s:5061", n->host);
        rows[i].id = n->id;
        rows[i].http = http[i];
        rows[i].peer = n->master ? peer[i] : NULL;
        rows[i].agent = n->master ? link[i] : NULL;
        rows[i].has_pid = dev_node_state(n) != DEV_DOWN;
        rows[i].pid = n->pid;
        rows[i].dir = (char *)n->dir;
        rows[i].state = (char *)state_text(dev_node_state(n));
        if (n->master)
            masters[up.n_masters++] = &rows[i];
        else
            agents[up.n_agents++] = &rows[i];
    }
    if (output != OUTPUT_TABLE) {
        print_row(&up.base);
        return;
    }
    static const char *const columns[] = {"NODE", "HTTP", "STATE", "PID", "FOLDER", NULL};
    struct table *t = table_new(columns);
    for (unsigned i = 0; i < DEV_NODES; i++) {
        char name[24], pid[24];
        (void)snprintf(name, sizeof name, "%s%s", c->nodes[i].name,
                       c->nodes[i].master && c->nodes[i].id == leader ? " leader" : "");
        (void)snprintf(pid, sizeof pid, "%ld", (long)c->nodes[i].pid);
        table_row(t,
                  (const char *const[]){name, http[i], rows[i].state, rows[i].has_pid ? pid : NULL, c->nodes[i].dir});
    }
    table_print_free(t);
}

static uint64_t leader_now(const struct dev_cluster *c) {
    struct options o;
    struct arena arena;
    struct err err;
    arena_init(&arena, CLIENT_ANSWER_MAX);
    dev_options(c, &o);
    Conclave__Admin__Status *s = status_gather(&o, 1000, &arena, &err);
    uint64_t leader = s && s->leader ? s->leader->id : 0;
    arena_done(&arena);
    return leader;
}

static int dev_start_all(struct dev *d, struct err *err) {
    for (unsigned i = 0; i < DEV_NODES; i++) {
        struct dev_node *n = &d->cluster.nodes[i];
        if (dev_node_state(n) != DEV_DOWN) continue;
        int rc = i == 0 ? dev_save(&d->cluster, err) : 0;
        if (rc == 0) rc = dev_node_start(&d->cluster, n, err);
        if (rc) return rc;
    }
    return dev_wait_ready(&d->cluster, DEV_AGENTS, DEV_WAIT_MS, err);
}

/* TLS is decided when the cluster is made, and stays. */
static int dev_tls(struct dev *d, struct err *err) {
    struct dev_cluster *c = &d->cluster;
    if (c->tls && d->no_tls)
        return err_set(err, ERR_INVALID, "--no-tls: this cluster was made with TLS; conclave dev clean, then again");
    if (!c->fresh || d->no_tls) return 0;
    int rc = dev_save(c, err); /* makes the folder */
    if (rc == 0) rc = dev_tls_make(c, err);
    c->tls = rc == 0;
    return rc;
}

static int dev_up(struct dev *d) {
    struct err err = {0};
    uint64_t t0 = clock_mono_ms();
    if (d->resources) (void)snprintf(d->cluster.resources, sizeof d->cluster.resources, "%s", d->resources);
    int rc = dev_tls(d, &err);
    if (rc == 0) rc = dev_start_all(d, &err);
    if (rc) return fail(&err);
    uint64_t leader = leader_now(&d->cluster);
    nodes_message(&d->cluster, leader, d->o.output);
    if (d->o.output == OUTPUT_TABLE)
        printf("\n%u masters and %u agents are up after %" PRIu64 " ms; master %" PRIu64 " leads.\n"
               "API: http://127.0.0.1%" PRIu64 ":5050 (any master; it redirects to the leader)\n\nTry:\n"
               "  conclave run 'echo hello from $(hostname)'\n"
               "  conclave dev kill leader      # and watch it fail over; conclave dev up brings it back\n"
               "  conclave log ls --limit 20    # what is in the replicated log\n",
               DEV_MASTERS, DEV_AGENTS, clock_mono_ms() - t0, leader, leader ? leader : 1);
    return 0;
}

static int dev_status(struct dev *d) {
    uint64_t leader = leader_now(&d->cluster);
    nodes_message(&d->cluster, leader, d->o.output);
    return leader ? 0 : EXIT_NO_QUORUM;
}

/* ---- resume, down, clean ---- */

static int dev_resume(struct dev *d, const char *target) {
    struct err err = {0};
    struct dev_node *n = dev_node_find(&d->cluster, target);
    if (!n) {
        (void)err_set(&err, ERR_INVALID, "'%.20s' is none of m1..m3, a1..a3", target);
        return fail(&err);
    }
    uint64_t t0 = clock_mono_ms();
    enum dev_state before = dev_node_state(n);
    int rc = 0;
    if (before == DEV_PAUSED) rc = dev_node_signal(n, SIGCONT, &err);
    if (before == DEV_DOWN) rc = dev_node_start(&d->cluster, n, &err);
    unsigned agents = 0;
    for (unsigned i = DEV_MASTERS; i < DEV_NODES; i++)
        agents += dev_node_state(&d->cluster.nodes[i]) == DEV_RUNNING;
    struct dev_cluster asked = d->cluster;
    for (unsigned i = 0; i < DEV_NODES; i++) /* what was down before has not ended now */
        if (&d->cluster.nodes[i] != n && dev_node_state(&asked.nodes[i]) == DEV_DOWN) asked.nodes[i].pid = 0;
    if (rc == 0) rc = dev_wait_ready(&asked, agents, DEV_WAIT_MS, &err);
    if (rc) return fail(&err);
    if (d->o.output == OUTPUT_TABLE)
        printf("%s was %s, is %s; the cluster was ready %" PRIu64 " ms later\n", n->name, state_text(before),
               state_text(dev_node_state(n)), clock_mono_ms() - t0);
    else
        nodes_message(&d->cluster, leader_now(&d->cluster), d->o.output);
    return 0;
}

static void dev_stop_all(struct dev *d) {
    struct err err = {0};
    uint64_t end = clock_mono_ms() + DEV_STOP_MS;
    unsigned left = DEV_NODES;
    for (unsigned i = 0; i < DEV_NODES; i++) {
        if (dev_node_state(&d->cluster.nodes[i]) == DEV_PAUSED)
            (void)dev_node_signal(&d->cluster.nodes[i], SIGCONT, &err);
        (void)dev_node_signal(&d->cluster.nodes[i], SIGTERM, &err); /* one that is gone is what we want */
    }
    while (left && clock_mono_ms() < end) {
        left = 0;
        while (waitpid(-1, NULL, WNOHANG) > 0) /* children, when we run in the foreground */
            continue;
        for (unsigned i = 0; i < DEV_NODES; i++)
            left += dev_node_state(&d->cluster.nodes[i]) != DEV_DOWN;
        if (left) (void)usleep(20000);
    }
    for (unsigned i = 0; left && i < DEV_NODES; i++)
        (void)dev_node_signal(&d->cluster.nodes[i], SIGKILL, &err);
}

static bool dev_there(const struct dev *d, struct err *err) {
    char path[600];
    (void)snprintf(path, sizeof path, "%s/cluster", d->cluster.dir);
    return access(path, F_OK) == 0 || err_set(err, ERR_NOT_FOUND, "%s holds no dev cluster", d->cluster.dir) == 0;
}

static int dev_down(struct dev *d) {
    struct err err = {0};
    if (!dev_there(d, &err)) return fail(&err);
    dev_stop_all(d);
    if (d->o.output == OUTPUT_TABLE)
        printf("the masters and agents are down; tasks run on under their shims until conclave dev clean, data stays "
               "in %s\n",
               d->cluster.dir);
    return 0;
}

/* Ends what still runs and removes the folder; only one that holds a file of ours. */
static int dev_clean(struct dev *d) {
    struct err err = {0};
    if (!dev_there(d, &err)) {
        return fail(&err);
    }
    dev_stop_all(d);
    for (int i = 0; i < 50 && dev_end_tasks(&d->cluster); i++)
        (void)usleep(100000);
    char *argv[] = {(char *)"rm", (char *)"-rf", (char *)"--", d->cluster.dir, NULL};
    pid_t pid = fork();
    if (pid == 0) {
        (void)execvp("rm", argv);
        _exit(127);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
        (void)err_set(&err, ERR_IO, "removing %s failed", d->cluster.dir);
        return fail(&err);
    }
    return 0;
}

static volatile sig_atomic_t foreground_stop;

static void on_stop(int number) {
    (void)number;
    foreground_stop = 1;
}

static int dev_foreground(struct dev *d) {
    const struct sigaction action = {.sa_handler = on_stop};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    int rc = dev_up(d);
    if (rc) return rc;
    printf("\nCtrl-C ends the cluster.\n");
    (void)fflush(stdout);
    while (!foreground_stop)
        (void)pause();
    return dev_down(d);
}

static int dev_verb(struct dev *d, const char *verb, const char *target) {
    if (!verb) return dev_foreground(d);
    bool wants = !strcmp(verb, "kill") || !strcmp(verb, "stop") || !strcmp(verb, "pause") || !strcmp(verb, "resume");
    if (wants != (target != NULL)) {
        fprintf(stderr,
                wants ? "conclave: dev %s wants a node: leader, m1..m3, a1..a3\n"
                      : "conclave: dev %s takes no operand\n",
                verb);
        return EXIT_USAGE;
    }
    if (!strcmp(verb, "up")) return dev_up(d);
    if (!strcmp(verb, "status")) return dev_status(d);
    if (!strcmp(verb, "kill")) return dev_fault(&d->cluster, target, DEV_FAULT_KILL, d->o.output);
    if (!strcmp(verb, "stop")) return dev_fault(&d->cluster, target, DEV_FAULT_STOP, d->o.output);
    if (!strcmp(verb, "pause")) return dev_fault(&d->cluster, target, DEV_FAULT_PAUSE, d->o.output);
    if (!strcmp(verb, "resume")) return dev_resume(d, target);
    if (!strcmp(verb, "down")) return dev_down(d);
    if (!strcmp(verb, "clean")) return dev_clean(d);
    fprintf(stderr, "conclave: dev has no '%.20s'; it has up, status, kill, stop, pause, resume, down, clean\n", verb);
    return EXIT_USAGE;
}

int dev_main(int argc, char **argv) {
    static struct dev d;
    char dir[400];
    const struct flag table[] = {
        OPTION_FLAGS(d.o),
        {"dir", FLAG_STRING, &d.dir, 0, 300, false, "DIR", "where the cluster lives (~/.local/state/conclave/dev)"},
        {"resources", FLAG_STRING, &d.resources, 0, 100, false, "LIST",
         "of each agent (cpus:4;mem:4096;disk:10000;ports:[31000-32000])"},
        {"no-tls", FLAG_BOOL, &d.no_tls, 0, 0, false, "", "a new cluster gets no certificates, its links are plain"},
        {0}};
    struct err err = {0};
    int rest, code;
    if (options_parse(table, &d.o, argc, argv,
                      "conclave dev [up|status|kill NODE|stop NODE|pause NODE|resume NODE|down|clean] [FLAGS]", 0, 2,
                      &rest, &code))
        return code;
    default_dir(dir, sizeof dir);
    if (dev_load(d.dir ? d.dir : dir, &d.cluster, &err)) return fail(&err);
    return dev_verb(&d, rest < argc ? argv[rest] : NULL, rest + 1 < argc ? argv[rest + 1] : NULL);
}

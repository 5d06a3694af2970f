/* SPDX-License-Identifier: Apache-2.0
 * A cluster on this machine: 3 masters on 127.0.0.11-13 and 3 agents on 127.0.0.21-23, standard ports, no root, one
 * folder.
 *
 *   DIR/cluster           cluster id, and a line a process: kind, id, pid, its start time (so that a pid used again by
 *                         somebody else is never signalled)
 *   DIR/tls               a CA of its own and a certificate a node (net/tls.h), unless it was made with --no-tls
 *   DIR/m1 m2 m3          data folders of the masters, DIR/a1 a2 a3 work folders of the agents, *.log beside them
 *
 * dev.c: the verbs. dev_cluster.c: the folder and the processes. dev_tls.c: the certificates. dev_fault.c: kill and
 * pause with their timeline. */
#ifndef CONCLAVE_CLI_DEV_H
#define CONCLAVE_CLI_DEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/options.h"

#define DEV_MASTERS 3
#define DEV_AGENTS  3
#define DEV_NODES   (DEV_MASTERS + DEV_AGENTS)
#define DEV_WAIT_MS 30000

enum dev_state { DEV_DOWN, DEV_RUNNING, DEV_PAUSED };

struct dev_node {
    bool master;
    unsigned id;  /* 1..3 */
    char name[8]; /* "m1", "a2" */
    char host[32];
    char dir[512];
    pid_t pid;           /* 0: never started or known to be gone */
    uint64_t start_time; /* field 22 of /proc/PID/stat */
};

struct dev_cluster {
    char dir[400];
    char cluster_id[33];
    char resources[128];              /* of each agent */
    bool fresh;                       /* nothing has been made of it yet */
    bool tls;                         /* its links have TLS */
    struct dev_node nodes[DEV_NODES]; /* masters first */
};

/* Reads DIR/cluster; without one, the cluster is new (an id is made). ERR_CORRUPT for a file that is none of ours. */
int dev_load(const char *dir, struct dev_cluster *ret, struct err *err);
int dev_save(const struct dev_cluster *c, struct err *err);
/* Makes DIR/tls of a fresh cluster. */
int dev_tls_make(const struct dev_cluster *c, struct err *err);
/* Paths of a node's certificate and key, and of the CA. */
struct dev_tls_paths {
    char ca[500], cert[500], key[500];
};
void dev_tls_paths(const struct dev_cluster *c, const struct dev_node *node, struct dev_tls_paths *ret);
/* Is the recorded process alive, and is it the one that we started? */
enum dev_state dev_node_state(const struct dev_node *node);
/* Starts the node's process, detached, its output in a log file. */
int dev_node_start(struct dev_cluster *c, struct dev_node *node, struct err *err);
/* Sends a signal to exactly the process that was started; ERR_NOT_FOUND when it is gone. */
int dev_node_signal(const struct dev_node *node, int signal, struct err *err);
/* Ends the tasks whose shims run inside the cluster's folder; returns how many there were. */
unsigned dev_end_tasks(const struct dev_cluster *c);
struct dev_node *dev_node_find(struct dev_cluster *c, const char *name);
/* The masters' HTTP addresses as options for the client. */
void dev_options(const struct dev_cluster *c, struct options *o);
/* Waits until a leader is ready and `agents` agents are with it. */
int dev_wait_ready(const struct dev_cluster *c, unsigned agents, unsigned timeout_ms, struct err *err);

enum dev_fault_kind { DEV_FAULT_KILL, DEV_FAULT_PAUSE, DEV_FAULT_STOP }; /* SIGKILL, SIGSTOP, SIGTERM */
/* Does the fault to one node (a name, or "leader") and measures what follows; prints the timeline. Returns the exit
 * status. */
int dev_fault(struct dev_cluster *c, const char *target, enum dev_fault_kind kind, enum output output);

#endif

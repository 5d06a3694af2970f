/* SPDX-License-Identifier: Apache-2.0
 * The master: the shell around the pure core. It turns what comes in (HTTP calls, agents' frames, time) into commands,
 * proposes them, applies what is committed, and acts on what follows: events to frameworks, orders to agents, offers.
 *
 *   api*.c ----\                        /---- sessions.c  events to frameworks
 *   agents.c ---+--> master_propose --> state_apply --+---- agents.c    orders to agents
 *   timers ----/      (the log)                        \--- offers.c    who is offered what
 *
 * Only the leader acts, and only once its own first command is applied (`current`). All soft state (streams, offers,
 * filters, links' welcomes) belongs to one term and is dropped with it; everything that matters is in the state.
 * Everything runs on one thread, the loop's. */
#ifndef CONCLAVE_SCHEDULER_MASTER_H
#define CONCLAVE_SCHEDULER_MASTER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/queue.h"
#include "conclave/log.pb-c.h"
#include "conclave/link.pb-c.h"
#include "consensus/crash_mark.h"
#include "consensus/replica.h"
#include "net/http.h"
#include "net/link.h"
#include "net/net.h"
#include "scheduler/lag.h"
#include "scheduler/state.h"

#define MASTER_MAGIC         0x4d535452u
#define MASTER_HASHES        4096 /* applied positions whose state hash is remembered */
#define MASTER_LINGER_MS     60 /* a leader that has handed over stays so long, for those who have yet to hear of it */
#define MASTER_TICK_MS       50 /* timers are looked at this often */
#define MASTER_SPARE_TICKETS 4096     /* kept for re-use */
#define MESOS_VERSION        "1.11.0" /* what clients are told; ours is conclave_version beside it */

struct sessions;
struct offers;
struct agents;
struct api;
struct ticket;

struct master_config {
    struct replica_config replica;
    struct address http_listen, link_listen;
    char http_advertise[REPLICA_ADDRESS_MAX]; /* HOST:PORT; what others are told */
    char link_advertise[REPLICA_ADDRESS_MAX];
    char hostname[256];
    struct tls_files tls;      /* none: links without TLS */
    uint64_t agent_timeout_ms; /* seeds of the configuration record */
    uint64_t framework_reregister_timeout_ms;
    uint64_t history_tasks;
    uint64_t level; /* feature level of a new cluster; 0: the newest that this program knows */
    bool chaos;     /* fault commands allowed */
};

struct master_hash {
    uint64_t index;
    struct hash128 hash;
};

struct master {
    uint32_t magic;
    const struct master_config *config; /* borrowed for life */
    uv_loop_t *loop;
    struct net *net;
    struct tls *tls; /* NULL: none */
    struct replica *replica;
    struct state *state;
    struct outcome outcome; /* scratch of apply */
    struct effects effects; /* scratch of apply */
    struct buf scratch;     /* packed commands */

    enum replica_role role;
    uint64_t term, leader_id;
    bool sweeping;            /* a framework_sweep is on its way */
    bool current;             /* we lead and our first command of the term is applied */
    uint64_t elected_mono_ms; /* when this term's leadership began; leader only */
    int64_t first_commit_ms;  /* from then to `current`; -1 not yet */
    uint64_t cluster_base_ms, mono_base_ms;
    uint64_t request_ids;
    uint64_t started_wall_ms;

    struct sessions *sessions;
    struct offers *offers;
    struct agents *agents;
    struct api *api;
    struct ticket *spare_tickets; /* of master.c */
    unsigned spare_count;
    struct queue accepting; /* ACCEPTs in the log, not applied yet; of api_scheduler.c */
    uv_timer_t timer;

    struct master_hash *hashes; /* ring of MASTER_HASHES, by index modulo */
    int exit_status;            /* of the process, once the loop ends */
    bool stopping;
    uint64_t stop_ms;      /* when we were told to stop, or last got a step further */
    bool handed_over;      /* leadership, if we had it, is another's */
    struct lag lag;        /* how far we were when */
    bool member_call;      /* api_members.c has a change under way */
    uint64_t members_told; /* members.c: configuration that agents have been told */
    uint64_t members_look_ms, members_sweep_ms;
    uint64_t commands_applied, proposals, proposals_dropped;
    unsigned file_reads; /* of api_files.c, under way on libuv's pool */
    char refusal[200];   /* the text of the last ERR_LEVEL */
};

/* status 0: applied, `outcome` is what apply decided (borrowed); ERR_UNKNOWN_OUTCOME: leadership was lost, it may have
 * committed. */
typedef void (*master_done)(struct master *m, void *ctx, int status, const struct outcome *outcome);

/* Stamps the envelope of `command` (its cluster_ms, wall_ms and request_id are overwritten) and proposes it. On 0, done
 * (may be NULL) is called once, later. Otherwise ERR_NOT_LEADER (also while not yet current), ERR_BUSY, ERR_LIMIT, or
 * ERR_LEVEL (the cluster's feature level does not have it yet; m->refusal says what to do), ERR_FULL (it would make the
 * state grow, and the masters' disks are nearly full), and done is never called. */
int master_propose(struct master *m, Conclave__Log__Command *command, master_done done, void *ctx);

/* Cluster time now; only meaningful on a current leader. */
uint64_t master_cluster_ms(const struct master *m);

/* What we may tell others about the leader: true and HOST:PORTs while one is known whose first entry we have applied.
 */
bool master_leader_known(const struct master *m, const char **ret_http, const char **ret_link);

/* "<cluster>-<incarnation>-<term>": the id in MasterInfo and the prefix of offer ids. */
void master_id(const struct master *m, char *ret, size_t size);

/* Opens everything and runs the loop until SIGTERM, SIGINT or a fatal fault; returns the exit status. */
int master_run(const struct master_config *config);

/* `conclave master ...`: flags, checks, master_run. Returns the exit status. */
int master_main(int argc, char **argv);

/* A launch id or position as text. `ret` has room for 64 bytes. */
void launch_id_text(struct launch_id id, char *ret);

#endif

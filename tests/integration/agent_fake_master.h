/* SPDX-License-Identifier: Apache-2.0
 * A master that only its test knows: accepts agents over a real link, answers as it is told to, remembers what they
 * report; and the verbs around one agent process. Everything is bounded in time; a wait that fails ends the test. */
#ifndef CONCLAVE_TESTS_AGENT_FAKE_MASTER_H
#define CONCLAVE_TESTS_AGENT_FAKE_MASTER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "net/link.h"
#include "net/net.h"

#define REPORTS_MAX 4096
#define LINKS_MAX   64

struct report { /* each new uuid once */
    char task_id[256];
    uint64_t index;
    uint32_t state, latest_state;
    uint8_t uuid[16];
    char message[512];
    uint32_t reason;
    uint32_t pid;
    unsigned times;
};

struct fake_master {
    struct net *net;
    struct link_server *server;
    uint16_t port;
    uv_timer_t ping;
    /* how it behaves */
    bool leads;        /* Hello gets Welcome, else Leader */
    bool acknowledges; /* Report gets Ack */
    uint64_t term;
    uint32_t incarnation;
    uint8_t cluster;  /* each byte of the cluster id */
    char leader[64];  /* told in Leader; "" for not known */
    uint32_t ping_ms; /* told in Welcome */
    bool mute;        /* does not ping */
    /* what it saw */
    struct link *links[LINKS_MAX];
    bool watch[LINKS_MAX];
    struct link *agent; /* the welcome one */
    unsigned hellos, watch_hellos, welcomes, pongs, task_lists;
    size_t listed;      /* rows of the last complete task list */
    size_t busy;        /* of the last Hello */
    uint8_t digest[16]; /* of the last Hello */
    bool has_digest;
    struct report reports[REPORTS_MAX];
    size_t report_n;
};

extern uv_loop_t test_loop;

void master_open(struct fake_master *m, uint64_t term);
void master_close(struct fake_master *m);
/* Ends every link, as a dying process does. */
void master_cut(struct fake_master *m);
/* Tells every agent on a link who leads. */
void master_tell_leader(struct fake_master *m);

void master_launch(struct fake_master *m, const char *task_id, uint64_t index, const char *command);
/* With the TaskInfo's JSON behind name, task_id and agent_id: "\"command\":{...}". */
void master_launch_json(struct fake_master *m, const char *task_id, uint64_t index, const char *json, const char *user);
void master_kill(struct fake_master *m, const char *task_id, uint64_t index, int64_t grace_ms);
void master_ack(struct fake_master *m, const struct report *r);
void master_want_list(struct fake_master *m);

/* The first report of `task_id` in `state`; NULL if there is none. */
const struct report *master_report(const struct fake_master *m, const char *task_id, uint32_t state);
size_t master_count(const struct fake_master *m, uint32_t state);

/* Runs the loop until `*what` is at least `least`, at most 20 s. */
#define AWAIT(what, least)                                                                                             \
    do {                                                                                                               \
        uint64_t until_ = uv_hrtime() + UINT64_C(20000000000);                                                         \
        while ((uint64_t)(what) < (uint64_t)(least)) {                                                                 \
            if (uv_hrtime() > until_) fail_msg("waited in vain for " #what " >= " #least);                             \
            loop_turn();                                                                                               \
        }                                                                                                              \
    } while (0)
void loop_turn(void); /* waits at most 5 ms for something to happen */
void loop_for(unsigned ms);

/* The agent process. */
extern char agent_work[64];
extern uint16_t agent_port;
void agent_work_make(void);
void agent_work_remove(void);
/* `masters` is "127.0.0.1:PORT,..."; NULL: the given master alone. `extra` may be NULL. */
pid_t agent_start(const struct fake_master *m, const char *masters, const char *extra);
/* kill(2) and wait; returns the raw status. */
int agent_end(pid_t pid, int sig);
/* Waits for its own end; returns the exit status. */
int agent_wait(pid_t pid);
/* GET; returns the status, the body in `body` (terminated). */
int agent_http(const char *target, char *body, size_t size);
/* A value of /metrics. */
uint64_t agent_metric(const char *name);

#endif

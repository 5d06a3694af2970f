/* SPDX-License-Identifier: Apache-2.0
 * One fault and its timeline. The clock starts before the signal; "first commit" ends with the answer to a durable
 * write that was first sent after it. What happened to the tasks is judged by comparing the state before and after, and
 * by the start markers in the agents' folders. */
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "cli/client.h"
#include "cli/dev.h"
#include "cli/print.h"
#include "cli/status.h"
#include "conclave/admin.pb-c.h"

#define FAULT_POLL_MS 2

static const char tasks_path[] = "/conclave/v1/tasks?limit=1000000";

static Conclave__Admin__Tasks *tasks_get(const char *master, struct arena *arena) {
    struct answer answer;
    struct err err;
    ProtobufCMessage *message = NULL;
    const struct request request = {.method = "GET", .path = tasks_path, .timeout_ms = 10000};
    if (client_request(master, &request, &answer) == 0)
        (void)answer_message(&answer, &conclave__admin__tasks__descriptor, arena, &message, &err);
    answer_done(&answer);
    return (Conclave__Admin__Tasks *)message;
}

static Conclave__Admin__Status *status_get(const char *master, struct arena *arena) {
    struct answer answer;
    struct err err;
    ProtobufCMessage *message = NULL;
    const struct request request = {.method = "GET", .path = "/conclave/v1/status", .timeout_ms = 300};
    if (client_request(master, &request, &answer) == 0)
        (void)answer_message(&answer, &conclave__admin__status__descriptor, arena, &message, &err);
    answer_done(&answer);
    return (Conclave__Admin__Status *)message;
}

static int task_order(const void *a, const void *b) {
    const Conclave__Admin__Task *x = *(Conclave__Admin__Task *const *)a, *y = *(Conclave__Admin__Task *const *)b;
    int by_framework = strcmp(x->framework, y->framework);
    return by_framework ? by_framework : strcmp(x->id, y->id);
}

/* Launches of one task that have a start marker, over all agents' folders: more than one is a task started twice. */
static uint64_t starts_doubled(const struct dev_cluster *c) {
    char command[2048];
    uint64_t doubled = 0;
    int n = snprintf(command, sizeof command, "find");
    for (unsigned i = DEV_MASTERS; i < DEV_NODES; i++)
        n += snprintf(command + n, sizeof command - (size_t)n, " '%s/tasks'", c->nodes[i].dir);
    (void)snprintf(
        command + n, sizeof command - (size_t)n,
        " -name started -type f 2>/dev/null | sed 's|.*/tasks/\\(.*\\)/[^/]*/started$|\\1|' | sort | uniq -d | wc -l");
    FILE *f = popen(command, "re");
    if (f) {
        if (fscanf(f, "%" SCNu64, &doubled) != 1) doubled = 0;
        (void)pclose(f);
    }
    return doubled;
}

/* Live before: gone from the state or told lost afterwards is lost; another launch of the same id is a restart. */
static void tasks_compare(Conclave__Admin__Tasks *before, Conclave__Admin__Tasks *after,
                          Conclave__Admin__DevTasks *ret) {
    static const char *const bad[] = {"TASK_LOST", "TASK_GONE", "TASK_DROPPED", "TASK_ERROR"};
    if (!before || !after) return;
    qsort(after->tasks, after->n_tasks, sizeof *after->tasks, task_order);
    for (size_t i = 0; i < before->n_tasks; i++) {
        Conclave__Admin__Task *task = before->tasks[i];
        if (task->completed) continue;
        ret->before++;
        Conclave__Admin__Task **found = bsearch(&task, after->tasks, after->n_tasks, sizeof *after->tasks, task_order);
        bool lost = !found;
        for (size_t k = 0; found && k < sizeof bad / sizeof bad[0]; k++)
            lost |= !strcmp((*found)->state, bad[k]);
        ret->lost += lost;
        ret->restarted += found && strcmp((*found)->launch, task->launch) != 0;
    }
}

struct fault {
    struct dev_cluster *c;
    struct dev_node *node;
    Conclave__Admin__DevFault out;
    Conclave__Admin__DevTimes ms;
    Conclave__Admin__DevTasks tasks;
    uint64_t t0_ms;
    char survivors[DEV_MASTERS][64];
    unsigned survivor_count;
    int leader; /* index into survivors; -1 not yet */
};

static int64_t since(const struct fault *f) {
    return (int64_t)(clock_mono_ms() - f->t0_ms);
}

/* Any durable write: an empty change of the configuration. */
static bool commit_try(const char *master) {
    struct answer answer;
    const struct request request = {.method = "POST", .path = "/conclave/v1/config", .body = "{}", .timeout_ms = 1000};
    int rc = client_request(master, &request, &answer);
    bool ok = rc == 0 && answer.status == 200;
    answer_done(&answer);
    return ok;
}

/* One look at the survivors; true when everything that is to come has come. */
static bool fault_look(struct fault *f) {
    bool alive = dev_node_state(f->node) == DEV_RUNNING;
    if (!f->ms.has_gone && !alive) {
        f->ms.has_gone = 1;
        f->ms.gone = since(f);
    }
    for (unsigned i = 0; i < f->survivor_count; i++) {
        struct arena arena;
        arena_init(&arena, CLIENT_ANSWER_MAX);
        Conclave__Admin__Status *s = status_get(f->survivors[i], &arena);
        bool leads = s && s->leader && s->leader->id == s->node && (!f->out.was_leader || s->term > f->out.term_before);
        if (leads && !f->ms.has_elected) {
            f->ms.has_elected = 1;
            f->ms.elected = since(f);
        }
        if (leads && !f->ms.has_first_commit && commit_try(f->survivors[i])) {
            f->ms.has_first_commit = 1;
            f->ms.first_commit = since(f);
        }
        if (leads) {
            f->leader = (int)i;
            f->out.has_term_after = f->out.has_leader_after = 1;
            f->out.term_after = s->term;
            f->out.leader_after = s->node;
            if (!f->ms.has_first_offer && s->has_first_offer_ms && s->first_offer_ms >= 0) {
                f->ms.has_first_offer = 1;
                f->ms.first_offer = since(f);
            }
            if (s->agents && s->has_agents_back) {
                f->out.has_agents = f->out.has_agents_back = 1;
                f->out.agents = s->agents->active;
                f->out.agents_back = s->agents_back;
                unsigned expected = s->agents->active - (f->node->master ? 0 : 1);
                if (!f->ms.has_agents_back && s->agents_back >= expected) {
                    f->ms.has_agents_back = 1;
                    f->ms.agents_back = since(f);
                }
            }
        }
        /* A cluster without a framework, or with nothing free, makes no offer: that is not waited for longer than a
         * second. */
        bool offers_due = leads && s->frameworks > 0 && since(f) < 1000;
        arena_done(&arena);
        if (f->ms.has_gone && f->ms.has_first_commit && f->ms.has_agents_back && (f->ms.has_first_offer || !offers_due))
            return true;
    }
    return false;
}

static void fault_print(const struct fault *f) {
    const Conclave__Admin__DevFault *o = &f->out;
    const struct {
        const char *what;
        bool has;
        int64_t ms;
    } lines[] = {{"gone", f->ms.has_gone, f->ms.gone},
                 {"elected", f->ms.has_elected, f->ms.elected},
                 {"first commit", f->ms.has_first_commit, f->ms.first_commit},
                 {"first offer", f->ms.has_first_offer, f->ms.first_offer},
                 {"agents back", f->ms.has_agents_back, f->ms.agents_back}};
    printf("%s %s%s\n", o->fault, o->target, o->was_leader ? " (the leader)" : "");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (lines[i].has)
            printf("  %6" PRId64 " ms  %s\n", lines[i].ms, lines[i].what);
        else
            printf("       -     %s\n", lines[i].what);
    }
    printf("  leader: master %" PRIu64 ", term %" PRIu64 " -> %" PRIu64 "; agents back: %" PRIu64 " of %" PRIu64 "\n",
           o->leader_after, o->term_before, o->term_after, o->agents_back, o->agents);
    printf("  tasks: %" PRIu64 " before, lost: %" PRIu64 ", doubled: %" PRIu64 ", restarted: %" PRIu64 "\n",
           o->tasks->before, o->tasks->lost, o->tasks->doubled, o->tasks->restarted);
}

static int fault_target(struct dev_cluster *c, const char *target, const Conclave__Admin__Status *s, struct fault *f,
                        struct err *err) {
    char leader[8];
    if (!strcmp(target, "leader")) {
        if (!s->leader || !s->leader->id) return err_set(err, ERR_NO_QUORUM, "there is no leader now");
        (void)snprintf(leader, sizeof leader, "m%u", (unsigned)s->leader->id);
        target = leader;
    }
    f->node = dev_node_find(c, target);
    if (!f->node) return err_set(err, ERR_INVALID, "'%.20s' is none of leader, m1..m3, a1..a3", target);
    if (dev_node_state(f->node) != DEV_RUNNING) return err_set(err, ERR_NOT_FOUND, "%s is not running", f->node->name);
    f->out.target = f->node->name;
    f->out.was_leader = f->node->master && s->leader && s->leader->id == f->node->id;
    f->out.has_term_before = 1;
    f->out.term_before = s->term;
    for (unsigned i = 0; i < DEV_MASTERS; i++)
        if (&c->nodes[i] != f->node && dev_node_state(&c->nodes[i]) == DEV_RUNNING)
            (void)snprintf(f->survivors[f->survivor_count++], sizeof f->survivors[0], "%s:5050", c->nodes[i].host);
    return 0;
}

int dev_fault(struct dev_cluster *c, const char *target, enum dev_fault_kind kind, enum output output) {
    struct fault f = {.c = c, .leader = -1};
    struct options o;
    struct arena arena;
    struct err err = {0};
    f.out = (Conclave__Admin__DevFault)CONCLAVE__ADMIN__DEV_FAULT__INIT;
    f.ms = (Conclave__Admin__DevTimes)CONCLAVE__ADMIN__DEV_TIMES__INIT;
    f.tasks = (Conclave__Admin__DevTasks)CONCLAVE__ADMIN__DEV_TASKS__INIT;
    f.out.ms = &f.ms;
    f.out.tasks = &f.tasks;
    f.out.fault = (char *)(kind == DEV_FAULT_KILL ? "kill" : kind == DEV_FAULT_STOP ? "stop" : "pause");
    dev_options(c, &o);
    arena_init(&arena, 1u << 30);
    Conclave__Admin__Status *s = status_gather(&o, 1000, &arena, &err);
    int rc = s ? fault_target(c, target, s, &f, &err) : err.code;
    if (s && rc == 0) {
        char leader[64];
        (void)snprintf(leader, sizeof leader, "127.0.0.%u:5050", 10 + (unsigned)(s->leader ? s->leader->id : 1));
        Conclave__Admin__Tasks *before = tasks_get(leader, &arena);
        f.t0_ms = clock_mono_ms();
        rc = dev_node_signal(f.node,
                             kind == DEV_FAULT_KILL   ? SIGKILL
                             : kind == DEV_FAULT_STOP ? SIGTERM
                                                      : SIGSTOP,
                             &err);
        while (rc == 0 && since(&f) < DEV_WAIT_MS && !fault_look(&f))
            (void)usleep(FAULT_POLL_MS * 1000);
        if (rc == 0) {
            (void)usleep(200000); /* what the agents had to say has been said */
            Conclave__Admin__Tasks *after = f.leader >= 0 ? tasks_get(f.survivors[f.leader], &arena) : NULL;
            tasks_compare(before, after, &f.tasks);
            f.tasks.doubled = starts_doubled(c);
        }
    }
    if (rc == 0 && output == OUTPUT_TABLE)
        fault_print(&f);
    else if (rc == 0)
        print_row(&f.out.base);
    bool complete = f.ms.has_gone && f.ms.has_elected && f.ms.has_first_commit && f.ms.has_agents_back;
    bool harmless = f.tasks.lost == 0 && f.tasks.doubled == 0 && f.tasks.restarted == 0;
    arena_done(&arena);
    if (rc) return fail(&err);
    return complete && harmless ? 0 : 1;
}

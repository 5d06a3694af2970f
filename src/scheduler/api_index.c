/* SPDX-License-Identifier: Apache-2.0
 * GET /: one page for a person with a browser: who leads, what runs, where to read on. No script, nothing to load. */
#include "scheduler/api.h"

#include <inttypes.h>
#include <string.h>

#include "scheduler/agents.h"
#include "scheduler/offers.h"

static void index_cluster(const struct master *m, struct buf *page) {
    struct state_counts c;
    state_counts(m->state, &c);
    (void)buf_printf(page, "agents      %" PRIu32 " active", c.agents_active);
    if (m->current) (void)buf_printf(page, ", %" PRIu32 " connected", agents_here_count(m->agents));
    (void)buf_printf(page, ", %" PRIu32 " unreachable\n", c.agents_unreachable);
    (void)buf_printf(page, "frameworks  %" PRIu32 " connected\ntasks       %" PRIu64 " live", c.frameworks_connected,
                     c.tasks_live);
    for (uint32_t s = 0; s < sizeof c.tasks_now / sizeof c.tasks_now[0]; s++)
        if (c.tasks_now[s] && !task_state_terminal(s))
            (void)buf_printf(page, ", %" PRIu64 " %s", c.tasks_now[s], task_state_name(s));
    (void)buf_printf(
        page, "\nsince the beginning: %" PRIu64 " finished, %" PRIu64 " failed, %" PRIu64 " killed, %" PRIu64 " lost\n",
        c.tasks_ever[TASK_FINISHED], c.tasks_ever[TASK_FAILED], c.tasks_ever[TASK_KILLED], c.tasks_ever[TASK_LOST]);
}

void api_index(struct call *call) {
    const struct master *m = call->m;
    const char *leader = NULL;
    struct buf page;
    struct replica_status r;
    buf_init(&page, 64u << 10);
    replica_status(m->replica, &r);
    (void)buf_append_str(&page,
                         "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=2><title>Conclave</title>"
                         "<style>body{font:15px/1.5 monospace;margin:3em}</style><h1>Conclave</h1><pre>");
    (void)buf_printf(&page,
                     "master      %" PRIu64 " (%s), term %" PRIu64 ", applied %" PRIu64 " of %" PRIu64 " committed\n",
                     r.node_id, m->current ? "leader" : "follower", r.term, r.applied_index, r.commit_index);
    if (master_leader_known(m, &leader, NULL))
        (void)buf_printf(&page, "leader      master %" PRIu64 " at <a href=\"http://%s/\">%s</a>\n", m->leader_id,
                         leader, leader);
    else
        (void)buf_append_str(&page, "leader      none known\n");
    index_cluster(m, &page);
    (void)buf_append_str(
        &page,
        "\n<a href=/conclave/v1/status>status</a>  <a href=/conclave/v1/tasks>tasks</a>  "
        "<a href=/conclave/v1/agents>agents</a>  <a href=/conclave/v1/log>log</a>  <a href=/metrics>metrics</a>  "
        "<a href=/state>state</a> (as Mesos has it)</pre>");
    const struct http_field type = {"Content-Type", "text/html; charset=utf-8"};
    if (page.failed)
        call_unavailable(call->x, "Out of memory");
    else
        http_reply(call->x, 200, &type, 1, page.data, page.len);
    buf_done(&page);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_fake_master.h"

#include "../lib/cmocka_all.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/tree.h"
#include "conclave/link.pb-c.h"
#include "mesos/v1/mesos.pb-c.h"
#include "wire/arena.h"
#include "wire/json.h"
#include "wire/protobuf.h"

#define FRAME(name) CONCLAVE__LINK__FRAME_TYPE__##name

uv_loop_t test_loop;
char agent_work[64];
uint16_t agent_port;

static void timer_nothing_cb(uv_timer_t *timer) {
    (void)timer;
}

void loop_turn(void) {
    static uv_timer_t timer;
    static bool made;
    if (!made) made = uv_timer_init(&test_loop, &timer) == 0;
    (void)uv_timer_start(&timer, timer_nothing_cb, 5, 0);
    (void)uv_run(&test_loop, UV_RUN_ONCE);
    (void)uv_timer_stop(&timer);
}

void loop_for(unsigned ms) {
    uint64_t until = uv_hrtime() + (uint64_t)ms * 1000000u;
    while (uv_hrtime() < until)
        loop_turn();
}

static void send_message(struct link *link, uint16_t type, const ProtobufCMessage *message) {
    struct buf b;
    buf_init(&b, 4u << 20);
    assert_int_equal(protobuf_print(message, &b), 0);
    assert_int_equal(link_send(link, LINK_BULK, type, b.data, b.len, NULL, 0), 0);
    buf_done(&b);
}

static uint8_t cluster_bytes[16];

static Conclave__Link__Fence fence_of(const struct fake_master *m) {
    Conclave__Link__Fence fence = CONCLAVE__LINK__FENCE__INIT;
    memset(cluster_bytes, m->cluster, sizeof cluster_bytes);
    fence.cluster_id.data = cluster_bytes;
    fence.cluster_id.len = sizeof cluster_bytes;
    fence.incarnation = m->incarnation;
    fence.term = m->term;
    return fence;
}

static void tell_leader(struct fake_master *m, struct link *link) {
    Conclave__Link__Leader leader = CONCLAVE__LINK__LEADER__INIT;
    leader.term = m->term;
    if (m->leader[0]) leader.link = m->leader;
    send_message(link, FRAME(LEADER), &leader.base);
}

static void hello_take(struct fake_master *m, struct link *link, const Conclave__Link__Hello *h) {
    link_established(link);
    m->hellos++;
    if (h->watch_only) {
        m->watch_hellos++;
        tell_leader(m, link);
        return;
    }
    m->busy = h->n_busy;
    m->has_digest = h->has_digest;
    if (h->has_digest) memcpy(m->digest, h->digest.data, 16);
    if (!m->leads) {
        tell_leader(m, link);
        return;
    }
    Conclave__Link__Welcome welcome = CONCLAVE__LINK__WELCOME__INIT;
    Conclave__Link__Fence fence = fence_of(m);
    welcome.agent_id = (char[]){"test-1-S1"};
    welcome.fence = &fence;
    welcome.ping_ms = m->ping_ms;
    welcome.agent_timeout_ms = 75000;
    send_message(link, FRAME(WELCOME), &welcome.base);
    m->agent = link;
    m->welcomes++;
}

void master_ack(struct fake_master *m, const struct report *r) {
    Conclave__Link__Ack ack = CONCLAVE__LINK__ACK__INIT;
    Conclave__Link__Fence fence = fence_of(m);
    Conclave__Log__LaunchId launch = CONCLAVE__LOG__LAUNCH_ID__INIT;
    launch.index = r->index;
    ack.fence = &fence;
    ack.launch = &launch;
    ack.framework_id = (char[]){"fw-1"};
    ack.task_id = (char *)(uintptr_t)r->task_id;
    ack.uuid.data = (uint8_t *)(uintptr_t)r->uuid;
    ack.uuid.len = 16;
    send_message(m->agent, FRAME(ACK), &ack.base);
}

static struct report *report_find(struct fake_master *m, const uint8_t *uuid) {
    for (size_t i = 0; i < m->report_n; i++)
        if (memcmp(m->reports[i].uuid, uuid, 16) == 0) return &m->reports[i];
    return NULL;
}

static void report_take(struct fake_master *m, const Conclave__Link__Report *in, struct arena *arena) {
    struct report *r = report_find(m, in->uuid.data);
    if (!r) {
        ProtobufCMessage *message;
        struct err err = {0};
        assert_true(m->report_n < REPORTS_MAX);
        r = &m->reports[m->report_n++];
        (void)snprintf(r->task_id, sizeof r->task_id, "%s", in->task_id);
        r->index = in->launch->index;
        r->state = in->state;
        memcpy(r->uuid, in->uuid.data, 16);
        if (protobuf_parse(&mesos__v1__task_status__descriptor, in->status.data, in->status.len,
                           PROTOBUF_REFUSE_UNKNOWN, arena, &message, &err))
            fail_msg("status: %s", err.text);
        const Mesos__V1__TaskStatus *s = (Mesos__V1__TaskStatus *)message;
        assert_int_equal((uint32_t)s->state, in->state);
        assert_memory_equal(s->uuid.data, in->uuid.data, 16);
        assert_string_equal(s->agent_id->value, "test-1-S1");
        (void)snprintf(r->message, sizeof r->message, "%s", s->message ? s->message : "");
        r->reason = s->has_reason ? (uint32_t)s->reason : 9999;
        r->pid = s->container_status->executor_pid;
    }
    r->latest_state = in->latest_state;
    r->times++;
    if (m->acknowledges) master_ack(m, r);
}

static void on_frame(void *ctx, struct link *link, uint16_t type, const uint8_t *payload, size_t len) {
    struct fake_master *m = ctx;
    struct arena arena;
    struct err err = {0};
    ProtobufCMessage *message = NULL;
    const ProtobufCMessageDescriptor *descriptor = type == FRAME(HELLO)       ? &conclave__link__hello__descriptor
                                                   : type == FRAME(REPORT)    ? &conclave__link__report__descriptor
                                                   : type == FRAME(TASK_LIST) ? &conclave__link__task_list__descriptor
                                                                              : &conclave__link__pong__descriptor;
    arena_init(&arena, 16u << 20);
    if (protobuf_parse(descriptor, payload, len, PROTOBUF_REFUSE_UNKNOWN, &arena, &message, &err))
        fail_msg("frame %u: %s", type, err.text);
    if (type == FRAME(HELLO)) {
        hello_take(m, link, (Conclave__Link__Hello *)message);
    } else if (type == FRAME(REPORT)) {
        assert_ptr_equal(link, m->agent);
        report_take(m, (Conclave__Link__Report *)message, &arena);
    } else if (type == FRAME(TASK_LIST)) {
        m->task_lists++;
        m->listed = ((Conclave__Link__TaskList *)message)->n_tasks;
    } else {
        m->pongs++;
    }
    arena_done(&arena);
}

static void on_close(void *ctx, struct link *link, enum link_reason reason, const struct err *err) {
    struct fake_master *m = ctx;
    (void)reason, (void)err;
    if (m->agent == link) m->agent = NULL;
    for (size_t i = 0; i < LINKS_MAX; i++)
        if (m->links[i] == link) m->links[i] = NULL;
}

static void on_accept(void *ctx, struct link *link) {
    static const struct link_callbacks callbacks = {.on_frame = on_frame, .on_close = on_close};
    struct fake_master *m = ctx;
    link_set_context(link, &callbacks, m);
    for (size_t i = 0; i < LINKS_MAX; i++)
        if (!m->links[i]) {
            m->links[i] = link;
            return;
        }
    fail_msg("too many links");
}

static void ping_cb(uv_timer_t *timer) {
    struct fake_master *m = timer->data;
    Conclave__Link__Ping ping = CONCLAVE__LINK__PING__INIT;
    if (m->agent && !m->mute && link_is_open(m->agent)) send_message(m->agent, FRAME(PING), &ping.base);
}

void master_open(struct fake_master *m, uint64_t term) {
    struct address address = {.host = "127.0.0.1", .port = 0};
    struct err err = {0};
    memset(m, 0, sizeof *m);
    m->leads = m->acknowledges = true;
    m->term = term;
    m->incarnation = 1;
    m->cluster = 7;
    m->ping_ms = 1000;
    m->net = net_open(&test_loop);
    assert_non_null(m->net);
    if (link_server_open(m->net, &address, NULL, on_accept, m, &m->server, &err)) fail_msg("%s", err.text);
    m->port = link_server_address(m->server)->port;
    (void)uv_timer_init(&test_loop, &m->ping);
    m->ping.data = m;
    (void)uv_timer_start(&m->ping, ping_cb, 200, 200);
}

static void closed_cb(void *ctx) {
    *(bool *)ctx = true;
}

static void timer_closed_cb(uv_handle_t *handle) {
    ((struct fake_master *)handle->data)->mute = true;
}

void master_close(struct fake_master *m) {
    bool server = false, net = false;
    m->mute = false;
    uv_close((uv_handle_t *)&m->ping, timer_closed_cb);
    AWAIT(m->mute, 1);
    link_server_close(m->server, closed_cb, &server);
    AWAIT(server, 1);
    net_close(m->net, closed_cb, &net);
    AWAIT(net, 1);
}

void master_cut(struct fake_master *m) {
    for (size_t i = 0; i < LINKS_MAX; i++)
        if (m->links[i]) link_close(m->links[i]);
}

void master_tell_leader(struct fake_master *m) {
    for (size_t i = 0; i < LINKS_MAX; i++)
        if (m->links[i]) tell_leader(m, m->links[i]);
}

void master_launch_json(struct fake_master *m, const char *task_id, uint64_t index, const char *json,
                        const char *user) {
    char text[8192];
    struct arena arena;
    struct err err = {0};
    struct buf info;
    ProtobufCMessage *message;
    (void)snprintf(text, sizeof text,
                   "{\"name\":\"n\",\"task_id\":{\"value\":\"%s\"},\"agent_id\":{\"value\":\"a\"},%s}", task_id, json);
    arena_init(&arena, 1u << 20);
    buf_init(&info, 65536);
    if (json_parse(&mesos__v1__task_info__descriptor, (uint8_t *)text, strlen(text), &arena, &message, &err))
        fail_msg("%s", err.text);
    assert_int_equal(protobuf_print(message, &info), 0);
    Conclave__Link__Launch l = CONCLAVE__LINK__LAUNCH__INIT;
    Conclave__Link__Fence fence = fence_of(m);
    Conclave__Log__LaunchId launch = CONCLAVE__LOG__LAUNCH_ID__INIT;
    Conclave__Log__Resources resources = CONCLAVE__LOG__RESOURCES__INIT;
    launch.index = index;
    resources.has_cpus = resources.has_mem = 1;
    resources.cpus = 100;
    resources.mem = 32000;
    l.fence = &fence;
    l.launch = &launch;
    l.framework_id = (char[]){"fw-1"};
    l.task_id = (char *)(uintptr_t)task_id;
    l.info.data = info.data;
    l.info.len = info.len;
    l.resources = &resources;
    l.user = (char *)(uintptr_t)user;
    assert_non_null(m->agent);
    send_message(m->agent, FRAME(LAUNCH), &l.base);
    buf_done(&info);
    arena_done(&arena);
}

void master_launch(struct fake_master *m, const char *task_id, uint64_t index, const char *command) {
    char json[4096];
    (void)snprintf(json, sizeof json, "\"command\":{\"value\":\"%s\"}", command);
    master_launch_json(m, task_id, index, json, "");
}

void master_kill(struct fake_master *m, const char *task_id, uint64_t index, int64_t grace_ms) {
    Conclave__Link__Kill kill_order = CONCLAVE__LINK__KILL__INIT;
    Conclave__Link__Fence fence = fence_of(m);
    Conclave__Log__LaunchId launch = CONCLAVE__LOG__LAUNCH_ID__INIT;
    launch.index = index;
    kill_order.fence = &fence;
    kill_order.launch = &launch;
    kill_order.framework_id = (char[]){"fw-1"};
    kill_order.task_id = (char *)(uintptr_t)task_id;
    kill_order.has_grace_ms = grace_ms >= 0;
    kill_order.grace_ms = (uint64_t)grace_ms;
    send_message(m->agent, FRAME(KILL), &kill_order.base);
}

void master_want_list(struct fake_master *m) {
    Conclave__Link__TaskListWanted wanted = CONCLAVE__LINK__TASK_LIST_WANTED__INIT;
    send_message(m->agent, FRAME(TASK_LIST_WANTED), &wanted.base);
}

const struct report *master_report(const struct fake_master *m, const char *task_id, uint32_t state) {
    for (size_t i = 0; i < m->report_n; i++)
        if (m->reports[i].state == state && strcmp(m->reports[i].task_id, task_id) == 0) return &m->reports[i];
    return NULL;
}

size_t master_count(const struct fake_master *m, uint32_t state) {
    size_t n = 0;
    for (size_t i = 0; i < m->report_n; i++)
        n += m->reports[i].state == state;
    return n;
}

void agent_work_make(void) {
    (void)snprintf(agent_work, sizeof agent_work, "/tmp/conclave-agent-XXXXXX");
    assert_non_null(mkdtemp(agent_work));
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    agent_port = ntohs(sa.sin_port); /* free now; the agent takes it in a moment */
    (void)close(fd);
}

void agent_work_remove(void) {
    struct err err;
    (void)tree_remove(AT_FDCWD, agent_work, &err);
}

pid_t agent_start(const struct fake_master *m, const char *masters, const char *extra) {
    char own[64], listen_on[64];
    (void)snprintf(own, sizeof own, "127.0.0.1:%u", m ? m->port : 0u);
    (void)snprintf(listen_on, sizeof listen_on, "127.0.0.1:%u", agent_port);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves no agent behind */
        const char *log = getenv("AGENT_LOG");
        int fd = open(log ? log : "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)dup2(fd, STDERR_FILENO);
        (void)execl(AGENT_PROGRAM, "conclave", "agent", "--masters", masters ? masters : own, "--work-dir", agent_work,
                    "--listen", listen_on, "--resources", "cpus:4;mem:1024;disk:100", extra, (char *)NULL);
        _exit(99);
    }
    assert_true(pid > 0);
    return pid;
}

int agent_end(pid_t pid, int sig) {
    int status = 0;
    (void)kill(pid, sig);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

int agent_wait(pid_t pid) {
    int status = 0;
    for (int i = 0; i < 1000; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        loop_for(10);
    }
    (void)agent_end(pid, SIGKILL);
    fail_msg("the agent did not end");
    return -1;
}

int agent_http(const char *target, char *body, size_t size) {
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(agent_port)};
    struct timeval limit = {.tv_sec = 10};
    static char answer[1u << 20];
    char request[2048];
    size_t len = 0;
    ssize_t n;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0) {
        (void)close(fd);
        return -1;
    }
    int k = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", target);
    assert_int_equal(write(fd, request, (size_t)k), k);
    while (len < sizeof answer - 1 && (n = read(fd, answer + len, sizeof answer - 1 - len)) > 0)
        len += (size_t)n;
    (void)close(fd);
    answer[len] = '\0';
    const char *begin = strstr(answer, "\r\n\r\n");
    (void)snprintf(body, size, "%s", begin ? begin + 4 : "");
    return len > 12 ? atoi(answer + 9) : -1;
}

uint64_t agent_metric(const char *name) {
    static char body[65536];
    char line[128];
    if (agent_http("/metrics", body, sizeof body) != 200) return 0;
    (void)snprintf(line, sizeof line, "\nconclave_agent_%s ", name);
    const char *at = strstr(body, line);
    return at ? strtoull(at + strlen(line), NULL, 10) : 0;
}

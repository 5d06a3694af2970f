/* SPDX-License-Identifier: Apache-2.0
 * conclave task ls|logs and conclave agent ls. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/print.h"
#include "cli/task_logs.h"
#include "conclave/admin.pb-c.h"

/* The leader's answer: any master knows the committed tasks, but only the leader's are never behind. */
static int leader_message(const struct options *o, const char *path, const ProtobufCMessageDescriptor *type,
                          struct arena *arena, ProtobufCMessage **ret, struct err *err) {
    struct answer answer;
    struct options leader = *o;
    bool found = client_leader_first(&leader);
    if (found) leader.master_count = 1;
    const struct request request = {.method = "GET", .path = path, .timeout_ms = 10000};
    int rc = client_request_any(&leader, &request, &answer, err);
    if (rc) return rc;
    rc = answer_message(&answer, type, arena, ret, err);
    answer_done(&answer);
    return rc;
}

int task_lookup(const struct options *o, const char *task_id, const char *framework, struct arena *arena,
                Conclave__Admin__Task **ret, struct err *err) {
    struct buf path;
    ProtobufCMessage *message = NULL;
    buf_init(&path, 4096);
    (void)buf_append_str(&path, "/conclave/v1/tasks?limit=1000&task=");
    url_component(task_id, &path);
    if (framework) {
        (void)buf_append_str(&path, "&framework=");
        url_component(framework, &path);
    }
    (void)buf_append_byte(&path, '\0');
    int rc = path.failed
                 ? err_set(err, ERR_INVALID, "the id is too long")
                 : leader_message(o, (char *)path.data, &conclave__admin__tasks__descriptor, arena, &message, err);
    buf_done(&path);
    if (rc) return rc;
    Conclave__Admin__Tasks *tasks = (Conclave__Admin__Tasks *)message;
    if (tasks->n_tasks == 0) return err_set(err, ERR_NOT_FOUND, "no task %.80s", task_id);
    *ret = tasks->tasks[tasks->n_tasks - 1]; /* the newest of that id */
    return 0;
}

int task_ls_main(int argc, char **argv) {
    struct options o = {0};
    const char *framework = NULL;
    uint64_t limit = 1000;
    bool all = false;
    const struct flag table[] = {OPTION_FLAGS(o),
                                 {"framework", FLAG_STRING, &framework, 0, 255, false, "ID", "only this framework's"},
                                 {"all", FLAG_BOOL, &all, 0, 0, false, "", "completed ones too"},
                                 {"limit", FLAG_U64, &limit, 1, 10000000, false, "N", "ask for at most so many (1000)"},
                                 {0}};
    static const char *const columns[] = {"TASK",      "NAME",   "STATE", "FRAMEWORK", "AGENT",
                                          "RESOURCES", "LAUNCH", "SINCE", NULL};
    struct err err = {0};
    struct arena arena;
    ProtobufCMessage *message = NULL;
    struct buf path;
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave task ls [FLAGS]", 0, 0, &rest, &code)) return code;
    arena_init(&arena, CLIENT_ANSWER_MAX);
    buf_init(&path, 4096);
    (void)buf_printf(&path, "/conclave/v1/tasks?limit=%" PRIu64, limit);
    if (framework) {
        (void)buf_append_str(&path, "&framework=");
        url_component(framework, &path);
    }
    (void)buf_append_byte(&path, '\0');
    int rc = leader_message(&o, (char *)path.data, &conclave__admin__tasks__descriptor, &arena, &message, &err);
    buf_done(&path);
    if (rc == 0) {
        const Conclave__Admin__Tasks *tasks = (const Conclave__Admin__Tasks *)message;
        struct table *t = o.output == OUTPUT_TABLE ? table_new(columns) : NULL;
        struct rows rows;
        if (!t) rows_begin(&rows, o.output);
        for (size_t i = 0; i < tasks->n_tasks; i++) {
            const Conclave__Admin__Task *row = tasks->tasks[i];
            char since[32];
            if (row->completed && !all) continue;
            if (!t)
                rows_message(&rows, &row->base);
            else
                table_row(t,
                          (const char *const[]){row->id, row->name, row->state, row->framework, row->agent,
                                                row->resources, row->launch, wall_text(row->changed_wall_ms, since)});
        }
        if (t)
            table_print_free(t);
        else
            rows_end(&rows);
    }
    arena_done(&arena);
    return rc ? fail(&err) : 0;
}

int task_logs_main(int argc, char **argv) {
    struct options o = {0};
    const char *framework = NULL;
    bool error_stream = false;
    const struct flag table[] = {
        OPTION_FLAGS(o),
        {"framework", FLAG_STRING, &framework, 0, 255, false, "ID", "if several frameworks have a task of that id"},
        {"stderr", FLAG_BOOL, &error_stream, 0, 0, false, "", "what it wrote to stderr"},
        {0}};
    struct err err = {0};
    struct arena arena;
    Conclave__Admin__Task *task = NULL;
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave task logs TASK [FLAGS]", 1, 1, &rest, &code)) return code;
    arena_init(&arena, CLIENT_ANSWER_MAX);
    int rc = task_lookup(&o, argv[rest], framework, &arena, &task, &err);
    uint64_t offset = 0;
    if (rc == 0)
        rc = task_logs_copy(task->agent_http, task->framework, task->id, error_stream ? "stderr" : "stdout", &offset,
                            stdout, &err);
    arena_done(&arena);
    return rc ? fail(&err) : 0;
}

int agent_ls_main(int argc, char **argv) {
    struct options o = {0};
    const struct flag table[] = {OPTION_FLAGS(o), {0}};
    static const char *const columns[] = {"AGENT", "HOST",      "HTTP", "STATUS",  "LINK",
                                          "TASKS", "RESOURCES", "USED", "OFFERED", NULL};
    struct err err = {0};
    struct arena arena;
    ProtobufCMessage *message = NULL;
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave agent ls [FLAGS]", 0, 0, &rest, &code)) return code;
    arena_init(&arena, CLIENT_ANSWER_MAX);
    int rc = leader_message(&o, "/conclave/v1/agents", &conclave__admin__agents__descriptor, &arena, &message, &err);
    if (rc == 0) {
        const Conclave__Admin__Agents *agents = (const Conclave__Admin__Agents *)message;
        struct table *t = o.output == OUTPUT_TABLE ? table_new(columns) : NULL;
        struct rows rows;
        if (!t) rows_begin(&rows, o.output);
        for (size_t i = 0; i < agents->n_agents; i++) {
            const Conclave__Admin__Agent *a = agents->agents[i];
            char tasks[16];
            (void)snprintf(tasks, sizeof tasks, "%u", a->tasks);
            if (!t)
                rows_message(&rows, &a->base);
            else
                table_row(t, (const char *const[]){a->id, a->hostname, a->http, a->status, a->connected ? "up" : "-",
                                                   tasks, a->resources, a->used, a->offered});
        }
        if (t)
            table_print_free(t);
        else
            rows_end(&rows);
    }
    arena_done(&arena);
    return rc ? fail(&err) : 0;
}

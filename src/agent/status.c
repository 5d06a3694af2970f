/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/status.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "mesos/v1/mesos.pb-c.h"
#include "wire/protobuf.h"

#define REASON(name) MESOS__V1__TASK_STATUS__REASON__REASON_##name
static_assert((int)REASON_COMMAND_FAILED == (int)REASON(COMMAND_EXECUTOR_FAILED), "wire number");
static_assert((int)REASON_SHIM_LOST == (int)REASON(EXECUTOR_TERMINATED), "wire number");
static_assert((int)REASON_MEMORY_LIMIT == (int)REASON(CONTAINER_LIMITATION_MEMORY), "wire number");
static_assert((int)REASON_AGENT_RESTARTED == (int)REASON(AGENT_RESTARTED), "wire number");
static_assert((int)REASON_TASK_INVALID == (int)REASON(TASK_INVALID), "wire number");
static_assert((int)REASON_LAUNCH_FAILED == (int)REASON(CONTAINER_LAUNCH_FAILED), "wire number");
static_assert((int)REASON_KILLED_DURING_LAUNCH == (int)REASON(TASK_KILLED_DURING_LAUNCH), "wire number");
static_assert((int)REASON_COMPLETION_TIME == (int)REASON(MAX_COMPLETION_TIME_REACHED), "wire number");

void container_id_make(const struct launch_key *key, char ret[CONTAINER_ID_TEXT]) {
    struct buf b;
    buf_init(&b, 1024);
    launch_key_encode(key, &b);
    char hex[33];
    hash128_hex(hash128_of(b.data, b.len), hex);
    buf_done(&b);
    (void)snprintf(ret, CONTAINER_ID_TEXT, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

static uintptr_t unconst(const void *p) {
    return (uintptr_t)p; /* packing reads only, but the generated structs are not const */
}

int status_make(const struct launch_key *key, const struct workload_update *update, const uint8_t uuid[16],
                const struct status_facts *facts, struct buf *ret) {
    char container[CONTAINER_ID_TEXT];
    container_id_make(key, container);
    Mesos__V1__TaskID task_id = MESOS__V1__TASK_ID__INIT;
    Mesos__V1__AgentID agent_id = MESOS__V1__AGENT_ID__INIT;
    Mesos__V1__ExecutorID executor_id = MESOS__V1__EXECUTOR_ID__INIT;
    Mesos__V1__ContainerID container_id = MESOS__V1__CONTAINER_ID__INIT;
    Mesos__V1__ContainerStatus container_status = MESOS__V1__CONTAINER_STATUS__INIT;
    Mesos__V1__NetworkInfo network = MESOS__V1__NETWORK_INFO__INIT;
    Mesos__V1__NetworkInfo__IPAddress address = MESOS__V1__NETWORK_INFO__IPADDRESS__INIT;
    Mesos__V1__NetworkInfo *networks[] = {&network};
    Mesos__V1__NetworkInfo__IPAddress *addresses[] = {&address};
    Mesos__V1__TaskStatus s = MESOS__V1__TASK_STATUS__INIT;

    task_id.value = executor_id.value = (char *)unconst(key->task_id);
    agent_id.value = (char *)unconst(facts->agent_id);
    container_id.value = container;
    container_status.container_id = &container_id;
    container_status.has_executor_pid = facts->pid != 0;
    container_status.executor_pid = facts->pid;
    if (facts->ip) {
        address.ip_address = (char *)unconst(facts->ip);
        network.n_ip_addresses = 1;
        network.ip_addresses = addresses;
        container_status.n_network_infos = 1;
        container_status.network_infos = networks;
    }
    s.task_id = &task_id;
    s.state = (Mesos__V1__TaskState)update->state;
    if (*facts->agent_id) s.agent_id = &agent_id;
    s.executor_id = &executor_id;
    s.container_status = &container_status;
    s.has_source = 1;
    s.source = facts->by_agent ? MESOS__V1__TASK_STATUS__SOURCE__SOURCE_AGENT
                               : MESOS__V1__TASK_STATUS__SOURCE__SOURCE_EXECUTOR;
    s.has_timestamp = 1;
    s.timestamp = (double)facts->wall_ms / 1000.0;
    s.has_uuid = 1;
    s.uuid.data = (uint8_t *)unconst(uuid);
    s.uuid.len = 16;
    if (update->text[0]) s.message = (char *)unconst(update->text);
    if (update->reason != REASON_NONE) {
        s.has_reason = 1;
        s.reason = (Mesos__V1__TaskStatus__Reason)update->reason;
    }
    return protobuf_print(&s.base, ret);
}

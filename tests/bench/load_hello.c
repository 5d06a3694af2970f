/* SPDX-License-Identifier: Apache-2.0 */
#include "load_hello.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "conclave/link.pb-c.h"
#include "mesos/v1/mesos.pb-c.h"
#include "wire/protobuf.h"

#define ENDLESS INT64_C(1000000000000)

void load_hello(const uint8_t uuid[16], const char *host, struct buf *ret) {
    Conclave__Log__Range ports = CONCLAVE__LOG__RANGE__INIT, *port_list = &ports;
    Conclave__Log__Resources resources = CONCLAVE__LOG__RESOURCES__INIT;
    Conclave__Link__Hello hello = CONCLAVE__LINK__HELLO__INIT;
    Mesos__V1__AgentInfo info = MESOS__V1__AGENT_INFO__INIT;
    struct buf packed;
    uint8_t digest[16] = {0};
    ports.begin = 31000;
    ports.end = 32000;
    resources.has_cpus = resources.has_mem = 1;
    resources.cpus = resources.mem = ENDLESS;
    resources.n_ports = 1;
    resources.ports = &port_list;
    info.hostname = (char *)host;
    buf_init(&packed, 4096);
    CHECK(protobuf_print(&info.base, &packed) == 0);
    hello.uuid = (ProtobufCBinaryData){.data = (uint8_t *)uuid, .len = 16};
    hello.hostname = (char *)host;
    hello.http = (char *)"127.0.0.1:1";
    hello.resources = &resources;
    hello.info = (ProtobufCBinaryData){.data = packed.data, .len = packed.len};
    hello.version = (char *)"bench";
    hello.has_digest = 1;
    hello.digest = (ProtobufCBinaryData){.data = digest, .len = sizeof digest};
    CHECK(protobuf_print(&hello.base, ret) == 0);
    buf_done(&packed);
}

void load_status(size_t bytes, struct buf *ret) {
    char *message = malloc(bytes + 1);
    Mesos__V1__TaskID id = MESOS__V1__TASK_ID__INIT;
    Mesos__V1__TaskStatus status = MESOS__V1__TASK_STATUS__INIT;
    CHECK(message);
    memset(message, 'm', bytes);
    id.value = (char *)"t";
    status.task_id = &id;
    status.state = MESOS__V1__TASK_STATE__TASK_RUNNING;
    status.message = message;
    size_t n = bytes;
    do
        message[n] = '\0'; /* one byte shorter each time, until it fits */
    while (mesos__v1__task_status__get_packed_size(&status) > bytes && n-- > 0);
    CHECK(protobuf_print(&status.base, ret) == 0);
    free(message);
}

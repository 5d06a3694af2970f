/* SPDX-License-Identifier: Apache-2.0
 * Packed commands for tests: each maker fills a struct made and returns its bytes. One command lives at a time:
 * the next call reuses the memory. Not for use by two threads. */
#ifndef CONCLAVE_TESTS_COMMAND_MAKE_H
#define CONCLAVE_TESTS_COMMAND_MAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conclave/log.pb-c.h"
#include "scheduler/state.h"

struct made {
    uint8_t *data;
    size_t len;
};

/* Envelope of the commands that follow; both begin at 1000 and stay until changed. */
void make_time(uint64_t cluster_ms, uint64_t wall_ms);
/* Frees what the makers keep. */
void make_done(void);

/* Any command: fill a Conclave__Log__Command (made with CONCLAVE__LOG__COMMAND__INIT) and pack it. */
struct made make_packed(Conclave__Log__Command *command);

struct make_amount { /* in whole units; ports begin..end, 0: none */
    double cpus, mem, disk, gpus;
    uint32_t port_begin, port_end;
};

struct made make_leader(uint64_t term,
                        const char *cluster16); /* 16 characters; node = term, seed: defaults, newest level */
struct made make_leader_seeded(uint64_t term, const char *cluster16, const Conclave__Log__Config *seed);
struct made make_config(const Conclave__Log__Config *config);
struct made make_config_if(const Conclave__Log__Config *config, const Conclave__Log__Position *changed);
/* `id` NULL: a new one; role "*"; capabilities as CAP_* */
struct made make_subscribe(const char *id, uint64_t failover_ms, uint32_t capabilities);
struct made make_disconnected(uint32_t framework, uint64_t subscribed);
struct made make_expire(uint32_t framework, uint64_t since);
struct made make_teardown(uint32_t framework);
struct made make_sweep(uint32_t framework, uint64_t from);
struct made make_suppress(uint32_t framework, const char *role, bool suppressed); /* role NULL: all */
/* uuid: 16 times the byte `who`. */
struct made make_agent(uint8_t who, struct make_amount total);
struct made make_returned(uint32_t agent);
struct made make_unreachable(uint32_t agent, uint64_t since);
struct made make_gone(uint32_t agent);
struct made make_member_add(const char *peer, uint64_t highest);
struct made make_member_remove(uint64_t id);
/* One task, valid offers. */
struct made make_accept(uint32_t framework, uint32_t agent, const char *task_id, struct make_amount amount);
struct make_task {
    const char *id;
    struct make_amount amount;
    const char *refusal; /* NULL: none */
};
struct made make_accept_many(uint32_t framework, uint32_t agent, bool offers_valid, const struct make_task *tasks,
                             size_t count);
struct made make_kill(uint32_t framework, const char *task_id, int64_t grace_ms); /* negative: none given */
/* uuid: 16 times the byte `uuid`; status: some 20 bytes that name the state. */
struct made make_report(uint32_t agent, const char *framework_id, const char *task_id, struct launch_id launch,
                        uint32_t state, uint32_t latest, uint8_t uuid);
struct made make_report_uuid(uint32_t agent, const char *framework_id, const char *task_id, struct launch_id launch,
                             uint32_t state, uint32_t latest, const uint8_t uuid[16]);
struct made make_acknowledge(uint32_t framework, const char *task_id, uint8_t uuid);
struct made make_acknowledge_uuid(uint32_t framework, const char *task_id, const uint8_t uuid[16]);
struct made make_vanished(uint32_t agent, const char *framework_id, const char *task_id, struct launch_id launch);

#endif

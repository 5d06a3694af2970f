/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/model.h"

#include <string.h>

#include "base/err.h"
#include "scheduler/state.h"

static const struct {
    const char *name;
    bool terminal, reportable;
} task_states[TASK_STATES] = {
    [TASK_STARTING] = {"TASK_STARTING", false, true},
    [TASK_RUNNING] = {"TASK_RUNNING", false, true},
    [TASK_FINISHED] = {"TASK_FINISHED", true, true},
    [TASK_FAILED] = {"TASK_FAILED", true, true},
    [TASK_KILLED] = {"TASK_KILLED", true, true},
    [TASK_LOST] = {"TASK_LOST", true, true},
    [TASK_STAGING] = {"TASK_STAGING", false, false},
    [TASK_ERROR] = {"TASK_ERROR", true, true},
    [TASK_KILLING] = {"TASK_KILLING", false, true},
    [TASK_DROPPED] = {"TASK_DROPPED", true, true},
    [TASK_UNREACHABLE] = {"TASK_UNREACHABLE", false, false},
    [TASK_GONE] = {"TASK_GONE", true, true},
    [TASK_GONE_BY_OPERATOR] = {"TASK_GONE_BY_OPERATOR", true, false},
    [TASK_UNKNOWN] = {"TASK_UNKNOWN", false, false},
};

bool task_state_terminal(uint32_t state) {
    return state < TASK_STATES && task_states[state].terminal;
}

const char *task_state_name(uint32_t state) {
    return state < TASK_STATES ? task_states[state].name : "TASK_UNKNOWN";
}

bool task_state_reportable(uint32_t state) {
    return state < TASK_STATES && task_states[state].reportable;
}

bool id_valid(const char *id) {
    size_t len = strnlen(id, STATE_ID_MAX + 1);
    if (len == 0 || len > STATE_ID_MAX || strcmp(id, ".") == 0 || strcmp(id, "..") == 0) return false;
    for (const char *c = id; *c; c++)
        if (*c == '/' || *c == '\\' || (unsigned char)*c < 0x20 || *c == 0x7f) return false;
    return true;
}

static bool role_component_valid(const char *at, size_t len) {
    if (len == 0 || at[0] == '-') return false;
    if (len == 1 && (at[0] == '.' || at[0] == '*')) return false;
    if (len == 2 && at[0] == '.' && at[1] == '.') return false;
    for (size_t i = 0; i < len; i++)
        if (strchr(" \t\n\v\f\r\b\\", at[i])) return false;
    return true;
}

bool role_valid(const char *role) {
    if (strnlen(role, STATE_ID_MAX + 1) > STATE_ID_MAX) return false;
    if (strcmp(role, "*") == 0) return true;
    for (;;) {
        size_t len = strcspn(role, "/");
        if (!role_component_valid(role, len)) return false;
        if (role[len] == '\0') return true;
        role += len + 1;
    }
}

static bool amount_valid(int64_t amount) {
    return amount >= 0 && amount <= RESOURCES_MILLI_MAX;
}

int resources_from_log(const Conclave__Log__Resources *from, struct resources *ret) {
    struct resources made = {0};
    if (!from) {
        *ret = made;
        return 0;
    }
    made.cpus = from->has_cpus ? from->cpus : 0;
    made.mem = from->has_mem ? from->mem : 0;
    made.disk = from->has_disk ? from->disk : 0;
    made.gpus = from->has_gpus ? from->gpus : 0;
    if (!amount_valid(made.cpus) || !amount_valid(made.mem) || !amount_valid(made.disk) || !amount_valid(made.gpus))
        return ERR_INVALID;
    if (from->n_ports > PORTS_RANGES_MAX) return ERR_LIMIT;
    if (from->n_ports > 0) {
        struct wide_range ranges[PORTS_RANGES_MAX];
        for (size_t i = 0; i < from->n_ports; i++)
            ranges[i] = (struct wide_range){from->ports[i]->begin, from->ports[i]->end};
        int rc = ports_from_ranges(ranges, from->n_ports, &made.ports, NULL);
        if (rc) return rc;
    }
    *ret = made;
    return 0;
}

uint64_t time_add(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

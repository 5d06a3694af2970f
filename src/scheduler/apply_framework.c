/* SPDX-License-Identifier: Apache-2.0
 * Frameworks: subscription, disconnect, expiry, removal, roles.
 *
 *   subscribe -> CONNECTED <-> DISCONNECTED          subscribe / framework_disconnected
 *                    |              |
 *                    +--> REMOVED <-+                teardown, framework_expire; bounded history, then forgotten */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "scheduler/apply.h"
#include "scheduler/obligations.h"

/* ---- subscription ---- */

static enum outcome_code texts_check(struct apply *a, const Conclave__Log__FrameworkSubscribe *c) {
    if (strlen(c->name) > STATE_TEXT_MAX || strlen(c->user) > STATE_TEXT_MAX ||
        (c->principal && strlen(c->principal) > STATE_TEXT_MAX))
        return apply_refuse(a, "Framework's name, user or principal is longer than %d bytes", STATE_TEXT_MAX);
    if (c->info.len > STATE_INFO_MAX) return apply_refuse(a, "FrameworkInfo is larger than %d bytes", STATE_INFO_MAX);
    return OUTCOME_OK;
}

/* Index of `role` in the call's list, or -1. */
static int role_find(const Conclave__Log__FrameworkSubscribe *c, const char *role, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(c->roles[i], role) == 0) return (int)i;
    return -1;
}

static enum outcome_code roles_check(struct apply *a, const Conclave__Log__FrameworkSubscribe *c,
                                     uint32_t *ret_suppressed) {
    if (c->n_roles == 0 || c->n_roles > STATE_ROLES_MAX)
        return apply_refuse(a, "A framework has 1 to %d roles", STATE_ROLES_MAX);
    for (size_t i = 0; i < c->n_roles; i++) {
        if (!role_valid(c->roles[i])) return apply_refuse(a, "Role '%.100s' is not valid", c->roles[i]);
        if (role_find(c, c->roles[i], i) >= 0) return apply_refuse(a, "Role '%.100s' is named twice", c->roles[i]);
    }
    uint32_t suppressed = 0;
    for (size_t i = 0; i < c->n_suppressed_roles; i++) {
        int role = role_find(c, c->suppressed_roles[i], c->n_roles);
        if (role < 0) return apply_refuse(a, "Suppressed role '%.80s' is not subscribed", c->suppressed_roles[i]);
        suppressed |= UINT32_C(1) << role;
    }
    *ret_suppressed = suppressed;
    return OUTCOME_OK;
}

static void id_of_number(const struct state *state, uint32_t number, char ret[64]) {
    snprintf(ret, 64, "%s-%" PRIu32 "-%04" PRIu32, state->cluster_name, state->incarnation, number);
}

/* An id that this incarnation of the cluster gives out itself: its number. 0: another id. */
static uint32_t number_of_id(const struct state *state, const char *id) {
    const char *digits = strrchr(id, '-');
    if (!digits || strlen(digits + 1) > 10 || strspn(digits + 1, "0123456789") != strlen(digits + 1)) return 0;
    uint64_t number = strtoull(digits + 1, NULL, 10);
    if (number == 0 || number > UINT32_MAX) return 0;
    char canonical[64];
    id_of_number(state, (uint32_t)number, canonical);
    return strcmp(id, canonical) == 0 ? (uint32_t)number : 0;
}

/* A framework that is not known is made anew with the id it brings, unless that id can only be a removed one or a
 * guess: ids that we count are never used twice. */
static enum outcome_code new_check(struct apply *a, const char *id) {
    struct state *state = a->state;
    uint32_t connected = state->frameworks_by_status[FRAMEWORK_CONNECTED];
    if (connected + state->frameworks_by_status[FRAMEWORK_DISCONNECTED] >= STATE_FRAMEWORKS_MAX ||
        state->framework_next == UINT32_MAX)
        return apply_refuse(a, "There are %d frameworks already", STATE_FRAMEWORKS_MAX);
    if (!id) return OUTCOME_OK;
    if (!id_valid(id)) return apply_refuse(a, "Framework id is not valid");
    uint32_t number = number_of_id(state, id);
    if (number == 0) return OUTCOME_OK;
    if (number < state->framework_next) return apply_refuse(a, "Framework has been removed");
    return apply_refuse(a, "Framework id was never given out");
}

/* `id`: the one it brings along, or NULL. */
static struct framework *framework_make(struct apply *a, const char *id, const char *user) {
    struct framework *framework = framework_put(a->state, a->state->framework_next++);
    char counted[64];
    id_of_number(a->state, framework->number, counted);
    framework->id = text_copy(id ? id : counted);
    framework->name = text_copy("");
    framework->user = text_copy(user);
    framework->principal = text_copy("");
    framework->registered_wall_ms = a->wall_ms;
    framework_index(a->state, framework);
    return framework;
}

static void roles_set(struct framework *framework, const Conclave__Log__FrameworkSubscribe *c) {
    for (uint32_t i = 0; i < framework->role_count; i++)
        free(framework->roles[i]);
    framework->role_count = (uint32_t)c->n_roles;
    for (uint32_t i = 0; i < framework->role_count; i++)
        framework->roles[i] = text_copy(c->roles[i]);
}

enum outcome_code apply_framework_subscribe(struct apply *a, const Conclave__Log__FrameworkSubscribe *c) {
    const char *id = c->framework_id && *c->framework_id ? c->framework_id : NULL;
    const char *principal = c->principal ? c->principal : "";
    struct framework *framework = id ? framework_find(a->state, id) : NULL;
    uint32_t suppressed = 0;
    enum outcome_code code = texts_check(a, c);
    if (code == OUTCOME_OK) code = roles_check(a, c, &suppressed);
    if (code != OUTCOME_OK) return code;
    if (framework && framework->status == FRAMEWORK_REMOVED) return apply_refuse(a, "Framework has been removed");
    if (framework && *principal && *framework->principal && strcmp(principal, framework->principal) != 0)
        return apply_refuse(a, "Changing a framework's principal is not allowed");
    if (!framework) {
        code = new_check(a, id);
        if (code != OUTCOME_OK) return code;
        framework = framework_make(a, id, c->user);
    }
    framework_touch(a->state, framework);
    text_set(&framework->name, c->name);
    if (*principal) text_set(&framework->principal, principal);
    roles_set(framework, c);
    framework->suppressed = suppressed;
    framework->capabilities = c->has_capabilities ? c->capabilities : 0;
    framework->failover_timeout_ms = c->failover_timeout_ms;
    bytes_set(&framework->info, c->info.data, c->info.len);
    framework->subscribed = a->index;
    framework->since = a->index;
    framework->since_cluster_ms = a->state->cluster_ms;
    framework->changed_wall_ms = a->wall_ms;
    framework_set_status(a->state, framework, FRAMEWORK_CONNECTED);
    a->outcome->framework = framework->number;
    effect_framework(a, EFFECT_FRAMEWORK_CHANGED, framework);
    return OUTCOME_OK;
}

/* ---- the end ---- */

enum outcome_code apply_framework_disconnected(struct apply *a, const Conclave__Log__FrameworkDisconnected *c) {
    enum outcome_code code = OUTCOME_OK;
    struct framework *framework = apply_framework(a, c->framework, &code);
    if (!framework) return code;
    if (framework->status != FRAMEWORK_CONNECTED || framework->subscribed != c->subscribed) return OUTCOME_NO_CHANGE;
    framework_touch(a->state, framework);
    framework->since = a->index;
    framework->since_cluster_ms = a->state->cluster_ms;
    framework->changed_wall_ms = a->wall_ms;
    framework_set_status(a->state, framework, FRAMEWORK_DISCONNECTED);
    effect_framework(a, EFFECT_FRAMEWORK_CHANGED, framework);
    return OUTCOME_OK;
}

/* Nobody is left to acknowledge: what has ended goes to the history, the rest is to be killed and stays, with its
 * resources, until its agent says that it has ended. */
void apply_orphan(struct apply *a, struct task *task) {
    if (task->unacked) {
        effect_ack(a, task, task->uuid);
        task_touch(a->state, task);
        task->unacked = false;
    }
    if (task_state_terminal(task->latest_state)) {
        uint32_t end = task_state_terminal(task->state) ? task->state : task->latest_state;
        if (task->state != end) task_set_made(a->state, task, end, MESOS_REASON_FRAMEWORK_REMOVED, NULL, a->wall_ms);
        task_complete(a->state, task);
        return;
    }
    task_touch(a->state, task);
    task->kill_wanted = true;
    effect_task(a, EFFECT_KILL, task);
}

static void remove_framework(struct apply *a, struct framework *framework) {
    framework_touch(a->state, framework);
    framework->since = a->index;
    framework->since_cluster_ms = a->state->cluster_ms;
    framework->changed_wall_ms = a->wall_ms;
    framework_remove(a->state, framework);
    if (a->state->config.level < 2 || framework->task_count <= STATE_SWEEP_TASKS) {
        struct queue *at = framework->tasks.next;
        while (at != &framework->tasks) {
            struct task *task = QUEUE_ENTRY(at, struct task, in_framework);
            at = at->next;
            apply_orphan(a, task);
        }
    } else { /* too many for one command: framework_sweep */
        framework->sweep_next = QUEUE_ENTRY(framework->tasks.next, struct task, in_framework)->number;
        framework->sweep_last = QUEUE_ENTRY(framework->tasks.prev, struct task, in_framework)->number;
    }
    effect_framework(a, EFFECT_FRAMEWORK_REMOVED, framework);
}

enum outcome_code apply_framework_expire(struct apply *a, const Conclave__Log__FrameworkExpire *c) {
    enum outcome_code code = OUTCOME_OK;
    uint64_t since = 0;
    struct framework *framework = apply_framework(a, c->framework, &code);
    if (!framework) return code;
    uint64_t deadline = framework_deadline(a->state, framework, &since);
    if (deadline == UINT64_MAX || since != c->since || a->state->cluster_ms < deadline) return OUTCOME_NO_CHANGE;
    remove_framework(a, framework);
    return OUTCOME_OK;
}

enum outcome_code apply_framework_teardown(struct apply *a, const Conclave__Log__FrameworkTeardown *c) {
    enum outcome_code code = OUTCOME_OK;
    struct framework *framework = apply_framework(a, c->framework, &code);
    if (!framework) return code;
    remove_framework(a, framework);
    return OUTCOME_OK;
}

/* The place is in the order of numbers over the tasks of all frameworks, so that it needs no list of its own; the
 * numbers that a command passes are bounded as well. A task about which its agent reports meanwhile is dealt with then.
 */
enum outcome_code apply_framework_sweep(struct apply *a, const Conclave__Log__FrameworkSweep *c) {
    struct framework *framework = framework_get(a->state, c->framework);
    if (!framework) return OUTCOME_NOT_FOUND;
    if (framework->sweep_last == 0 || framework->sweep_next != c->from) return OUTCOME_NO_CHANGE;
    framework_touch(a->state, framework);
    uint64_t number = framework->sweep_next;
    unsigned touched = 0, passed = 0;
    for (;;) {
        struct task *task = slab_next(&a->state->tasks, number, &number);
        if (!task || number > framework->sweep_last) {
            framework->sweep_next = framework->sweep_last = 0;
            return OUTCOME_OK;
        }
        if (touched == STATE_SWEEP_TASKS || passed++ == STATE_SWEEP_PLACES) break;
        if (task->framework == framework->number && !task->completed) {
            apply_orphan(a, task);
            touched++;
        }
        number++;
    }
    framework->sweep_next = number;
    return OUTCOME_OK;
}

/* ---- roles ---- */

enum outcome_code apply_framework_suppress(struct apply *a, const Conclave__Log__FrameworkSuppress *c) {
    enum outcome_code code = OUTCOME_OK;
    struct framework *framework = apply_framework(a, c->framework, &code);
    if (!framework) return code;
    uint32_t every = framework->role_count == 32 ? UINT32_MAX : (UINT32_C(1) << framework->role_count) - 1;
    uint32_t named = c->n_roles == 0 ? every : 0;
    for (size_t i = 0; i < c->n_roles; i++) {
        int role = framework_role(framework, c->roles[i]);
        if (role < 0) return OUTCOME_NO_CHANGE; /* a foreign role makes the whole call silent */
        named |= UINT32_C(1) << role;
    }
    uint32_t suppressed = c->suppressed ? framework->suppressed | named : framework->suppressed & ~named;
    if (suppressed == framework->suppressed) return OUTCOME_NO_CHANGE;
    framework_touch(a->state, framework);
    framework->suppressed = suppressed;
    effect_framework(a, EFFECT_FRAMEWORK_CHANGED, framework);
    return OUTCOME_OK;
}

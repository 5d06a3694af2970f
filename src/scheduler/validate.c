/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/validate.h"

#include <math.h>
#include <string.h>

#include "scheduler/state.h"
#include "wire/resources_mesos.h"

#define CALL(name)           MESOS__V1__SCHEDULER__CALL__TYPE__##name
#define FAILOVER_SECONDS_MAX 9223372036.0 /* what fits into 64 bits of nanoseconds, as Mesos has it */

bool validate_id(const char *id) {
    size_t len = id ? strlen(id) : 0;
    if (len == 0 || len > STATE_ID_MAX || !strcmp(id, ".") || !strcmp(id, "..")) return false;
    for (const char *p = id; *p; p++)
        if (*p == '/' || *p == '\\' || (unsigned char)*p < 0x20 || *p == 0x7f) return false;
    return true;
}

static bool role_component(const char *text, size_t len) {
    if (len == 0 || text[0] == '-') return false;
    if ((len == 1 && (text[0] == '.' || text[0] == '*')) || (len == 2 && !memcmp(text, "..", 2))) return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] <= 0x20 || text[i] == '\\' || text[i] == 0x7f) return false;
    return true;
}

bool validate_role(const char *role) {
    if (!strcmp(role, "*")) return true;
    if (strlen(role) > STATE_ID_MAX) return false;
    for (const char *at = role;;) {
        size_t len = strcspn(at, "/");
        if (!role_component(at, len)) return false;
        if (at[len] == '\0') return true;
        at += len + 1;
    }
}

/* Which sub-message a type needs, and what a call without it is told. */
static const char *call_missing(const Mesos__V1__Scheduler__Call *c) {
    switch (c->type) {
    case CALL(SUBSCRIBE):
        return c->subscribe ? NULL : "Expecting 'subscribe' to be present";
    case CALL(ACCEPT):
        return c->accept ? NULL : "Expecting 'accept' to be present";
    case CALL(DECLINE):
        return c->decline ? NULL : "Expecting 'decline' to be present";
    case CALL(ACCEPT_INVERSE_OFFERS):
        return c->accept_inverse_offers ? NULL : "Expecting 'accept_inverse_offers' to be present";
    case CALL(DECLINE_INVERSE_OFFERS):
        return c->decline_inverse_offers ? NULL : "Expecting 'decline_inverse_offers' to be present";
    case CALL(KILL):
        return c->kill ? NULL : "Expecting 'kill' to be present";
    case CALL(SHUTDOWN):
        return c->shutdown ? NULL : "Expecting 'shutdown' to be present";
    case CALL(ACKNOWLEDGE):
        return c->acknowledge ? NULL : "Expecting 'acknowledge' to be present";
    case CALL(ACKNOWLEDGE_OPERATION_STATUS):
        return c->acknowledge_operation_status ? NULL : "Expecting 'acknowledge_operation_status' to be present";
    case CALL(RECONCILE):
        return c->reconcile ? NULL : "Expecting 'reconcile' to be present";
    case CALL(RECONCILE_OPERATIONS):
        return c->reconcile_operations ? NULL : "Expecting 'reconcile_operations' to be present";
    case CALL(MESSAGE):
        return c->message ? NULL : "Expecting 'message' to be present";
    case CALL(REQUEST):
        return c->request ? NULL : "Expecting 'request' to be present";
    case CALL(UPDATE_FRAMEWORK):
        return c->update_framework ? NULL : "Expecting 'update_framework' to be present";
    default:
        return NULL;
    }
}

int validate_call(const Mesos__V1__Scheduler__Call *c, struct err *err) {
    if (!c->has_type) return err_set(err, ERR_INVALID, "Expecting 'type' to be present");
    const char *missing = call_missing(c);
    if (missing) return err_set(err, ERR_INVALID, "%s", missing);
    if (c->type == CALL(SUBSCRIBE)) {
        const Mesos__V1__FrameworkID *inner = c->subscribe->framework_info->id;
        if (inner && inner->value[0] && c->framework_id && strcmp(inner->value, c->framework_id->value))
            return err_set(err, ERR_INVALID, "'framework_id' differs from 'subscribe.framework_info.id'");
        if (inner && inner->value[0] && !c->framework_id)
            return err_set(err, ERR_INVALID, "'framework_id' must be set when 'subscribe.framework_info.id' is");
        return 0;
    }
    if (!c->framework_id) return err_set(err, ERR_INVALID, "Expecting 'framework_id' to be present");
    if (c->type == CALL(ACCEPT) && c->accept->n_offer_ids == 0)
        return err_set(err, ERR_INVALID, "Expecting at least one offer id in 'accept'");
    if (c->type == CALL(ACKNOWLEDGE) && c->acknowledge->uuid.len != 16)
        return err_set(err, ERR_INVALID, "'acknowledge.uuid' must have 16 bytes");
    if (c->type == CALL(ACKNOWLEDGE_OPERATION_STATUS) && !c->acknowledge_operation_status->agent_id)
        return err_set(err, ERR_INVALID, "Expecting 'acknowledge_operation_status.agent_id' to be present");
    if (c->type == CALL(KILL) && !validate_id(c->kill->task_id->value))
        return err_set(err, ERR_INVALID, "'kill.task_id' is not a valid id");
    return 0;
}

static bool framework_has(const Mesos__V1__FrameworkInfo *info, Mesos__V1__FrameworkInfo__Capability__Type type) {
    for (size_t i = 0; i < info->n_capabilities; i++)
        if (info->capabilities[i]->has_type && info->capabilities[i]->type == type) return true;
    return false;
}

static bool among(char *const *list, size_t n, const char *text) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i], text)) return true;
    return false;
}

static int validate_roles(const Mesos__V1__FrameworkInfo *info, struct err *err) {
    bool multi = framework_has(info, MESOS__V1__FRAMEWORK_INFO__CAPABILITY__TYPE__MULTI_ROLE);
    if (multi && info->role && strcmp(info->role, "*"))
        return err_set(err, ERR_INVALID, "'FrameworkInfo.role' must not be set with the MULTI_ROLE capability");
    if (!multi && info->n_roles > 0)
        return err_set(err, ERR_INVALID, "'FrameworkInfo.roles' needs the MULTI_ROLE capability");
    if (info->n_roles > STATE_ROLES_MAX) return err_set(err, ERR_INVALID, "more than %d roles", STATE_ROLES_MAX);
    for (size_t i = 0; i < info->n_roles; i++) {
        if (!validate_role(info->roles[i])) return err_set(err, ERR_INVALID, "role '%.80s' is invalid", info->roles[i]);
        if (among(info->roles, i, info->roles[i]))
            return err_set(err, ERR_INVALID, "role '%.80s' stands twice", info->roles[i]);
    }
    if (!multi && info->role && info->role[0] && !validate_role(info->role))
        return err_set(err, ERR_INVALID, "role '%.80s' is invalid", info->role);
    return 0;
}

int validate_framework(const Mesos__V1__Scheduler__Call__Subscribe *subscribe, struct err *err) {
    const Mesos__V1__FrameworkInfo *info = subscribe->framework_info;
    if (strlen(info->name) > 1024 || strlen(info->user) > STATE_ID_MAX)
        return err_set(err, ERR_INVALID, "name or user is too long");
    if (info->id && info->id->value[0] && !validate_id(info->id->value))
        return err_set(err, ERR_INVALID, "framework id is invalid");
    double failover = info->has_failover_timeout ? info->failover_timeout : 0.0;
    if (!isfinite(failover) || failover < 0 || failover > FAILOVER_SECONDS_MAX)
        return err_set(err, ERR_INVALID, "'failover_timeout' is not a valid duration");
    int rc = validate_roles(info, err);
    if (rc) return rc;
    bool multi = framework_has(info, MESOS__V1__FRAMEWORK_INFO__CAPABILITY__TYPE__MULTI_ROLE);
    const char *single = info->role && info->role[0] ? info->role : "*";
    for (size_t i = 0; i < subscribe->n_suppressed_roles; i++) {
        const char *role = subscribe->suppressed_roles[i];
        if (multi ? !among(info->roles, info->n_roles, role) : strcmp(role, single) != 0)
            return err_set(err, ERR_INVALID, "suppressed role '%.80s' is not among the framework's roles", role);
    }
    return 0;
}

uint64_t validate_failover_ms(const Mesos__V1__FrameworkInfo *info) {
    return info->has_failover_timeout ? (uint64_t)(info->failover_timeout * 1000.0) : 0;
}

static int validate_health(const Mesos__V1__HealthCheck *h, struct err *err) {
    if (!(h->delay_seconds >= 0 && h->interval_seconds >= 0 && h->timeout_seconds >= 0 && h->grace_period_seconds >= 0))
        return err_set(err, ERR_INVALID, "health check times must not be negative or NaN");
    if (!h->has_type && !h->command && !h->http) return err_set(err, ERR_INVALID, "health check has no type");
    if ((h->has_type && h->type == MESOS__V1__HEALTH_CHECK__TYPE__COMMAND && !h->command) ||
        (h->has_type && h->type == MESOS__V1__HEALTH_CHECK__TYPE__HTTP && !h->http) ||
        (h->has_type && h->type == MESOS__V1__HEALTH_CHECK__TYPE__TCP && !h->tcp))
        return err_set(err, ERR_INVALID, "health check lacks what its type needs");
    if (h->http && h->http->scheme && strcmp(h->http->scheme, "http") && strcmp(h->http->scheme, "https"))
        return err_set(err, ERR_INVALID, "health check scheme must be http or https");
    if (h->http && h->http->path && h->http->path[0] != '/')
        return err_set(err, ERR_INVALID, "health check path must begin with '/'");
    return 0;
}

/* What this version cannot run is refused here, by name, rather than started wrongly. */
static int validate_workload(const Mesos__V1__TaskInfo *t, struct err *err) {
    if (t->command && t->executor) return err_set(err, ERR_INVALID, "Task sets both 'command' and 'executor'");
    if (!t->command && !t->executor) return err_set(err, ERR_INVALID, "Task sets neither 'command' nor 'executor'");
    if (t->executor) return err_set(err, ERR_INVALID, "Custom executors are not supported by this version");
    if (t->container && (t->container->docker || (t->container->mesos && t->container->mesos->image)))
        return err_set(err, ERR_INVALID, "Container images are not supported by this version");
    bool shell = !t->command->has_shell || t->command->shell;
    if (shell && !t->command->value) return err_set(err, ERR_INVALID, "Shell command has no 'value'");
    if (!shell && !t->command->value && t->command->n_arguments == 0)
        return err_set(err, ERR_INVALID, "Command has neither 'value' nor 'arguments'");
    if (t->command->environment)
        for (size_t i = 0; i < t->command->environment->n_variables; i++)
            if (!t->command->environment->variables[i]->value && !t->command->environment->variables[i]->secret)
                return err_set(err, ERR_INVALID, "Environment variable '%.80s' has no value",
                               t->command->environment->variables[i]->name);
    return 0;
}

int validate_task(const Mesos__V1__TaskInfo *t, const char *agent_id, struct resources *ret, struct err *err) {
    if (!validate_id(t->task_id->value)) return err_set(err, ERR_INVALID, "Task id is invalid");
    if (agent_id && strcmp(t->agent_id->value, agent_id))
        return err_set(err, ERR_INVALID, "Task uses invalid agent %.80s while agent %.80s is expected",
                       t->agent_id->value, agent_id);
    int rc = validate_workload(t, err);
    if (rc) return rc;
    if (t->kill_policy && t->kill_policy->grace_period && t->kill_policy->grace_period->nanoseconds < 0)
        return err_set(err, ERR_INVALID, "Task's 'kill_policy.grace_period' must be non-negative");
    if (t->max_completion_time && t->max_completion_time->nanoseconds < 0)
        return err_set(err, ERR_INVALID, "Task's 'max_completion_time' must be non-negative");
    if (t->health_check && (rc = validate_health(t->health_check, err))) return rc;
    if (t->n_resources == 0) return err_set(err, ERR_INVALID, "Task uses no resources");
    struct resources r = {0};
    rc = resources_from_mesos(t->n_resources, t->resources, &r, err);
    if (rc) return err_wrap(err, "Task uses invalid resources");
    if (resources_empty(&r)) {
        resources_done(&r);
        return err_set(err, ERR_INVALID, "Task uses no resources");
    }
    *ret = r;
    return 0;
}

uint64_t validate_refuse_ms(const Mesos__V1__Filters *filters) {
    double seconds = filters && filters->has_refuse_seconds ? filters->refuse_seconds : 5.0;
    if (isnan(seconds) || seconds < 0) return VALIDATE_REFUSE_MS_DEFAULT;
    double ms = seconds * 1000.0;
    return ms >= (double)VALIDATE_REFUSE_MS_MAX ? VALIDATE_REFUSE_MS_MAX : (uint64_t)ms;
}

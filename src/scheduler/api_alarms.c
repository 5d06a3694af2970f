/* SPDX-License-Identifier: Apache-2.0
 * The alarms of this master in /conclave/v1/status: what the replica is unhappy with, and what to do about it. */
#include "scheduler/api.h"

#include <string.h>

#include "base/err.h"
#include "conclave/admin.pb-c.h"

int api_alarms(const struct master *m, Conclave__Admin__Status *ret, struct arena *arena) {
    struct replica_alarm alarms[REPLICA_ALARMS_MAX];
    unsigned n = replica_alarms(m->replica, alarms, REPLICA_ALARMS_MAX);
    ret->alarms = arena_alloc(arena, (n + 1) * sizeof(Conclave__Admin__Alarm *));
    if (!ret->alarms) return ERR_LIMIT;
    for (unsigned i = 0; i < n; i++) {
        Conclave__Admin__Alarm *alarm = arena_alloc(arena, sizeof *alarm);
        if (!alarm) return ERR_LIMIT;
        *alarm = (Conclave__Admin__Alarm)CONCLAVE__ADMIN__ALARM__INIT;
        alarm->code = (char *)alarms[i].code;
        alarm->since_ms = alarms[i].since_ms;
        alarm->text = arena_strndup(arena, alarms[i].text, strlen(alarms[i].text));
        alarm->next = (char *)alarms[i].next;
        if (!alarm->text) return ERR_LIMIT;
        ret->alarms[ret->n_alarms++] = alarm;
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * The alarms of this master in /conclave/v1/status: what the replica is unhappy with, its certificate, and what to do
 * about it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conclave/admin.pb-c.h"
#include "scheduler/api.h"

/* A certificate that ends soon, or has: links that stand go on, but none can be made again. False: no alarm. */
static bool alarm_of_certificate(const struct master *m, struct replica_alarm *ret) {
    struct tls_stats tls;
    if (!m->tls) return false;
    tls_stats(m->tls, &tls);
    if (tls.expires_s > TLS_ALARM_S) return false;
    *ret =
        (struct replica_alarm){.code = "CERTIFICATE_ENDS",
                               .next = "make another (conclave cert master --replace): it is taken without a restart"};
    if (tls.expires_s > 0)
        (void)snprintf(ret->text, sizeof ret->text, "the certificate or its CA ends in %" PRId64 " days",
                       tls.expires_s / 86400);
    else
        (void)snprintf(ret->text, sizeof ret->text, "the certificate or its CA has ended");
    return true;
}

int api_alarms(const struct master *m, Conclave__Admin__Status *ret, struct arena *arena) {
    struct replica_alarm alarms[REPLICA_ALARMS_MAX + 1];
    unsigned n = replica_alarms(m->replica, alarms, REPLICA_ALARMS_MAX);
    n += alarm_of_certificate(m, &alarms[n]);
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

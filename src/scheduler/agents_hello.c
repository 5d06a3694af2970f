/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/agents_hello.h"

#include <string.h>

static bool log_resources_equal(const Conclave__Log__Resources *r, const struct resources *s) {
    if (r->cpus != s->cpus || r->mem != s->mem || r->disk != s->disk || r->gpus != s->gpus ||
        r->n_ports != s->ports.count)
        return false;
    for (uint32_t i = 0; i < s->ports.count; i++)
        if (r->ports[i]->begin != s->ports.ranges[i].begin || r->ports[i]->end != s->ports.ranges[i].end) return false;
    return true;
}

bool hello_is_known(const struct agent *agent, const Conclave__Link__Hello *h) {
    return !strcmp(agent->hostname, h->hostname) && !strcmp(agent->http, h->http) &&
           !strcmp(agent->version, h->version) && !strcmp(agent->boot_id, h->boot_id ? h->boot_id : "") &&
           agent->info.len == h->info.len &&
           (h->info.len == 0 || !memcmp(agent->info.data, h->info.data, h->info.len)) &&
           log_resources_equal(h->resources, &agent->total);
}

const char *hello_stranger(const struct master *m, const Conclave__Link__Hello *h) {
    if (h->uuid.len != 16) return "the agent's uuid must have 16 bytes";
    if (h->fence &&
        (h->fence->cluster_id.len != 16 || memcmp(h->fence->cluster_id.data, m->config->replica.cluster_id, 16)))
        return "the agent belongs to another cluster";
    if (h->fence && (h->fence->incarnation > state_incarnation(m->state)))
        return "the agent has obeyed a newer incarnation of this cluster";
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/plan_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "cli/export_file.h"
#include "cli/new_life.h"
#include "wire/json.h"

int plan_print(const Conclave__Tools__RecoverPlan *plan, struct buf *ret) {
    size_t from = ret->len;
    int rc = json_print(&plan->base, 0, ret);
    if (rc == 0) rc = buf_append_byte(ret, '\n');
    if (rc == 0) rc = buf_printf(ret, "crc32c %08" PRIx32 "\n", crc32c(0, ret->data + from, ret->len - from));
    return rc;
}

static const char *member_fault(const Conclave__Tools__RecoverPlan *p, size_t i) {
    const Conclave__Tools__PlanFolder *f = p->folders[i];
    size_t members = 0;
    if (*f->dir != '/' || strlen(f->fingerprint) != 32) return "a folder";
    for (size_t k = 0; k < p->n_members; k++)
        members += p->members[k]->id == f->node;
    for (size_t k = 0; k < i; k++)
        if (p->folders[k]->node == f->node || !strcmp(p->folders[k]->dir, f->dir)) return "a folder stands twice";
    return members == 1 && f->node ? NULL : "folders and members do not come together";
}

static const char *fault_of(const Conclave__Tools__RecoverPlan *p) {
    uint8_t cluster[16];
    bool chosen = false;
    if (!hex16_parse(p->cluster_id, cluster)) return "cluster id";
    if (p->n_folders < 1 || p->n_folders > PLAN_FOLDERS_MAX || p->n_members != p->n_folders) return "number of folders";
    for (size_t i = 0; i < p->n_members; i++)
        if (strlen(p->members[i]->peer) >= ARCHIVE_ADDRESS_MAX || !*p->members[i]->peer) return "address of a member";
    for (size_t i = 0; i < p->n_folders; i++) {
        const char *fault = member_fault(p, i);
        if (fault) return fault;
        chosen = chosen || (p->folders[i]->node == p->chosen && p->folders[i]->last == p->last);
    }
    if (!chosen) return "the chosen node is not among the folders";
    if (strlen(p->state_hash) != 32) return "state hash";
    if (p->index <= p->last || p->index > LIFE_NUMBER_MAX || p->term <= p->last_term || p->term > LIFE_NUMBER_MAX ||
        p->incarnation == 0)
        return "position of the new life";
    return NULL;
}

int plan_parse(const uint8_t *data, size_t len, struct arena *arena, Conclave__Tools__RecoverPlan **ret,
               struct err *err) {
    ProtobufCMessage *message = NULL;
    struct err why;
    char sum[32];
    const uint8_t *newline = len && len <= PLAN_BYTES_MAX ? memchr(data, '\n', len) : NULL;
    size_t first = newline ? (size_t)(newline - data) + 1 : 0;
    (void)snprintf(sum, sizeof sum, "crc32c %08" PRIx32 "\n", crc32c(0, data, first));
    if (!newline || len - first != strlen(sum) || memcmp(data + first, sum, len - first) != 0)
        return err_set(err, ERR_CORRUPT, "this is no plan, or it was changed or cut since it was made: plan again");
    if (json_parse(&conclave__tools__recover_plan__descriptor, data, first - 1, arena, &message, &why))
        return err_set(err, ERR_CORRUPT, "the plan: %s", why.text);
    Conclave__Tools__RecoverPlan *p = (Conclave__Tools__RecoverPlan *)message;
    if (strcmp(p->format, PLAN_FORMAT) != 0) return err_set(err, ERR_CORRUPT, "this is no plan");
    if (p->version != PLAN_VERSION)
        return err_set(err, ERR_INCOMPATIBLE, "the plan has version %" PRIu32 ", this program knows %u", p->version,
                       PLAN_VERSION);
    const char *fault = fault_of(p);
    if (fault) return err_set(err, ERR_CORRUPT, "the plan makes no sense: %s", fault);
    *ret = p;
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/fault.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

const char fault_remedy_replace[] =
    "start this node with --reinstall, or let it join under a new id: the other masters have it all";
const char fault_remedy_newid[] =
    "without it the node could vote twice: keep the folder away and let the node join under a new id";
const char fault_remedy_foreign[] = "put the folder's own files back, or replace the node under a new id";
const char fault_remedy_snapshot[] = "delete this file: another snapshot and the log have it all";
const char fault_remedy_repair[] = "nothing to do: the next start repairs it";
const char fault_remedy_copy[] = "use another back-up: this file is of no use";

void fault_set(struct fault *ret, const char *file, uint64_t offset, const char *kind, const char *remedy,
               const char *fmt, ...) {
    *ret = (struct fault){.offset = offset, .kind = kind, .remedy = remedy};
    (void)snprintf(ret->file, sizeof ret->file, "%s", file);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(ret->text, sizeof ret->text, fmt, ap);
    va_end(ap);
}

int fault_err(const struct fault *fault, struct err *err) {
    return err_set(err, ERR_CORRUPT, "%s at offset %" PRIu64 ": %s; %s", fault->file, fault->offset, fault->text,
                   fault->remedy);
}

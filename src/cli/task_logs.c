/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/task_logs.h"

#include <inttypes.h>

#include "cli/client.h"

/* The raw bytes come from the download endpoint by range of offset: /files/read answers text only. */
int task_logs_copy(const char *agent_http, const char *framework_id, const char *task_id, const char *file,
                   uint64_t *offset, FILE *out, struct err *err) {
    struct buf path;
    struct answer answer;
    if (!agent_http || !*agent_http) return err_set(err, ERR_NOT_FOUND, "the task's agent is not known");
    buf_init(&path, 8192);
    (void)buf_append_str(&path, "/files/download?path=/frameworks/");
    url_component(framework_id, &path);
    (void)buf_append_str(&path, "/executors/");
    url_component(task_id, &path);
    (void)buf_printf(&path, "/runs/latest/%s&offset=%" PRIu64, file, *offset);
    (void)buf_append_byte(&path, '\0');
    const struct request request = {.method = "GET", .path = (char *)path.data, .timeout_ms = 10000};
    int rc =
        path.failed ? err_set(err, ERR_INVALID, "the id is too long") : client_request(agent_http, &request, &answer);
    buf_done(&path);
    if (path.failed) return rc;
    if (rc) {
        *err = answer.err;
    } else if (answer.status == 404) {
        rc = 0;
    } else if (answer.status != 200) {
        rc = err_set(err, ERR_IO, "%s: HTTP %d", agent_http, answer.status);
    } else {
        (void)fwrite(answer.body.data, 1, answer.body.len, out);
        (void)fflush(out);
        *offset += answer.body.len;
    }
    answer_done(&answer);
    return rc;
}

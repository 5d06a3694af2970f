/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/client.h"

#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "wire/json.h"

void answer_done(struct answer *a) {
    buf_done(&a->body);
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx) {
    struct answer *a = ctx;
    return buf_append(&a->body, data, size * n) == 0 ? size * n : 0;
}

static CURL *easy_new(const char *host_port, const struct request *r, struct answer *a,
                      struct curl_slist **ret_headers) {
    char url[1024];
    CURL *easy = curl_easy_init();
    CHECK(easy);
    *a = (struct answer){0};
    buf_init(&a->body, CLIENT_ANSWER_MAX);
    (void)snprintf(url, sizeof url, "http://%s%s", host_port, r->path);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)r->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, a);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, a);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, r->follow ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(easy, CURLOPT_POSTREDIR, (long)CURL_REDIR_POST_ALL);
    struct curl_slist *headers = NULL;
    for (int i = 0; i < 4 && r->headers[i]; i++)
        headers = curl_slist_append(headers, r->headers[i]);
    if (r->body) {
        headers = curl_slist_append(headers, "Content-Type: application/json");
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, r->body);
    }
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    if (strcmp(r->method, "GET") && strcmp(r->method, "POST")) curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
    *ret_headers = headers;
    return easy;
}

static void easy_finish(CURL *easy, CURLcode code, const char *host_port, struct answer *a) {
    long status = 0;
    curl_off_t elapsed = 0;
    char *next = NULL;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &elapsed);
    curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &next);
    curl_off_t connect = 0;
    curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connect);
    a->sent = connect > 0 && code != CURLE_COULDNT_CONNECT && code != CURLE_COULDNT_RESOLVE_HOST;
    a->elapsed_us = (uint64_t)elapsed;
    if (next && !strncmp(next, "http://", 7))
        (void)snprintf(a->location, sizeof a->location, "%.*s", (int)strcspn(next + 7, "/"), next + 7);
    if (code == CURLE_OK)
        a->status = (int)status;
    else
        (void)err_set(&a->err, code == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_CLOSED, "%s: %s", host_port,
                      curl_easy_strerror(code));
}

int client_request(const char *host_port, const struct request *r, struct answer *ret) {
    struct curl_slist *headers;
    CURL *easy = easy_new(host_port, r, ret, &headers);
    easy_finish(easy, curl_easy_perform(easy), host_port, ret);
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    return ret->status ? 0 : ret->err.code;
}

void client_request_all(const struct options *o, const struct request *r, struct answer *ret) {
    CURLM *multi = curl_multi_init();
    CURL *easy[MASTERS_MAX];
    struct curl_slist *headers[MASTERS_MAX];
    int running = 1, left;
    CHECK(multi);
    for (size_t i = 0; i < o->master_count; i++) {
        easy[i] = easy_new(o->masters[i], r, &ret[i], &headers[i]);
        curl_multi_add_handle(multi, easy[i]);
    }
    while (running) { /* ends: every transfer has a timeout */
        if (curl_multi_perform(multi, &running) != CURLM_OK) break;
        if (running) (void)curl_multi_poll(multi, NULL, 0, 100, NULL);
    }
    for (CURLMsg *m; (m = curl_multi_info_read(multi, &left));)
        for (size_t i = 0; i < o->master_count; i++)
            if (m->msg == CURLMSG_DONE && m->easy_handle == easy[i])
                easy_finish(easy[i], m->data.result, o->masters[i], &ret[i]);
    for (size_t i = 0; i < o->master_count; i++) {
        curl_multi_remove_handle(multi, easy[i]);
        curl_easy_cleanup(easy[i]);
        curl_slist_free_all(headers[i]);
    }
    curl_multi_cleanup(multi);
}

int client_request_any(const struct options *o, const struct request *r, struct answer *ret, struct err *err) {
    bool answered = false; /* what a living master says tells more than that another one is down */
    (void)err_set(err, ERR_NO_QUORUM, "no master answers");
    for (size_t i = 0; i < o->master_count; i++) {
        int rc = client_request(o->masters[i], r, ret);
        if (rc == 0 && ret->status >= 200 && ret->status < 300) return 0;
        answered |= rc == 0;
        if (rc && !answered)
            (void)err_set(err, ERR_NO_QUORUM, "%s", ret->err.text);
        else if (rc)
            ;
        else if (ret->status == 503 || (ret->status >= 300 && ret->status < 400))
            (void)err_set(err, ERR_NO_QUORUM, "%s: no leader", o->masters[i]);
        else
            (void)err_set(err, ret->status == 404 ? ERR_NOT_FOUND : ERR_IO, "%s: HTTP %d: %.*s", o->masters[i],
                          ret->status, (int)(ret->body.len < 160 ? ret->body.len : 160),
                          ret->body.data ? (char *)ret->body.data : "");
        answer_done(ret);
        if (err->code != ERR_NO_QUORUM) break;
    }
    return err->code;
}

bool client_leader_first(struct options *o) {
    const struct request request = {.method = "GET", .path = "/redirect", .timeout_ms = 2000};
    for (size_t i = 0; i < o->master_count; i++) { /* 307 to the leader's authority, from whoever answers first */
        struct answer redirect;
        int rc = client_request(o->masters[i], &request, &redirect);
        bool found = rc == 0 && redirect.status == 307 && redirect.location[0];
        size_t at = 0;
        while (found && at < o->master_count && strcmp(o->masters[at], redirect.location) != 0)
            at++;
        if (found) {
            if (at == o->master_count) at = o->master_count < MASTERS_MAX ? o->master_count++ : MASTERS_MAX - 1;
            memmove(o->masters[1], o->masters[0], at * sizeof o->masters[0]);
            (void)snprintf(o->masters[0], sizeof o->masters[0], "%.127s", redirect.location);
        }
        answer_done(&redirect);
        if (found) return true;
    }
    return false;
}

int answer_message(const struct answer *a, const ProtobufCMessageDescriptor *type, struct arena *arena,
                   ProtobufCMessage **ret, struct err *err) {
    if (a->status != 200) return err_set(err, ERR_IO, "HTTP %d", a->status);
    return json_parse(type, a->body.data ? a->body.data : (const uint8_t *)"", a->body.len, arena, ret, err);
}

void url_component(const char *text, struct buf *ret) {
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (isalnum(*p) || strchr("-_.~", *p))
            (void)buf_append_byte(ret, *p);
        else
            (void)buf_printf(ret, "%%%02X", *p);
    }
}

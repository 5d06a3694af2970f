/* SPDX-License-Identifier: Apache-2.0
 * Reading a request: headers, escapes, queries. */
#include <string.h>
#include <strings.h>

#include "net/http.h"

void http_limits_default(struct http_limits *limits) {
    *limits = (struct http_limits){
        .head_bytes_max = 64 << 10,
        .extension_bytes_max = 1 << 10,
        .body_bytes_max = 4 << 20,
        .body_bytes_total_max = 256 << 20,
        .stream_backlog_bytes_max = 4 << 20,
        .connections_max = 4096,
        .head_timeout_ms = 10 * 1000,
        .body_timeout_ms = 30 * 1000,
        .idle_timeout_ms = 75 * 1000,
        .write_timeout_ms = 60 * 1000,
    };
}

const char *http_request_header_nth(const struct http_request *request, const char *name, size_t nth) {
    for (size_t i = 0; i < request->field_n; i++)
        if (strcasecmp(request->fields[i].name, name) == 0 && nth-- == 0) return request->fields[i].value;
    return NULL;
}

const char *http_request_header(const struct http_request *request, const char *name) {
    return http_request_header_nth(request, name, 0);
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

int http_percent_decode(const char *text, size_t len, bool plus, char *out, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 2 < len ? hex_value(text[i + 1]) : -1;
            int low = i + 2 < len ? hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0) return ERR_PARSE;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c == '\0') return ERR_PARSE;
        if (n + 1 >= size) return ERR_LIMIT;
        out[n++] = c;
    }
    if (size == 0) return ERR_LIMIT;
    out[n] = '\0';
    return 0;
}

/* Whether the escaped text[0..len) means `name`. */
static bool name_matches(const char *text, size_t len, const char *name) {
    char plain[256];
    return http_percent_decode(text, len, true, plain, sizeof plain) == 0 && strcmp(plain, name) == 0;
}

int http_query_get(const char *query, const char *name, char *out, size_t size) {
    while (*query) {
        size_t len = strcspn(query, "&"), name_len = strcspn(query, "=&");
        if (name_matches(query, name_len, name)) {
            size_t value = name_len < len ? name_len + 1 : len;
            return http_percent_decode(query + value, len - value, true, out, size);
        }
        query += len + (query[len] == '&');
    }
    return ERR_NOT_FOUND;
}

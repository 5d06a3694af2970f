/* SPDX-License-Identifier: Apache-2.0 */
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"

static bool is_ipv4(const char *host) {
    struct in_addr a;
    return inet_pton(AF_INET, host, &a) == 1;
}

static bool is_ipv6(const char *host) {
    struct in6_addr a;
    return inet_pton(AF_INET6, host, &a) == 1;
}

static bool is_name(const char *host) {
    bool letter = false;
    if (host[0] == '-' || host[0] == '.') return false;
    for (const char *p = host; *p; p++) {
        bool alpha = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        if (!alpha && !(*p >= '0' && *p <= '9') && *p != '-' && *p != '.' && *p != '_') return false;
        if (*p == '.' && p[1] == '.') return false;
        letter = letter || alpha;
    }
    return letter; /* "10.0.0" and "1.2.3.999" are slips of the pen, not names */
}

/* Reads the digits after the colon. */
static bool parse_port(const char *text, size_t len, unsigned flags, uint16_t *ret_port) {
    unsigned long value = 0;
    if (len == 0 || len > 5) return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        value = value * 10 + (unsigned long)(text[i] - '0');
    }
    if (value > UINT16_MAX || (value == 0 && !(flags & ADDRESS_PORT_ZERO))) return false;
    *ret_port = (uint16_t)value;
    return true;
}

/* One address in text[0..len). */
static int parse_span(const char *text, size_t len, uint16_t default_port, unsigned flags, struct address *ret,
                      struct err *err) {
    struct address a = {.port = default_port};
    int shown = len > 80 ? 80 : (int)len;
    bool brackets = len > 0 && text[0] == '[';
    const char *host = text + (brackets ? 1 : 0);
    const char *end = memchr(text, brackets ? ']' : ':', len);
    if (brackets && !end) return err_set(err, ERR_INVALID, "address '%.*s' has no closing bracket", shown, text);
    size_t host_len = (size_t)((end ? end : text + len) - host);
    if (!brackets && end && memchr(end + 1, ':', (size_t)(text + len - end - 1)))
        return err_set(err, ERR_INVALID, "address '%.*s' has several colons (IPv6 is written [::1]:PORT)", shown, text);
    if (host_len == 0) return err_set(err, ERR_INVALID, "address '%.*s' has no host", shown, text);
    if (host_len > ADDRESS_HOST_MAX || memchr(host, '\0', host_len))
        return err_set(err, ERR_INVALID, "address '%.*s' has a bad host", shown, text);
    memcpy(a.host, host, host_len);

    const char *rest = host + host_len + (brackets ? 1 : 0);
    size_t rest_len = (size_t)(text + len - rest);
    if (rest_len > 0 && (rest[0] != ':' || !parse_port(rest + 1, rest_len - 1, flags, &a.port)))
        return err_set(err, ERR_INVALID, "address '%.*s' has a bad port (%d to 65535)", shown, text,
                       flags & ADDRESS_PORT_ZERO ? 0 : 1);
    if (rest_len == 0 && default_port == 0)
        return err_set(err, ERR_INVALID, "address '%.*s' has no port (HOST:PORT)", shown, text);
    if (brackets ? !is_ipv6(a.host) : !is_ipv4(a.host) && !is_name(a.host))
        return err_set(err, ERR_INVALID, "address '%.*s' has a bad host", shown, text);
    if ((flags & ADDRESS_NUMERIC) && !brackets && !is_ipv4(a.host))
        return err_set(err, ERR_INVALID, "address '%.*s' must be a number, not a name", shown, text);
    *ret = a;
    return 0;
}

int address_parse(const char *text, uint16_t default_port, unsigned flags, struct address *ret, struct err *err) {
    return parse_span(text, strlen(text), default_port, flags, ret, err);
}

static bool address_equal(const struct address *a, const struct address *b) {
    return a->port == b->port && strcasecmp(a->host, b->host) == 0;
}

int address_list_parse(const char *text, uint16_t default_port, unsigned flags, struct address *ret, size_t max,
                       size_t *ret_n, struct err *err) {
    size_t n = 0;
    for (const char *at = text;;) {
        size_t len = strcspn(at, ",");
        const char *next = at + len;
        while (len > 0 && at[0] == ' ')
            at++, len--;
        while (len > 0 && at[len - 1] == ' ')
            len--;
        if (len == 0) return err_set(err, ERR_INVALID, "address list '%.80s' has an empty element", text);
        if (n == max) return err_set(err, ERR_INVALID, "address list '%.80s' has more than %zu elements", text, max);
        int rc = parse_span(at, len, default_port, flags, &ret[n], err);
        if (rc) return rc;
        for (size_t i = 0; i < n; i++)
            if (address_equal(&ret[i], &ret[n]))
                return err_set(err, ERR_INVALID, "address '%.*s' is given twice", (int)len, at);
        n++;
        if (*next == '\0') break;
        at = next + 1;
    }
    *ret_n = n;
    return 0;
}

const char *address_format(const struct address *a, char out[ADDRESS_TEXT_MAX]) {
    bool v6 = strchr(a->host, ':') != NULL;
    (void)snprintf(out, ADDRESS_TEXT_MAX, "%s%s%s:%u", v6 ? "[" : "", a->host, v6 ? "]" : "", a->port);
    return out;
}

int address_to_sockaddr(const struct address *a, struct sockaddr_storage *ret, struct err *err) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
    struct sockaddr_storage sa = {0};
    if (inet_pton(AF_INET, a->host, &v4.sin_addr) == 1)
        memcpy(&sa, &v4, sizeof v4);
    else if (inet_pton(AF_INET6, a->host, &v6.sin6_addr) == 1)
        memcpy(&sa, &v6, sizeof v6);
    else
        return err_set(err, ERR_INVALID, "address '%.80s' must be a number, not a name", a->host);
    *ret = sa;
    return 0;
}

void address_from_sockaddr(const struct sockaddr *sa, struct address *ret) {
    struct address a = {.host = "?"};
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, sa, sizeof v4);
        CHECK(inet_ntop(AF_INET, &v4.sin_addr, a.host, sizeof a.host));
        a.port = ntohs(v4.sin_port);
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, sa, sizeof v6);
        CHECK(inet_ntop(AF_INET6, &v6.sin6_addr, a.host, sizeof a.host));
        a.port = ntohs(v6.sin6_port);
    }
    *ret = a;
}

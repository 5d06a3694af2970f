/* SPDX-License-Identifier: Apache-2.0
 * The head of a request, byte by byte, before llhttp sees it. llhttp 8.1 is lenient about line ends (CVE-2023-30589)
 * and has no limits, so this scanner decides alone where a head ends and refuses what two parsers could read
 * differently; llhttp then gets exactly the bytes of one head, and must agree.
 *
 * Accepted: at most two empty lines, "METHOD TARGET HTTP/d.d", lines "name:value" whose name is an RFC 9110 token, an
 * empty line; every line ends with CR LF, and neither CR nor LF nor another control character but HT stands anywhere
 * else. */
#ifndef CONCLAVE_NET_HTTP_SCAN_H
#define CONCLAVE_NET_HTTP_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_scan_state {
    SCAN_START,    /* before the request line */
    SCAN_START_CR, /* in an empty line before it */
    SCAN_REQUEST,
    SCAN_REQUEST_CR,
    SCAN_LINE, /* first byte of a header line */
    SCAN_NAME,
    SCAN_VALUE,
    SCAN_VALUE_CR,
    SCAN_END_CR, /* in the empty line behind the head */
    SCAN_DONE,
    SCAN_BAD,
};

struct http_scan {
    uint8_t state;      /* an enum http_scan_state */
    uint8_t empty_n;    /* empty lines skipped */
    uint64_t last8;     /* the last eight bytes of the request line */
    const char *reason; /* why SCAN_BAD; static text */
};

void http_scan_init(struct http_scan *s);

/* Reads on; returns how many bytes were taken: all of them, or less when the state became SCAN_DONE (the head ends
 * there) or SCAN_BAD. *ret_skip is how many of the taken bytes, at the front, are empty lines and not part of the head.
 */
size_t http_scan_feed(struct http_scan *s, const uint8_t *data, size_t len, size_t *ret_skip);

/* Whether `byte` may stand in a method or header name. */
bool http_token_char(uint8_t byte);

#endif

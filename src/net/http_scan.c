/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http_scan.h"

#include <string.h>

#include "base/check.h"

#define EMPTY_LINES_MAX 2

/* "HTTP/1.1" as eight bytes, the digits taken out. */
#define VERSION_MASK 0xffffffffff00ff00ULL
#define VERSION_TEXT 0x485454502f002e00ULL

bool http_token_char(uint8_t byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte != 0 && strchr("!#$%&'*+-.^_`|~", byte));
}

void http_scan_init(struct http_scan *s) {
    *s = (struct http_scan){.state = SCAN_START};
}

static bool bad(struct http_scan *s, const char *reason) {
    s->state = SCAN_BAD;
    s->reason = reason;
    return false;
}

static bool expect_lf(struct http_scan *s, uint8_t byte, enum http_scan_state next) {
    if (byte != '\n') return bad(s, "CR without LF in the head");
    s->state = (uint8_t)next;
    return true;
}

static bool is_digit(uint64_t byte) {
    return (byte & 0xff) >= '0' && (byte & 0xff) <= '9';
}

static bool request_byte(struct http_scan *s, uint8_t byte) {
    if (byte == '\r') {
        if ((s->last8 & VERSION_MASK) != VERSION_TEXT || !is_digit(s->last8) || !is_digit(s->last8 >> 16))
            return bad(s, "the request line does not end with HTTP/1.1");
        s->state = SCAN_REQUEST_CR;
        return true;
    }
    if (byte < 0x20 || byte >= 0x7f) return bad(s, "control or non-ASCII character in the request line");
    s->last8 = s->last8 << 8 | byte;
    return true;
}

static bool line_byte(struct http_scan *s, uint8_t byte) {
    if (byte == '\r') {
        s->state = SCAN_END_CR;
        return true;
    }
    if (byte == ' ' || byte == '\t') return bad(s, "folded header line");
    if (!http_token_char(byte)) return bad(s, "bad character at the start of a header line");
    s->state = SCAN_NAME;
    return true;
}

static bool name_byte(struct http_scan *s, uint8_t byte) {
    if (byte == ':')
        s->state = SCAN_VALUE;
    else if (!http_token_char(byte))
        return bad(s, "bad character in a header name");
    return true;
}

static bool value_byte(struct http_scan *s, uint8_t byte) {
    if (byte == '\r')
        s->state = SCAN_VALUE_CR;
    else if ((byte < 0x20 && byte != '\t') || byte == 0x7f)
        return bad(s, "control character in a header value");
    return true;
}

static bool start_byte(struct http_scan *s, uint8_t byte) {
    if (byte == '\r') {
        if (s->empty_n++ == EMPTY_LINES_MAX) return bad(s, "empty lines instead of a request");
        s->state = SCAN_START_CR;
        return true;
    }
    if (!http_token_char(byte)) return bad(s, "the request does not begin with a method");
    s->state = SCAN_REQUEST;
    s->last8 = byte;
    return true;
}

static bool scan_byte(struct http_scan *s, uint8_t byte) {
    switch ((enum http_scan_state)s->state) {
    case SCAN_START:
        return start_byte(s, byte);
    case SCAN_START_CR:
        return expect_lf(s, byte, SCAN_START);
    case SCAN_REQUEST:
        return request_byte(s, byte);
    case SCAN_REQUEST_CR:
    case SCAN_VALUE_CR:
        return expect_lf(s, byte, SCAN_LINE);
    case SCAN_LINE:
        return line_byte(s, byte);
    case SCAN_NAME:
        return name_byte(s, byte);
    case SCAN_VALUE:
        return value_byte(s, byte);
    case SCAN_END_CR:
        return expect_lf(s, byte, SCAN_DONE);
    case SCAN_DONE:
    case SCAN_BAD:
        break;
    }
    return false;
}

size_t http_scan_feed(struct http_scan *s, const uint8_t *data, size_t len, size_t *ret_skip) {
    size_t taken = 0, skip = 0;
    CHECK(s->state != SCAN_DONE && s->state != SCAN_BAD);
    while (taken < len) {
        bool ok = scan_byte(s, data[taken++]);
        if (s->state == SCAN_START || s->state == SCAN_START_CR) skip = taken;
        if (!ok || s->state == SCAN_DONE) break;
    }
    *ret_skip = skip;
    return taken;
}

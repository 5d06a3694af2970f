/* SPDX-License-Identifier: Apache-2.0
 * HOST:PORT as people write it: "10.0.0.1:5050", "[::1]:5050", "master1.example:5050". Parsing is pure: names are kept
 * as text, and are resolved only when a link connects (link.h). Listening needs a number, not a name. */
#ifndef CONCLAVE_NET_ADDRESS_H
#define CONCLAVE_NET_ADDRESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

#define ADDRESS_HOST_MAX 253                     /* bytes, as in DNS */
#define ADDRESS_TEXT_MAX (ADDRESS_HOST_MAX + 10) /* "[", "]", ":65535" and the terminator */

struct address {
    char host[ADDRESS_HOST_MAX +
              1];  /* without brackets; a numeric address or a name of letters, digits, '-', '.', '_' */
    uint16_t port; /* 0 only where the parser was told to allow it */
};

enum address_flags {
    ADDRESS_PORT_ZERO = 1, /* port 0 is allowed ("any free port") */
    ADDRESS_NUMERIC = 2,   /* names are refused */
};

/* Reads one address. `default_port` is used when no port is written; 0 makes the port mandatory. A bare IPv6 address
 * without brackets is refused, because its port would be ambiguous. ERR_INVALID with the text quoted in *err. */
int address_parse(const char *text, uint16_t default_port, unsigned flags, struct address *ret, struct err *err);

/* Reads a list separated by commas (spaces around them allowed) into ret[0..max). Empty elements, repeated addresses
 * and more than `max` are ERR_INVALID. On failure *ret_n is untouched and ret[] is undefined. */
int address_list_parse(const char *text, uint16_t default_port, unsigned flags, struct address *ret, size_t max,
                       size_t *ret_n, struct err *err);

/* Writes "host:port" ("[host]:port" for IPv6) and returns `out`. */
const char *address_format(const struct address *a, char out[ADDRESS_TEXT_MAX]);

/* The socket address of a numeric `a`; ERR_INVALID for a name. */
int address_to_sockaddr(const struct address *a, struct sockaddr_storage *ret, struct err *err);
/* The numeric address in `sa`; an unknown family gives the host "?" and port 0. */
void address_from_sockaddr(const struct sockaddr *sa, struct address *ret);

#endif

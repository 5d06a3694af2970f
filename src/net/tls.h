/* SPDX-License-Identifier: Apache-2.0
 * TLS 1.3 for links, mutual: who this process is, whom it believes, and how it notices new certificates.
 *
 * A certificate carries its holder's identity as one URI in its subject alternative name:
 *
 *     conclave://CLUSTER-ID-IN-32-HEX-DIGITS/master/NODE-ID
 *     conclave://CLUSTER-ID-IN-32-HEX-DIGITS/agent
 *
 * A connection stands only when both certificates come from the one CA that was given (system CAs are never asked), are
 * within their time, and name the same cluster and the role that the port is for; where the other side's node id is
 * known beforehand, that too. Host names and addresses prove nothing and are not looked at. The URI of a CA's own
 * making is all there is: whoever holds the CA's key is the cluster.
 *
 * Certificates are read again when their files change (looked at every TLS_POLL_MS, or at once when told): new
 * connections use the new ones, those that stand go on. Files that cannot be used leave the old ones in place, and that
 * is logged. There is no revocation list: what must be locked out is removed from the members, or the CA is changed.
 * There is no session resumption: a ticket of one master means nothing to another, and the agents come back to another.
 *
 * Not thread-safe; everything runs on the thread of the loop. */
#ifndef CONCLAVE_NET_TLS_H
#define CONCLAVE_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define TLS_POLL_MS        10000
#define TLS_FILE_BYTES_MAX 65536          /* of a certificate, key or CA file */
#define TLS_URI_MAX        96             /* bytes of an identity as text, terminator included */
#define TLS_ALARM_S        (30ll * 86400) /* a certificate that ends sooner is told as an alarm */

enum tls_role { TLS_NOBODY, TLS_MASTER, TLS_AGENT };

struct tls_identity {
    enum tls_role role;
    uint8_t cluster_id[16];
    uint64_t node; /* of a master, never 0; 0 of an agent */
};

/* What the other side of a connection must be; its cluster is always ours. */
struct tls_expect {
    enum tls_role role;
    uint64_t node; /* 0: any */
};

/* Reads text[0..len) as an identity: exactly the form above, lower-case digits, a node id without leading zeros. 0, or
 * ERR_PARSE. */
int tls_identity_parse(const char *text, size_t len, struct tls_identity *ret);
/* The other way. */
const char *tls_identity_format(const struct tls_identity *identity, char ret[TLS_URI_MAX]);
const char *tls_role_name(enum tls_role role); /* "master" */

/* What a process is given: paths of PEM files. All or none. */
struct tls_files {
    const char *ca;   /* one or more CA certificates; several while a CA is being replaced */
    const char *cert; /* ours, and what stands between it and the CA */
    const char *key;  /* ours; not readable by others */
};

/* The rows of the flag table of whoever has such files: TLS_FLAGS(files) */
#define TLS_FLAGS(files)                                                                                               \
    {"tls-ca", FLAG_STRING, &(files).ca, 0, 3000, false, "FILE", "CA of the cluster (PEM); with the next two: TLS"},   \
        {"tls-cert", FLAG_STRING, &(files).cert, 0, 3000, false, "FILE", "our certificate (conclave cert makes it)"},  \
    {                                                                                                                  \
        "tls-key", FLAG_STRING, &(files).key, 0, 3000, false, "FILE", "its key; readable by its owner only"            \
    }

struct tls; /* opaque */

/* Loads the files (which are copied by name) and checks that they fit each other and say who we are: `self` with role
 * and, unless they are zero, cluster id and node. *ret is NULL, with 0, when no file is given. Errors, each naming the
 * file and what to do: ERR_INVALID (some but not all given; a key that others may read; not ours, expired, of another
 * CA, cluster, role or node), ERR_NOT_FOUND, ERR_IO. */
int tls_open(const struct tls_files *files, const struct tls_identity *self, struct tls **ret, struct err *err);
/* No link uses it any more. NULL is allowed. */
void tls_close(struct tls *tls);

/* Who we are, by our certificate. */
const struct tls_identity *tls_self(const struct tls *tls);

/* Reads the files again if they have changed and TLS_POLL_MS have gone by since the last look, or at once with `now`.
 * Logs what came of it. NULL is allowed. */
void tls_poll(struct tls *tls, uint64_t mono_ms, bool now);

struct tls_stats {
    int64_t expires_s;      /* seconds until the first of our certificates (and the CA's) ends; negative: it has */
    uint64_t reloads;       /* times that new files were taken */
    uint64_t reload_errors; /* times that they could not be */
    uint64_t handshakes;    /* that ended well */
    uint64_t handshake_errors;
};
void tls_stats(const struct tls *tls, struct tls_stats *ret);

#endif

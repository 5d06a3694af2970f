/* SPDX-License-Identifier: Apache-2.0
 * What masters say to each other, as bytes: the payloads of the frames that peers.h sends over links. Pure codec; the
 * framing itself (length, checksum, type) is net/link.h's.
 *
 * All integers are little-endian. A payload has exactly one reading: every length is checked against what is there
 * before anything is allocated, and a byte too few or too many is ERR_PARSE. What decoding allocates follows the core's
 * rules for recv: entries of one request share one batch, all of raft_malloc, each entry at a multiple of 8.
 *
 * Frames:
 *   HELLO    first on a connection, from the dialling side    struct peer_hello
 *   WELCOME  the other side's answer                          struct peer_hello
 *   REFUSED  or this; the connection ends behind it           u32 reason (enum peer_refusal), and to a stranger u64
 *            index of the newest committed configuration that the refuser has, 0: it does not say
 *   MEMBERS  may come before a HELLO                          see peer_members.h
 *   MESSAGE  one message of the core or of the guard          see peer_message_encode
 *   PING     how the sender is                                u64 number, struct peer_vitals
 *   PONG                                                      u64 number, echoed
 *   FILE     on a bulk connection: a snapshot begins          u64 size of its file, then as MESSAGE, data left out
 *   PIECE    the next bytes of the file                       u64 offset, bytes
 *   TAKEN    the other side has dealt with so much of it      u64 bytes
 *   INSTALLED  and has handed it to its core                  u64 size
 *
 * (7 and 8 carried a state through memory once, and are not used again.) */
#ifndef CONCLAVE_CONSENSUS_PEER_CODEC_H
#define CONCLAVE_CONSENSUS_PEER_CODEC_H

#include <raft.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define PEER_PROTOCOL          1u
#define PEER_HELLO_BYTES       80u        /* what we send, and the least that we take */
#define PEER_HELLO_MAX         256u       /* later programs may say more behind it, which is not read */
#define PEER_VERSION_BYTES     20u        /* of a program's version, terminator included */
#define PEER_MESSAGE_MAX       (2u << 20) /* bytes of a MESSAGE: a train's 1 MiB, or one entry of the longest kind */
#define PEER_SNAPSHOT_MAX      (1u << 30) /* bytes of a snapshot that travels from memory to memory */
#define PEER_FILE_MAX          (UINT64_C(65) << 30) /* and of the file of one */
#define PEER_CHUNK_BYTES       (1u << 20)           /* data bytes of a PIECE */
#define PEER_CONFIGURATION_MAX 16u                  /* servers in a configuration */
#define PEER_ADDRESS_MAX       128u                 /* bytes of a server's address, terminator included */
#define PEER_NUMBER_MAX        (1ull << 62)         /* terms and indexes stay below: nothing can make a term run over */

enum peer_frame {
    PEER_FRAME_HELLO = 1,
    PEER_FRAME_WELCOME = 2,
    PEER_FRAME_REFUSED = 3,
    PEER_FRAME_MESSAGE = 4,
    PEER_FRAME_PING = 5,
    PEER_FRAME_PONG = 6,
    PEER_FRAME_INSTALLED = 9,
    PEER_FRAME_FILE = 10,
    PEER_FRAME_PIECE = 11,
    PEER_FRAME_TAKEN = 12,
    PEER_FRAME_MEMBERS = 13,
};

/* What a connection is for. */
enum peer_stream { PEER_STREAM_MESSAGES = 1, PEER_STREAM_BULK = 2 };

/* X(NAME, value, text) */
#define PEER_REFUSALS(X)                                                                                               \
    X(PROTOCOL, 1, "another protocol version")                                                                         \
    X(CLUSTER, 2, "another cluster")                                                                                   \
    X(STRANGER, 3, "not a member")                                                                                     \
    X(TARGET, 4, "meant for another node")                                                                             \
    X(SELF, 5, "our own id")                                                                                           \
    X(FOLDER, 6, "another folder is known under this id")                                                              \
    X(CERTIFICATE, 7, "the certificate is another node's")

enum peer_refusal {
#define PEER_REFUSAL_ENUM(name, value, text) PEER_REFUSED_##name = (value),
    PEER_REFUSALS(PEER_REFUSAL_ENUM)
#undef PEER_REFUSAL_ENUM
};

/* "another cluster"; "unknown reason" for other values. */
const char *peer_refusal_text(uint32_t refusal);

struct peer_hello {
    uint32_t protocol; /* PEER_PROTOCOL */
    uint32_t stream;   /* enum peer_stream */
    uint8_t cluster_id[16];
    uint64_t from;          /* node id of the sender */
    uint64_t to;            /* node id that the sender means to talk to */
    uint64_t nonce;         /* of the sender's process: random, another after each start */
    uint32_t program_level; /* what the sender's program can apply (replica.h); 0: it does not say */
    char program_version[PEER_VERSION_BYTES];
    uint64_t folder; /* of the sender's data folder (pins.h) */
};

/* What members tell each other of themselves, with every PING. */
#define PEER_PING_BYTES 104u /* what we send */
#define PEER_PING_LEAST 96u  /* the least that we take: earlier programs do not say how they stand */
#define PEER_PING_MAX   512u /* later programs may say more behind it, which is not read */
#define PEER_MARKS      3u

struct peer_mark {
    uint64_t index;   /* an applied position, 0: none */
    uint8_t hash[16]; /* of the state behind it */
};

/* How the sender stands, bits of peer_vitals.standing; 0: it does not say. */
#define PEER_STANDING_TOLD     1u
#define PEER_STANDING_ADMITTED 2u /* its folder is known to so many of the others that it may vote (pins.h) */
#define PEER_STANDING_BARRED   4u /* it was reinstalled and has not caught up (reinstall.h) */

struct peer_vitals {
    uint32_t space;      /* enum replica_space_level, or a higher number of a later program */
    uint32_t hash_kind;  /* hashes of different kinds cannot be compared */
    uint64_t free_bytes; /* on the disk of its data folder */
    struct peer_mark marks[PEER_MARKS];
    uint32_t standing;
};

void peer_ping_encode(uint64_t number, const struct peer_vitals *vitals, uint8_t ret[PEER_PING_BYTES]);
/* ERR_PARSE unless `len` is PEER_PING_LEAST to PEER_PING_MAX. The fields are not judged. */
int peer_ping_decode(const uint8_t *data, size_t len, uint64_t *ret_number, struct peer_vitals *ret);

void peer_hello_encode(const struct peer_hello *hello, uint8_t ret[PEER_HELLO_BYTES]);
/* ERR_PARSE unless `len` is PEER_HELLO_BYTES to PEER_HELLO_MAX and the version is printable text, zeros behind it. The
 * other fields are not judged. */
int peer_hello_decode(const uint8_t *data, size_t len, struct peer_hello *ret);

/* Appends `message` to `ret`. All types of the core and the guard's four; of RAFT_IO_INSTALL_SNAPSHOT everything but
 * the data. server_id and server_address are not part of it. ERR_LIMIT (over PEER_MESSAGE_MAX, over what `ret` may
 * hold, or no memory), ERR_INVALID (unknown type, or a configuration over its bounds); `ret` is as it was then. */
int peer_message_encode(const struct raft_message *message, struct buf *ret);

/* Reads one message; server_id and server_address are left 0 and NULL. An installed snapshot comes with data.base NULL
 * and data.len as announced, at most PEER_SNAPSHOT_MAX. ERR_PARSE or ERR_NOMEM, and *ret is untouched. */
int peer_message_decode(const uint8_t *data, size_t len, struct raft_message *ret);

/* Frees what decoding allocated; for messages that are not handed to the core. */
void peer_message_free(struct raft_message *message);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * Errors: one table of codes for the whole program.
 *
 * A fallible function returns 0 or a negative `enum err_code`, and where a human will read the reason it takes a
 * `struct err *` last. On success the struct is untouched. Outputs are named ret_*, and are untouched on failure.
 * Operating errors are returned; programmer errors are CHECKed (check.h). */
#ifndef CONCLAVE_BASE_ERR_H
#define CONCLAVE_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

/* X(name, value, text, HTTP status, exit status of the CLI) */
#define ERR_CODES(X)                                                                                                   \
    X(INVALID, 1, "invalid argument", 400, 64)                                                                         \
    X(PARSE, 2, "malformed input", 400, 1)                                                                             \
    X(LIMIT, 3, "over a limit", 413, 1)                                                                                \
    X(NOMEM, 4, "out of memory", 503, 1)                                                                               \
    X(IO, 5, "input/output error", 500, 1)                                                                             \
    X(NOT_FOUND, 6, "not found", 404, 1)                                                                               \
    X(EXISTS, 7, "already exists", 409, 1)                                                                             \
    X(CORRUPT, 8, "corrupt data", 500, 4)                                                                              \
    X(NOT_LEADER, 9, "not the leader", 307, 3)                                                                         \
    X(UNKNOWN_OUTCOME, 10, "outcome unknown", 503, 1)                                                                  \
    X(BUSY, 11, "busy", 503, 1)                                                                                        \
    X(CLOSED, 12, "closed", 503, 1)                                                                                    \
    X(INCOMPATIBLE, 13, "incompatible version", 500, 4)                                                                \
    X(NO_QUORUM, 14, "no quorum", 503, 3)                                                                              \
    X(TIMEOUT, 15, "timed out", 504, 1)                                                                                \
    X(FORBIDDEN, 16, "forbidden", 403, 1)                                                                              \
    X(LOCKED, 17, "in use by another process", 409, 1)                                                                 \
    X(LEVEL, 18, "needs a higher feature level", 409, 1)                                                               \
    X(FULL, 19, "the masters' disks are nearly full", 503, 1)

enum err_code {
    ERR_OK = 0,
#define ERR_ENUM(name, value, text, http, exit_status) ERR_##name = -(value),
    ERR_CODES(ERR_ENUM)
#undef ERR_ENUM
};

struct err {
    int code;       /* an enum err_code */
    char text[256]; /* what failed and why, without a trailing period; always terminated */
};

/* Name of a code ("NOT_LEADER"), its text, and what it means on the two outer surfaces. Unknown codes are named
 * "UNKNOWN". */
const char *err_name(int code);
const char *err_text(int code);
int err_http_status(int code);
int err_exit_status(int code);

/* Sets *err (which may be NULL) and returns `code`, so that `return err_set(err, ERR_IO, ...)` reads well. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set with ERR_IO (ERR_NOMEM, ERR_NOT_FOUND where errno says so), appending ": " and the text of errno `sys`. */
int err_sys(struct err *err, int sys, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the text and returns the code that was there. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__
/* The analyzer reads one file at a time. It must know that these never return 0, or it takes every output that a
 * failure leaves untouched for a value used before it is set. */
#define err_set(err, code, ...) ((void)(err_set)((err), (code), __VA_ARGS__), (code))
#define err_sys(err, sys, ...)  ((void)(err_sys)((err), (sys), __VA_ARGS__), ERR_IO)
#define err_wrap(err, ...)      ((void)(err_wrap)((err), __VA_ARGS__), ERR_IO)
#endif

#endif

/* SPDX-License-Identifier: Apache-2.0
 * What an agent tells a shim to run, and what a shim records at the end: flat files of key=value strings, so that the
 * shim needs no Mesos message, no allocation per field and no library.
 *
 *   a sealed file (sealed.h) whose body is "key=value" NUL "key=value" NUL ...
 *
 * Both files live and die with one boot of the host (a torn one is refused, never guessed). Pure. */
#ifndef CONCLAVE_AGENT_SPEC_H
#define CONCLAVE_AGENT_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/workload.h"
#include "base/buf.h"
#include "base/err.h"

#define SPEC_MAGIC       0x53534e43u /* "CNSS" */
#define EXIT_MAGIC       0x58534e43u /* "CNSX" */
#define SPEC_BYTES_MAX   (1u << 20)
#define SPEC_STRINGS_MAX 2048 /* arguments, and environment variables, and groups */
#define SPEC_URIS_MAX    64
#define SPEC_CGROUPS_MAX 4

struct spec_uri {
    const char *source; /* absolute path on this host */
    const char *name;   /* file name in the sandbox */
    bool executable;
};

struct spec {         /* strings are borrowed from the decoded buffer, or from the caller for encoding */
    const char *file; /* what to exec, looked up in the PATH of `env` when it has no '/' */
    const char *args[SPEC_STRINGS_MAX + 1]; /* the whole argv, NULL-terminated */
    size_t arg_n;
    const char *env[SPEC_STRINGS_MAX + 1];
    size_t env_n;
    struct spec_uri uris[SPEC_URIS_MAX];
    size_t uri_n;
    bool switch_user; /* set uid, gid and groups */
    uint32_t uid, gid;
    uint32_t groups[64];
    size_t group_n;
    unsigned cgroup_version;               /* 0: none, 1, 2 */
    const char *cgroups[SPEC_CGROUPS_MAX]; /* "controller:directory" (v1), ":directory" (v2) */
    size_t cgroup_n;
    uint64_t mem_bytes;  /* 0: no limit */
    uint64_t cpu_shares; /* 1024 a cpu; 0: leave */
    uint64_t pids;       /* 0: no limit */
};

/* Appends the file's bytes. ERR_INVALID: a string with a NUL cannot occur; ERR_LIMIT: too big. */
int spec_encode(const struct spec *spec, struct buf *ret, struct err *err);
/* `data` is changed and must outlive *ret, which must be all zero (the shim's untouched pages cost nothing).
 * ERR_CORRUPT, ERR_INCOMPATIBLE (a key this shim does not know), ERR_LIMIT. */
int spec_decode(char *data, size_t len, struct spec *ret, struct err *err);

/* The exit record. */
struct exit_record {
    enum workload_exit kind;
    int code;
    bool oom;
    uint64_t at_ms; /* the host's monotonic clock */
    char text[WORKLOAD_TEXT_MAX];
};
#define EXIT_RECORD_MAX 1024
/* Returns the number of bytes written to `ret`. */
size_t exit_record_encode(const struct exit_record *record, uint8_t ret[EXIT_RECORD_MAX]);
int exit_record_decode(char *data, size_t len, struct exit_record *ret, struct err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * `conclave master`: flags to configuration. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/flags.h"
#include "base/log.h"
#include "scheduler/level.h"
#include "scheduler/master.h"

struct master_flags {
    const char *data_dir, *cluster_id, *peers, *hostname, *advertise, *listen;
    uint64_t node, http_port, link_port, heartbeat_ms, election_ms, agent_timeout_ms, framework_timeout_ms,
        history_tasks, level;
    uint64_t segment_mb, snapshot_mb;
    struct tls_files tls;
    bool chaos, verbose, reinstall, skip_hold, hold_ends, join;
};

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static int cluster_id_parse(const char *text, uint8_t ret[16], struct err *err) {
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '-') continue;
        int hi = hex_digit(p[0]), lo = hi < 0 ? -1 : hex_digit(p[1]);
        if (lo < 0 || n == 16) return err_set(err, ERR_INVALID, "--cluster-id: wants 32 hexadecimal digits");
        ret[n++] = (uint8_t)(hi << 4 | lo);
        p++;
    }
    return n == 16 ? 0 : err_set(err, ERR_INVALID, "--cluster-id: wants 32 hexadecimal digits");
}

/* "1=10.0.0.1:5060,2=10.0.0.2" */
static int peers_parse(const char *text, struct replica_config *ret, struct err *err) {
    char copy[2048];
    if (strlen(text) >= sizeof copy) return err_set(err, ERR_INVALID, "--peers: too long");
    memcpy(copy, text, strlen(text) + 1);
    char *save = NULL;
    for (char *part = strtok_r(copy, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
        char *equals = strchr(part, '='), *end = NULL;
        unsigned long long id = equals ? strtoull(part, &end, 10) : 0;
        if (!equals || end != equals || id == 0)
            return err_set(err, ERR_INVALID, "--peers: wants ID=HOST[:PORT],..., has '%.60s'", part);
        if (ret->member_count == REPLICA_MEMBERS_MAX)
            return err_set(err, ERR_INVALID, "--peers: more than %d masters", REPLICA_MEMBERS_MAX);
        for (unsigned i = 0; i < ret->member_count; i++)
            if (ret->members[i].id == id) return err_set(err, ERR_INVALID, "--peers: id %llu stands twice", id);
        struct address address;
        char out[ADDRESS_TEXT_MAX];
        int rc = address_parse(equals + 1, 5060, 0, &address, err);
        if (rc) return err_wrap(err, "--peers");
        if (strlen(address_format(&address, out)) >= REPLICA_ADDRESS_MAX)
            return err_set(err, ERR_INVALID, "--peers: an address is too long");
        struct replica_member *member = &ret->members[ret->member_count++];
        member->id = id;
        memcpy(member->address, out, strlen(out) + 1);
    }
    return 0;
}

static int listen_address(const char *host, uint64_t port, const char *what, struct address *ret, struct err *err) {
    char text[ADDRESS_TEXT_MAX + 16];
    bool v6 = strchr(host, ':') != NULL && host[0] != '[';
    (void)snprintf(text, sizeof text, v6 ? "[%.240s]:%u" : "%.240s:%u", host, (unsigned)port);
    int rc = address_parse(text, 0, ADDRESS_NUMERIC | ADDRESS_PORT_ZERO, ret, err);
    return rc ? err_wrap(err, "%s", what) : 0;
}

static int advertise_text(const char *host, uint16_t port, char ret[REPLICA_ADDRESS_MAX], struct err *err) {
    int n = snprintf(ret, REPLICA_ADDRESS_MAX, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    return n > 0 && n < REPLICA_ADDRESS_MAX ? 0 : err_set(err, ERR_INVALID, "--advertise: too long");
}

/* The member that is us says where we listen for peers, and, unless told otherwise, what host we are. */
static int config_make(const struct master_flags *f, struct master_config *ret, char *listen_peers, size_t size,
                       struct err *err) {
    struct replica_config *r = &ret->replica;
    int rc = cluster_id_parse(f->cluster_id, r->cluster_id, err);
    if (rc == 0) rc = peers_parse(f->peers, r, err);
    if (rc) return rc;
    const struct replica_member *self = NULL;
    for (unsigned i = 0; i < r->member_count; i++)
        if (r->members[i].id == f->node) self = &r->members[i];
    if (!self) return err_set(err, ERR_INVALID, "--node: %llu is not among --peers", (unsigned long long)f->node);
    struct address peer;
    rc = address_parse(self->address, 5060, 0, &peer, err);
    if (rc) return rc;
    const char *listen = f->listen ? f->listen : peer.host, *advertise = f->advertise ? f->advertise : peer.host;
    struct address peer_listen;
    rc = listen_address(listen, peer.port, "--listen", &peer_listen, err);
    if (rc == 0) rc = listen_address(listen, f->http_port, "--listen", &ret->http_listen, err);
    if (rc == 0) rc = listen_address(listen, f->link_port, "--listen", &ret->link_listen, err);
    if (rc == 0) rc = advertise_text(advertise, (uint16_t)f->http_port, ret->http_advertise, err);
    if (rc == 0) rc = advertise_text(advertise, (uint16_t)f->link_port, ret->link_advertise, err);
    if (rc) return rc;
    char text[ADDRESS_TEXT_MAX];
    (void)snprintf(listen_peers, size, "%s", address_format(&peer_listen, text));
    (void)snprintf(ret->hostname, sizeof ret->hostname, "%.255s", f->hostname ? f->hostname : advertise);
    r->data_dir = f->data_dir;
    r->node_id = f->node;
    r->listen = listen_peers;
    r->heartbeat_ms = (unsigned)f->heartbeat_ms;
    r->election_ms = (unsigned)f->election_ms;
    r->segment_bytes = f->segment_mb << 20;
    r->snapshot_bytes = f->snapshot_mb << 20;
    r->reinstall = f->reinstall;
    r->skip_hold = f->skip_hold;
    r->hold_ends = f->hold_ends;
    r->join = f->join;
    ret->agent_timeout_ms = f->agent_timeout_ms;
    ret->framework_reregister_timeout_ms = f->framework_timeout_ms;
    ret->history_tasks = f->history_tasks;
    ret->level = f->level;
    ret->tls = f->tls;
    ret->chaos = f->chaos;
    if (f->level > level_max())
        return err_set(err, ERR_INVALID, "--feature-level: this program knows levels 1 to %u", level_max());
    if (f->election_ms < 4 * f->heartbeat_ms)
        return err_set(err, ERR_INVALID, "--election-ms: must be at least four heartbeats");
    return 0;
}

static int wrong_usage(const struct err *err) {
    fprintf(stderr, "conclave master: %s (see conclave master --help)\n", err->text);
    return 64;
}

int master_main(int argc, char **argv) {
    struct master_flags f = {.http_port = 5050,
                             .link_port = 5061,
                             .heartbeat_ms = 50,
                             .election_ms = 300,
                             .agent_timeout_ms = 75000,
                             .framework_timeout_ms = 600000,
                             .history_tasks = 10000,
                             .segment_mb = 64,
                             .snapshot_mb = 64};
    const struct flag table[] = {
        {"data-dir", FLAG_STRING, &f.data_dir, 0, 0, true, "DIR", "where the log is kept; made if it is not there"},
        {"cluster-id", FLAG_STRING, &f.cluster_id, 0, 64, true, "HEX", "32 digits, the same on all masters"},
        {"node", FLAG_U64, &f.node, 1, UINT64_MAX, false, "ID", "our id among --peers"},
        {"peers", FLAG_STRING, &f.peers, 0, 2000, true, "LIST", "all masters: ID=HOST[:PORT],... (5060)"},
        {"listen", FLAG_STRING, &f.listen, 0, 200, false, "IP", "where to listen; default: our address in --peers"},
        {"advertise", FLAG_STRING, &f.advertise, 0, 100, false, "HOST", "what to tell others; default: the same"},
        {"hostname", FLAG_STRING, &f.hostname, 0, 255, false, "NAME", "shown to people; default: the advertised host"},
        {"http-port", FLAG_U64, &f.http_port, 1, 65535, false, "PORT", "frameworks and operators (5050)"},
        {"link-port", FLAG_U64, &f.link_port, 1, 65535, false, "PORT", "agents (5061)"},
        {"heartbeat-ms", FLAG_U64, &f.heartbeat_ms, 5, 10000, false, "MS", "between masters (50)"},
        {"election-ms", FLAG_U64, &f.election_ms, 50, 60000, false, "MS", "silence before an election (300)"},
        {"agent-timeout-ms", FLAG_U64, &f.agent_timeout_ms, 1000, 86400000, false, "MS",
         "silence before an agent is unreachable (75000); seeds the configuration"},
        {"framework-reregister-timeout-ms", FLAG_U64, &f.framework_timeout_ms, 1000, 604800000, false, "MS",
         "for frameworks after a change of leader (600000); seeds the configuration"},
        {"history-tasks", FLAG_U64, &f.history_tasks, 0, 10000000, false, "N",
         "completed tasks kept (10000); seeds the configuration"},
        {"feature-level", FLAG_U64, &f.level, 1, UINT32_MAX, false, "N",
         "of a new cluster (the newest); `conclave config set level` raises it later"},
        {"segment-mb", FLAG_U64, &f.segment_mb, 1, 1024, false, "MB", "of a log segment (64)"},
        {"snapshot-mb", FLAG_U64, &f.snapshot_mb, 1, 65536, false, "MB", "of log between snapshots (64)"},
        {"join", FLAG_BOOL, &f.join, 0, 0, false, "",
         "wait to be added to a cluster (conclave members add tells id and flags); --peers may name us alone"},
        {"reinstall", FLAG_BOOL, &f.reinstall, 0, 0, false, "",
         "if the data is damaged or was given up as diverged: set it aside, get it anew from the leader"},
        TLS_FLAGS(f.tls),
        {"skip-hold", FLAG_BOOL, &f.skip_hold, 0, 0, false, "",
         "apply again what has ended the program twice, instead of holding"},
        {"exit-on-hold", FLAG_BOOL, &f.hold_ends, 0, 0, false, "", "end with 4 instead of holding"},
        {"chaos", FLAG_BOOL, &f.chaos, 0, 0, false, "", "allow fault commands (for tests)"},
        {"verbose", FLAG_BOOL, &f.verbose, 0, 0, false, "", "log more"},
        {0},
    };
    struct err err = {0};
    int rest = argc;
    if (flags_help_wanted(argc, argv)) {
        printf("usage: conclave master FLAGS\n\nOne of the three or five masters of a cluster.\n\n");
        flags_help(table, stdout);
        return 0;
    }
    if (flags_parse(table, argc, argv, &rest, &err)) return wrong_usage(&err);
    if (rest < argc) {
        (void)err_set(&err, ERR_INVALID, "%.60s: no operands are taken", argv[rest]);
        return wrong_usage(&err);
    }
    static struct master_config config;
    static char listen_peers[ADDRESS_TEXT_MAX];
    if (config_make(&f, &config, listen_peers, sizeof listen_peers, &err)) return wrong_usage(&err);
    char who[32];
    (void)snprintf(who, sizeof who, "m%llu", (unsigned long long)f.node);
    log_setup(f.verbose ? LOG_DEBUG : LOG_INFO, who);
    if (mkdir(f.data_dir, 0700) != 0 && access(f.data_dir, W_OK) != 0) {
        fprintf(stderr, "conclave master: cannot use data folder %s: %s\n", f.data_dir, strerror(errno));
        return 1;
    }
    return master_run(&config);
}

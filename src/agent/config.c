/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>
#include <uv.h>

#include "base/flags.h"

#define LINK_PORT       5061
#define HTTP_PORT       5051
#define MEM_RESERVE_MB  1024
#define DISK_RESERVE_MB 5120
#define PORTS_DEFAULT   "ports:[31000-32000]"

struct texts { /* flags as given */
    const char *masters, *listen, *advertise, *resources, *attributes, *hostname, *cluster_id;
};

int attributes_parse(const char *text, struct attribute ret[ATTRIBUTES_MAX], size_t *ret_n, struct err *err) {
    size_t n = 0;
    for (const char *at = text; *at;) {
        size_t len = strcspn(at, ";");
        const char *colon = memchr(at, ':', len);
        if (len == 0 || !colon || colon == at || (size_t)(colon - at) == len - 1 || n == ATTRIBUTES_MAX) {
            while (n > 0)
                free(ret[--n].name), free(ret[n].value);
            return err_set(err, ERR_INVALID, "--attributes: '%.60s' is not name:value;name:value (at most %d)", text,
                           ATTRIBUTES_MAX);
        }
        ret[n].name = strndup(at, (size_t)(colon - at));
        ret[n].value = strndup(colon + 1, len - (size_t)(colon - at) - 1);
        n++;
        at += len + (at[len] == ';');
    }
    *ret_n = n;
    return 0;
}

static int cluster_id_parse(const char *text, struct agent_config *c, struct err *err) {
    if (strlen(text) != 32 || strspn(text, "0123456789abcdefABCDEF") != 32)
        return err_set(err, ERR_INVALID, "--cluster-id: 32 hexadecimal digits, not '%.40s'", text);
    for (size_t i = 0; i < 16; i++) {
        char two[3] = {text[2 * i], text[2 * i + 1], '\0'};
        c->cluster_id[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    c->cluster_id_set = true;
    return 0;
}

/* The first IPv4 address of this host that is not loopback, else 127.0.0.1. */
static void own_address(char *ret, size_t size) {
    uv_interface_address_t *list;
    int n = 0;
    (void)snprintf(ret, size, "127.0.0.1");
    if (uv_interface_addresses(&list, &n) != 0) return;
    for (int i = 0; i < n; i++)
        if (!list[i].is_internal && list[i].address.address4.sin_family == AF_INET) {
            (void)uv_ip4_name(&list[i].address.address4, ret, size);
            break;
        }
    uv_free_interface_addresses(list, n);
}

static bool wildcard(const char *host) {
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static int addresses_read(const struct texts *t, struct agent_config *c, struct err *err) {
    struct address advertise;
    struct sockaddr_storage numeric;
    int rc = address_list_parse(t->masters, LINK_PORT, 0, c->masters, MASTERS_MAX, &c->master_n, err);
    if (rc) return err_wrap(err, "--masters");
    rc = address_parse(t->listen, HTTP_PORT, ADDRESS_PORT_ZERO | ADDRESS_NUMERIC, &c->listen, err);
    if (rc) return err_wrap(err, "--listen");
    advertise = c->listen;
    if (t->advertise && *t->advertise) {
        rc = address_parse(t->advertise, c->listen.port, ADDRESS_PORT_ZERO, &advertise, err);
        if (rc) return err_wrap(err, "--advertise");
    } else if (wildcard(c->listen.host)) {
        own_address(advertise.host, sizeof advertise.host);
    }
    (void)address_format(&advertise, c->endpoint);
    if (address_to_sockaddr(&advertise, &numeric, NULL) == 0)
        (void)snprintf(c->ip, sizeof c->ip, "%.63s", advertise.host);
    if (!wildcard(c->listen.host)) (void)snprintf(c->bind_host, sizeof c->bind_host, "%.63s", c->listen.host);
    return 0;
}

/* What a resource is when --resources does not name it. */
static void found_resources(const char *work_dir, struct resources *found) {
    struct sysinfo info;
    struct statvfs disk;
    char dir[4096];
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    found->cpus = (cpus > 0 ? cpus : 1) * 1000;
    if (sysinfo(&info) == 0) {
        int64_t mb = (int64_t)((uint64_t)info.totalram * info.mem_unit >> 20);
        found->mem = (mb > 2 * MEM_RESERVE_MB ? mb - MEM_RESERVE_MB : mb / 2) * 1000;
    }
    (void)snprintf(dir, sizeof dir, "%s", work_dir);
    while (statvfs(dir, &disk) != 0) { /* it may not be there yet: then its nearest parent */
        char *slash = strrchr(dir, '/');
        if (slash == dir || !slash) {
            (void)snprintf(dir, sizeof dir, "%s", slash ? "/" : ".");
            if (statvfs(dir, &disk) != 0) return;
            break;
        }
        *slash = '\0';
    }
    int64_t mb = (int64_t)((uint64_t)disk.f_bavail * disk.f_frsize >> 20);
    found->disk = (mb > 2 * DISK_RESERVE_MB ? mb - DISK_RESERVE_MB : mb / 2) * 1000;
}

static bool names(const char *text, const char *name) {
    size_t len = strlen(name);
    for (const char *at = text; (at = strstr(at, name)) != NULL; at += len) {
        bool begins = at == text || at[-1] == ';' || at[-1] == ' ';
        if (begins && (at[len] == ':' || at[len] == '(' || at[len] == ' ')) return true;
    }
    return false;
}

static int resources_read(const struct texts *t, struct agent_config *c, struct err *err) {
    struct resources found = {0}, ports;
    int rc = resources_parse_text(t->resources, &c->resources, err);
    if (rc) return err_wrap(err, "--resources");
    found_resources(c->work_dir, &found);
    if (!names(t->resources, "cpus")) c->resources.cpus = found.cpus;
    if (!names(t->resources, "mem")) c->resources.mem = found.mem;
    if (!names(t->resources, "disk")) c->resources.disk = found.disk;
    if (names(t->resources, "ports")) return 0;
    rc = resources_parse_text(PORTS_DEFAULT, &ports, err);
    if (rc == 0) rc = resources_add(&c->resources, &ports);
    resources_done(&ports);
    return rc;
}

static const char usage_head[] =
    "usage: conclave agent --masters HOST:PORT[,..] --work-dir DIR [flags]\n"
    "Runs tasks on this host. Tasks go on when the agent is stopped, restarted or killed.\n\n";

int agent_config_read(int argc, char **argv, struct agent_config *ret, struct err *err) {
    struct agent_config c = {.cgroups = true, .tasks_max = 10000, .kept_max = 1000, .kept_age_s = 7 * 86400};
    struct texts t = {.masters = "",
                      .listen = "0.0.0.0",
                      .advertise = "",
                      .resources = "",
                      .attributes = "",
                      .hostname = "",
                      .cluster_id = ""};
    c.work_dir = "";
    const struct flag flags[] = {
        {"masters", FLAG_STRING, &t.masters, 0, 0, true, "HOST:PORT,..", "agents' link of the masters; port 5061"},
        {"work-dir", FLAG_STRING, &c.work_dir, 0, 3000, true, "DIR", "where tasks and what must survive are kept"},
        {"listen", FLAG_STRING, &t.listen, 0, 0, false, "HOST[:PORT]", "address of the HTTP server; 0.0.0.0:5051"},
        {"advertise", FLAG_STRING, &t.advertise, 0, 0, false, "HOST[:PORT]", "where others reach that server"},
        {"hostname", FLAG_STRING, &t.hostname, 0, 253, false, "NAME", "name told to frameworks; this host's"},
        {"resources", FLAG_STRING, &t.resources, 0, 0, false, "TEXT",
         "cpus:4;mem:1024;disk:1000;ports:[31000-32000]; found where not given"},
        {"attributes", FLAG_STRING, &t.attributes, 0, 0, false, "TEXT", "name:value;name:value"},
        {"cluster-id", FLAG_STRING, &t.cluster_id, 0, 64, false, "HEX", "obey this cluster only; else the first met"},
        TLS_FLAGS(c.tls),
        {"cgroups", FLAG_BOOL, &c.cgroups, 0, 0, false, NULL, "limit tasks by control groups where possible"},
        {"tasks-max", FLAG_U64, &c.tasks_max, 1, 15000, false, "N", "tasks at a time; 10000"},
        {"keep", FLAG_U64, &c.kept_max, 0, 8000, false, "N", "sandboxes of ended tasks that are kept; 1000"},
        {"keep-seconds", FLAG_U64, &c.kept_age_s, 0, 0, false, "N", "for how long; a week"},
        {0},
    };
    int rest;
    if (flags_help_wanted(argc, argv)) {
        (void)fputs(usage_head, stdout);
        flags_help(flags, stdout);
        ret->help = true;
        return 0;
    }
    int rc = flags_parse(flags, argc, argv, &rest, err);
    if (rc == 0 && rest < argc) rc = err_set(err, ERR_INVALID, "'%.60s' is not expected", argv[rest]);
    if (rc == 0) rc = addresses_read(&t, &c, err);
    if (rc == 0 && *t.cluster_id) rc = cluster_id_parse(t.cluster_id, &c, err);
    if (rc == 0 && *t.hostname) (void)snprintf(c.hostname, sizeof c.hostname, "%.255s", t.hostname);
    if (rc == 0 && !*t.hostname && gethostname(c.hostname, sizeof c.hostname - 1) != 0)
        (void)snprintf(c.hostname, sizeof c.hostname, "%s", c.ip);
    if (rc == 0) rc = attributes_parse(t.attributes, c.attributes, &c.attribute_n, err);
    if (rc == 0) rc = resources_read(&t, &c, err);
    if (rc)
        agent_config_done(&c);
    else
        *ret = c;
    return rc;
}

void agent_config_done(struct agent_config *c) {
    for (size_t i = 0; i < c->attribute_n; i++) {
        free(c->attributes[i].name);
        free(c->attributes[i].value);
    }
    c->attribute_n = 0;
    resources_done(&c->resources);
}

/* SPDX-License-Identifier: Apache-2.0
 * conclave cert ca|master|agent|show: certificates for --tls-ca, --tls-cert and --tls-key (net/tls.h says what they are
 * for). The CA's key stays in its folder; only what a host needs is copied to it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/flags.h"
#include "cli/command.h"
#include "cli/print.h"
#include "net/tls_cert.h"
#include "wire/json_write.h"

#define CA_DAYS   3650
#define LEAF_DAYS 825

struct cert_flags {
    const char *dir, *cluster_id, *name;
    uint64_t days, node;
    bool replace;
};

#define CERT_FLAGS(f)                                                                                                  \
    {"dir", FLAG_STRING, &(f).dir, 0, 3000, true, "DIR", "folder of the CA; the files go there too"},                  \
        {"days", FLAG_U64, &(f).days, 1, TLS_CERT_DAYS_MAX, false, "N", "how long it is good"}, {                      \
        "replace", FLAG_BOOL, &(f).replace, 0, 0, false, "", "replace files that are there"                            \
    }
#define CLUSTER_FLAG(f)                                                                                                \
    { "cluster-id", FLAG_STRING, &(f).cluster_id, 0, 64, true, "HEX", "32 digits, as the masters are given" }

static int wrong(const struct err *err, const char *usage) {
    fprintf(stderr, "conclave: %s\nusage: %s\n", err->text, usage);
    return EXIT_USAGE;
}

/* 0 and the operands behind *ret_rest; or not 0, with the exit status in *ret_exit. */
static int cert_parse(const struct flag *table, int argc, char **argv, const char *usage, const char *what,
                      int operands, int *ret_rest, int *ret_exit) {
    struct err err = {0};
    *ret_exit = 0;
    if (flags_help_wanted(argc, argv)) {
        printf("usage: %s\n\n%s\n\n", usage, what);
        flags_help(table, stdout);
        return 1;
    }
    int rc = flags_parse(table, argc, argv, ret_rest, &err);
    if (rc == 0 && argc - *ret_rest != operands)
        rc = err_set(&err, ERR_INVALID, operands ? "a file is wanted" : "%.60s: no operands are taken",
                     operands ? "" : argv[*ret_rest]);
    if (rc) *ret_exit = wrong(&err, usage);
    return rc;
}

static int cluster_parse(const char *text, uint8_t ret[16], struct err *err) {
    if (strlen(text) != 32 || strspn(text, "0123456789abcdefABCDEF") != 32)
        return err_set(err, ERR_INVALID, "--cluster-id: wants 32 hexadecimal digits");
    for (int i = 0; i < 16; i++) {
        char two[3] = {text[2 * i], text[2 * i + 1], '\0'};
        ret[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    return 0;
}

static int sign(const struct cert_flags *f, const char *name, const struct tls_identity *identity) {
    struct err err = {0};
    char uri[TLS_URI_MAX];
    const struct tls_cert_request request = {
        .dir = f->dir, .name = name, .days = (unsigned)f->days, .replace = f->replace};
    if (tls_cert_sign(&request, identity, &err)) return fail(&err);
    printf("%s/%s.pem and %s.key: %s, %" PRIu64 " days\n", f->dir, name, name, tls_identity_format(identity, uri),
           f->days);
    return 0;
}

int cert_ca_main(int argc, char **argv) {
    static const char usage[] = "conclave cert ca --dir DIR [FLAGS]";
    struct cert_flags f = {.days = CA_DAYS};
    const struct flag table[] = {CERT_FLAGS(f), {0}};
    struct err err = {0};
    int rest, code;
    if (cert_parse(table, argc, argv, usage, "Makes a CA: DIR/ca.pem for every host, DIR/ca.key to be kept.", 0, &rest,
                   &code))
        return code;
    if (mkdir(f.dir, 0700) && errno != EEXIST) {
        (void)err_sys(&err, errno, "making %s", f.dir);
        return fail(&err);
    }
    const struct tls_cert_request request = {.dir = f.dir, .days = (unsigned)f.days, .replace = f.replace};
    if (tls_cert_ca(&request, &err)) return fail(&err);
    printf("%s/ca.pem and ca.key, %" PRIu64 " days\n", f.dir, f.days);
    return 0;
}

int cert_master_main(int argc, char **argv) {
    static const char usage[] = "conclave cert master --dir DIR --cluster-id HEX --node ID [FLAGS]";
    struct cert_flags f = {.days = LEAF_DAYS};
    const struct flag table[] = {
        CERT_FLAGS(f),
        CLUSTER_FLAG(f),
        {"node", FLAG_U64, &f.node, 1, INT64_MAX, false, "ID", "the master's id among --peers"},
        {0}};
    struct tls_identity identity = {.role = TLS_MASTER};
    struct err err = {0};
    char name[40];
    int rest, code;
    if (cert_parse(table, argc, argv, usage, "Makes DIR/master-ID.pem and .key.", 0, &rest, &code)) return code;
    if (f.node == 0) (void)err_set(&err, ERR_INVALID, "--node is wanted");
    if (err.code || cluster_parse(f.cluster_id, identity.cluster_id, &err)) return wrong(&err, usage);
    identity.node = f.node;
    (void)snprintf(name, sizeof name, "master-%" PRIu64, f.node);
    return sign(&f, name, &identity);
}

int cert_agent_main(int argc, char **argv) {
    static const char usage[] = "conclave cert agent --dir DIR --cluster-id HEX [FLAGS]";
    struct cert_flags f = {.days = LEAF_DAYS, .name = "agent"};
    const struct flag table[] = {
        CERT_FLAGS(f),
        CLUSTER_FLAG(f),
        {"name", FLAG_STRING, &f.name, 0, 200, false, "NAME", "of the files (agent); one a host tells them apart"},
        {0}};
    struct tls_identity identity = {.role = TLS_AGENT};
    struct err err = {0};
    int rest, code;
    if (cert_parse(table, argc, argv, usage, "Makes DIR/NAME.pem and .key.", 0, &rest, &code)) return code;
    if (cluster_parse(f.cluster_id, identity.cluster_id, &err)) return wrong(&err, usage);
    return sign(&f, f.name, &identity);
}

static void show_json(const struct tls_cert_info *info, const char *begins, const char *ends, int64_t left_s) {
    struct buf out;
    struct json_writer w;
    buf_init(&out, 4096);
    json_writer_init(&w, &out);
    json_begin_object(&w);
    json_key(&w, "identity");
    json_string(&w, info->identity[0] ? info->identity : NULL);
    json_key(&w, "ca");
    json_bool(&w, info->ca);
    json_key(&w, "from");
    json_string(&w, begins);
    json_key(&w, "until");
    json_string(&w, ends);
    json_key(&w, "seconds_left");
    json_i64(&w, left_s);
    json_end_object(&w);
    if (json_writer_finish(&w) == 0) printf("%.*s\n", (int)out.len, (const char *)out.data);
    buf_done(&out);
}

int cert_show_main(int argc, char **argv) {
    struct options o = {0};
    const struct flag table[] = {OPTION_FLAGS(o), {0}};
    struct tls_cert_info info;
    struct err err = {0};
    char begins[32], ends[32];
    int rest, code;
    if (options_parse(
            table, &o, argc, argv,
            "conclave cert show FILE [FLAGS]\n\nTells what a certificate is for and when it ends. Exit 1: ended.", 1, 1,
            &rest, &code))
        return code;
    if (tls_cert_info(argv[rest], &info, &err)) return fail(&err);
    int64_t left = info.ends_wall_s - (int64_t)(clock_wall_ms() / 1000);
    if (o.output != OUTPUT_TABLE) {
        show_json(&info, wall_text((uint64_t)info.begins_wall_s * 1000, begins),
                  wall_text((uint64_t)info.ends_wall_s * 1000, ends), left);
        return left < 0 ? 1 : 0;
    }
    printf("identity  %s\n", info.identity[0] ? info.identity : info.ca ? "a CA" : "none: it is not one of ours");
    printf("from      %s\n", wall_text((uint64_t)info.begins_wall_s * 1000, begins));
    printf("until     %s (%s%" PRId64 " days)\n", wall_text((uint64_t)info.ends_wall_s * 1000, ends),
           left < 0 ? "ended, " : "", left / 86400);
    return left < 0 ? 1 : 0;
}

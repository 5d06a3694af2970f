/* SPDX-License-Identifier: Apache-2.0
 * conclave_sim: one seed or a range of seeds; JSON lines on stdout, talk on stderr. Exit 0 green, 1 red, 2 more than 5
 * % of the seeds did too little to count, 64 wrong usage. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim.h"

static const char *const fault_names[] = {"island",    "one-way", "crash",     "loss",
                                          "duplicate", "reorder", "slow-disk", "transfer"};

struct options {
    struct sim_config cfg;
    uint64_t first, last;
    bool range, quiet, trace;
    const char *off, *rev;
};

static int usage(void) {
    fputs("usage: conclave_sim --seed N | --seeds A..B  [--voters 3|5] [--mode a|b|c] [--off LETTERS]\n"
          "                    [--store wal|memory] [--trace] [--quiet] [--rev TEXT]\n"
          "  modes: a islands, b mix (default), c hammer; --off turns corrections of the guard off, e.g. --off ag\n"
          "  --mutant guard-X is the same as --off X; --mutant forget-vote: a crash loses the vote (memory store)\n"
          "  --json is accepted (it is always JSON)\n",
          stderr);
    return 64;
}

static bool parse_range(const char *text, struct options *o) {
    char *end;
    errno = 0;
    o->first = strtoull(text, &end, 10);
    if (end == text || strncmp(end, "..", 2) != 0) return false;
    const char *second = end + 2;
    o->last = strtoull(second, &end, 10);
    o->range = true;
    return errno == 0 && end != second && *end == '\0' && o->first <= o->last;
}

static bool parse_off(const char *text, struct options *o) {
    o->off = text;
    if (strcmp(text, "forget-vote") == 0) {
        o->cfg.forget_vote = true;
        o->cfg.store = SIM_STORE_MEMORY;
        return true;
    }
    if (strncmp(text, "guard-", 6) == 0) o->off = text += 6;
    for (; *text != '\0'; text++) {
        if (*text < 'a' || *text > 'n') return false;
        o->cfg.off |= 1u << (*text - 'a');
    }
    return o->cfg.off != 0;
}

static bool parse_number(const char *text, uint64_t *ret) {
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

static bool parse_mode(const char *text, struct options *o) {
    if (strlen(text) != 1 || *text < 'a' || *text > 'c') return false;
    o->cfg.mode = SIM_ISLANDS + (*text - 'a');
    return true;
}

static bool parse(int argc, char **argv, struct options *o) {
    static const struct option longs[] = {{"seed", 1, 0, 's'},  {"seeds", 1, 0, 'r'}, {"voters", 1, 0, 'v'},
                                          {"mode", 1, 0, 'm'},  {"off", 1, 0, 'o'},   {"mutant", 1, 0, 'o'},
                                          {"store", 1, 0, 'd'}, {"trace", 0, 0, 't'}, {"quiet", 0, 0, 'q'},
                                          {"rev", 1, 0, 'R'},   {"json", 0, 0, 'j'},  {0}};
    int c;
    uint64_t n;
    bool seed = false;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        bool ok = true;
        switch (c) {
        case 's':
            ok = seed = parse_number(optarg, &o->first);
            o->last = o->first;
            break;
        case 'r':
            ok = seed = parse_range(optarg, o);
            break;
        case 'v':
            ok = parse_number(optarg, &n) && n >= 1 && n <= SIM_NODES_MAX;
            if (ok) o->cfg.voters = (unsigned)n;
            break;
        case 'm':
            ok = parse_mode(optarg, o);
            break;
        case 'o':
            ok = parse_off(optarg, o);
            break;
        case 'd':
            ok = strcmp(optarg, "wal") == 0 || strcmp(optarg, "memory") == 0;
            o->cfg.store = strcmp(optarg, "wal") == 0 ? SIM_STORE_WAL : SIM_STORE_MEMORY;
            break;
        case 't':
            o->trace = true;
            break;
        case 'q':
            o->quiet = true;
            break;
        case 'R':
            o->rev = optarg;
            break;
        case 'j':
            break;
        default:
            ok = false;
        }
        if (!ok) return false;
    }
    return seed && optind == argc;
}

static void print_seed(const struct options *o, const struct sim_result *r) {
    printf("{\"seed\": %" PRIu64 ", \"voters\": %u, \"mode\": \"%c\", \"mutant\": ", r->seed, r->voters,
           'a' + (int)o->cfg.mode - SIM_ISLANDS);
    if (o->off != NULL)
        printf("\"%s%s\"", o->cfg.forget_vote ? "" : "guard-", o->off);
    else
        printf("null");
    printf(", \"trace\": \"%016" PRIx64 "\", \"sim_ms\": %" PRIu64 ", \"leaders\": %u, \"acked\": %" PRIu64
           ", \"crashes\": %u, \"valid\": %s, \"red\": %s, \"invariant\": ",
           r->trace, r->sim_ms, r->leaders, r->acked, r->crashes, r->valid ? "true" : "false",
           r->red ? "true" : "false");
    if (r->red)
        printf("\"%s\"", r->invariant);
    else
        printf("null");
    printf(", \"step\": %" PRIu64 ", \"settle_ms\": %" PRIu64 "}\n", r->step, r->settle_ms);
}

struct sum {
    uint64_t reads, seeds, valid, red, sim_ms, faults[8], settle_max;
    struct guard_counters counters;
};

static void add(struct sum *sum, const struct sim_result *r) {
    sum->seeds++;
    sum->reads += r->reads;
    if (r->valid) sum->valid++;
    if (r->red) sum->red++;
    sum->sim_ms += r->sim_ms;
    if (r->settle_ms > sum->settle_max) sum->settle_max = r->settle_ms;
    for (unsigned i = 0; i < 8; i++)
        sum->faults[i] += r->faults[i] ? 1 : 0;
    for (size_t i = 0; i < sizeof sum->counters / sizeof(uint64_t); i++)
        ((uint64_t *)&sum->counters)[i] += ((const uint64_t *)&r->counters)[i];
}

static void print_counters(const struct guard_counters *c) {
    fprintf(stderr,
            "corrections: first %" PRIu64 " held %" PRIu64 " clamped %" PRIu64 " stale %" PRIu64 " ticks %" PRIu64
            " votes %" PRIu64 " withheld %" PRIu64 " requests-held %" PRIu64 " trimmed %" PRIu64 " hinted %" PRIu64
            " trains %" PRIu64 " commits %" PRIu64 " dropped %" PRIu64 "\n",
            c->first_entries, c->results_held, c->results_clamped, c->results_stale, c->ticks_withheld,
            c->votes_refused, c->completions_withheld, c->requests_held, c->requests_trimmed, c->rejections_hinted,
            c->trains, c->commits_clamped, c->held_dropped);
}

static void print_sum(const struct options *o, const struct sum *sum, double seconds) {
    printf("{\"rev\": \"%s\", \"build\": \"" CONCLAVE_VERSION "\", \"range\": \"%" PRIu64 "..%" PRIu64
           "\", \"voters\": %u, \"mode\": \"%c\", \"mutant\": ",
           o->rev, o->first, o->last, o->cfg.voters, 'a' + (int)o->cfg.mode - SIM_ISLANDS);
    if (o->off != NULL)
        printf("\"%s%s\"", o->cfg.forget_vote ? "" : "guard-", o->off);
    else
        printf("null");
    printf(", \"valid\": %" PRIu64 ", \"invalid\": %" PRIu64 ", \"red\": %" PRIu64
           ", \"ratio\": %.4f, \"seconds\": %.1f, \"sim_s\": %" PRIu64 ", \"settle_max_ms\": %" PRIu64
           ", \"faults\": {",
           sum->valid, sum->seeds - sum->valid, sum->red, (double)sum->red / (double)sum->seeds, seconds,
           sum->sim_ms / 1000, sum->settle_max);
    for (unsigned i = 0; i < 8; i++)
        printf("%s\"%s\": %.2f", i == 0 ? "" : ", ", fault_names[i], (double)sum->faults[i] / (double)sum->seeds);
    printf("}, \"reads\": %" PRIu64 "}\n", sum->reads);
    print_counters(&sum->counters);
}

static double seconds_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    struct options o = {.cfg = {.voters = 3, .mode = SIM_MIX, .store = SIM_STORE_WAL}, .rev = "unknown"};
    struct sum sum = {0};
    if (!parse(argc, argv, &o)) return usage();
    if (o.trace) o.cfg.trace = stderr;
    double begin = seconds_now();
    for (uint64_t seed = o.first; seed <= o.last; seed++) {
        struct sim_result r;
        o.cfg.seed = seed;
        sim_seed(&o.cfg, &r);
        add(&sum, &r);
        if (r.red) fprintf(stderr, "seed %" PRIu64 ": %s: %s\n", seed, r.invariant, r.why);
        if (!o.range || (r.red && !o.quiet)) print_seed(&o, &r);
    }
    if (o.range) print_sum(&o, &sum, seconds_now() - begin);
    if (sum.red > 0) return 1;
    return (sum.seeds - sum.valid) * 20 > sum.seeds ? 2 : 0;
}

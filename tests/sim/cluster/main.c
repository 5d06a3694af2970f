/* SPDX-License-Identifier: Apache-2.0
 * conclave_sim: one seed or a range of seeds of one mode; JSON lines on stdout, talk on stderr. Exit 0 green, 1 red, 2
 * more than 5 % of the seeds did too little to count, 64 wrong usage. `./dev sim` is the face of it (tools/dev/sim.py):
 * it runs ranges in pieces and processes, keeps results, shrinks what is red. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mutant.h"
#include "cluster.h"

static const char *const mutant_names[] = {
#define MUTANT_NAME(name, text, bug) text,
    MUTANTS(MUTANT_NAME)
#undef MUTANT_NAME
};
static const char *const mutant_bugs[] = {
#define MUTANT_BUG(name, text, bug) bug,
    MUTANTS(MUTANT_BUG)
#undef MUTANT_BUG
};

struct options {
    struct cluster_config cfg;
    uint64_t first, last;
    bool range, quiet, trace, shrink, stop, list;
    const char *mutant, *rev;
    uint32_t keep[FAULTS_KEPT_MAX];
};

static int usage(void) {
    fputs("usage: conclave_sim --seed N | --seeds A..B | --list-mutants\n"
          "  --voters 3|5    --mode a|b|c (islands, mix, hammer)    --mutant NAME (guard-LETTERS: corrections off)\n"
          "  --keep N,N,..   only these faults happen (\"\": none)    --shrink  fewest faults that keep a seed red\n"
          "  --trace         every event, on stderr                 --stop    at the first red seed\n"
          "  --quiet         no line a red seed                     --rev TEXT    --json (it is always JSON)\n",
          stderr);
    return 64;
}

static bool parse_number(const char *text, char end, uint64_t *ret, const char **rest) {
    char *stop;
    errno = 0;
    *ret = strtoull(text, &stop, 10);
    if (rest != NULL) *rest = stop;
    return errno == 0 && stop != text && *stop == end;
}

static bool parse_range(const char *text, struct options *o) {
    const char *rest;
    o->range = true;
    return parse_number(text, '.', &o->first, &rest) && rest[1] == '.' &&
           parse_number(rest + 2, '\0', &o->last, NULL) && o->first <= o->last;
}

static bool parse_mutant(const char *text, struct options *o) {
    o->mutant = text;
    for (size_t i = 0; i < MUTANT_COUNT; i++)
        if (strcmp(text, mutant_names[i]) == 0) {
            o->cfg.mutants = UINT64_C(1) << i;
            return true;
        }
    if (strncmp(text, "guard-", 6) != 0) return false;
    if (strcmp(text, "guard-all") == 0) {
        o->cfg.off = GUARD_ALL;
        return true;
    }
    for (text += 6; *text != '\0'; text++) {
        if (*text < 'a' || *text > 'q') return false;
        o->cfg.off |= 1u << (*text - 'a');
    }
    return o->cfg.off != 0;
}

static bool parse_keep(const char *text, struct options *o) {
    o->cfg.keep_some = true;
    o->cfg.keep = o->keep;
    while (*text != '\0') {
        char *stop;
        unsigned long n = strtoul(text, &stop, 10);
        if (stop == text || (*stop != ',' && *stop != '\0') || o->cfg.keep_count == FAULTS_KEPT_MAX) return false;
        o->keep[o->cfg.keep_count++] = (uint32_t)n;
        text = *stop == ',' ? stop + 1 : stop;
    }
    return true;
}

static bool parse_one(int c, struct options *o, bool *seed) {
    uint64_t n;
    switch (c) {
    case 's':
        *seed = parse_number(optarg, '\0', &o->first, NULL);
        o->last = o->first;
        return *seed;
    case 'r':
        return *seed = parse_range(optarg, o);
    case 'v':
        if (!parse_number(optarg, '\0', &n, NULL) || n < 2 || n > 5) return false;
        o->cfg.voters = (unsigned)n;
        return true;
    case 'm':
        if (strlen(optarg) != 1 || *optarg < 'a' || *optarg > 'c') return false;
        o->cfg.mode = MODE_ISLANDS + (*optarg - 'a');
        return true;
    case 'o':
        return parse_mutant(optarg, o);
    case 'k':
        return parse_keep(optarg, o);
    case 't':
        return o->trace = true;
    case 'S':
        return o->shrink = true;
    case 'x':
        return o->stop = true;
    case 'q':
        return o->quiet = true;
    case 'l':
        return o->list = true;
    case 'R':
        o->rev = optarg;
        return true;
    default:
        return c == 'j';
    }
}

static bool parse(int argc, char **argv, struct options *o) {
    static const struct option longs[] = {{"seed", 1, 0, 's'},   {"seeds", 1, 0, 'r'},
                                          {"voters", 1, 0, 'v'}, {"mode", 1, 0, 'm'},
                                          {"mutant", 1, 0, 'o'}, {"keep", 1, 0, 'k'},
                                          {"trace", 0, 0, 't'},  {"shrink", 0, 0, 'S'},
                                          {"stop", 0, 0, 'x'},   {"quiet", 0, 0, 'q'},
                                          {"rev", 1, 0, 'R'},    {"list-mutants", 0, 0, 'l'},
                                          {"json", 0, 0, 'j'},   {0}};
    int c;
    bool seed = false;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
        if (!parse_one(c, o, &seed)) return false;
    return (seed || o->list) && optind == argc;
}

static char mode_letter(const struct options *o) {
    return (char)('a' + (int)o->cfg.mode - MODE_ISLANDS);
}

static void print_mutant(const struct options *o) {
    if (o->mutant != NULL)
        printf("\"%s\"", o->mutant);
    else
        printf("null");
}

static void print_text(const char *text) {
    putchar('"');
    for (; *text != '\0'; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            putchar((unsigned char)*text < 0x20 ? '?' : *text);
    putchar('"');
}

static void print_seed(const struct options *o, const struct verdict *v) {
    printf("{\"seed\": %" PRIu64 ", \"voters\": %u, \"mode\": \"%c\", \"mutant\": ", v->seed, v->voters,
           mode_letter(o));
    print_mutant(o);
    printf(", \"trace\": \"%016" PRIx64 "\", \"sim_ms\": %" PRIu64 ", \"leaders\": %u, \"acked\": %" PRIu64
           ", \"crashes\": %u, \"valid\": %s, \"red\": %s, \"invariant\": ",
           v->trace, v->sim_ms, v->leaders, v->acked, v->crashes, v->valid ? "true" : "false",
           v->red ? "true" : "false");
    if (v->red)
        print_text(v->invariant);
    else
        printf("null");
    printf(", \"why\": ");
    print_text(v->why);
    printf(", \"step\": %" PRIu64 ", \"settle_ms\": %" PRIu64 ", \"reads\": %" PRIu64 ", \"fault_count\": %" PRIu32
           ", \"faults\": [",
           v->step, v->settle_ms, v->reads, v->faults);
    bool first = true;
    for (unsigned i = 0; i < STRIKE_COUNT; i++) {
        if (!v->struck[i]) continue;
        printf("%s\"%s\"", first ? "" : ", ", strike_names[i]);
        first = false;
    }
    printf("]}\n");
}

struct sum {
    uint64_t seeds, valid, red, sim_ms, struck[STRIKE_COUNT], settle_max, acked, reads, leaders;
    struct guard_counters counters;
};

static void add(struct sum *sum, const struct verdict *v) {
    sum->seeds++;
    sum->valid += v->valid;
    sum->red += v->red;
    sum->sim_ms += v->sim_ms;
    sum->acked += v->acked;
    sum->reads += v->reads;
    sum->leaders += v->leaders;
    if (v->settle_ms > sum->settle_max) sum->settle_max = v->settle_ms;
    for (unsigned i = 0; i < STRIKE_COUNT; i++)
        sum->struck[i] += v->struck[i];
    for (size_t i = 0; i < sizeof sum->counters / sizeof(uint64_t); i++)
        ((uint64_t *)&sum->counters)[i] += ((const uint64_t *)&v->counters)[i];
}

static void print_counters(const struct guard_counters *c) {
    fprintf(stderr,
            "corrections: first %" PRIu64 " held %" PRIu64 " clamped %" PRIu64 " stale %" PRIu64 " ticks %" PRIu64
            " votes %" PRIu64 " withheld %" PRIu64 " requests-held %" PRIu64 " trimmed %" PRIu64 " hinted %" PRIu64
            " trains %" PRIu64 " commits %" PRIu64 " snapshots %" PRIu64 " dropped %" PRIu64 "\n",
            c->first_entries, c->results_held, c->results_clamped, c->results_stale, c->ticks_withheld,
            c->votes_refused, c->completions_withheld, c->requests_held, c->requests_trimmed, c->rejections_hinted,
            c->trains, c->commits_clamped, c->snapshots_refused, c->held_dropped);
}

static void print_sum(const struct options *o, const struct sum *sum, double seconds) {
    printf("{\"rev\": \"%s\", \"build\": \"" CONCLAVE_VERSION "\", \"range\": \"%" PRIu64 "..%" PRIu64
           "\", \"voters\": %u, \"mode\": \"%c\", \"mutant\": ",
           o->rev, o->first, o->last, o->cfg.voters, mode_letter(o));
    print_mutant(o);
    printf(", \"valid\": %" PRIu64 ", \"invalid\": %" PRIu64 ", \"red\": %" PRIu64
           ", \"ratio\": %.4f, \"seconds\": %.1f, \"sim_s\": %" PRIu64 ", \"acked\": %" PRIu64 ", \"reads\": %" PRIu64
           ", \"leaders\": %" PRIu64 ", \"settle_max_ms\": %" PRIu64 ", \"faults\": {",
           sum->valid, sum->seeds - sum->valid, sum->red, (double)sum->red / (double)sum->seeds, seconds,
           sum->sim_ms / 1000, sum->acked, sum->reads, sum->leaders, sum->settle_max);
    bool first = true;
    for (unsigned i = 0; i < STRIKE_COUNT; i++) {
        if ((strike_modes[i] >> (o->cfg.mode - MODE_ISLANDS) & 1) == 0) continue;
        printf("%s\"%s\": %.4f", first ? "" : ", ", strike_names[i], (double)sum->struck[i] / (double)sum->seeds);
        first = false;
    }
    printf("}}\n");
    if (!o->quiet) print_counters(&sum->counters);
}

/* Prints the shortest schedule and how to run it again. */
static void shrink(const struct options *o, struct verdict *v) {
    static uint32_t keep[FAULTS_KEPT_MAX];
    struct cluster_config cfg = o->cfg;
    fprintf(stderr, "shrinking seed %" PRIu64 " (%" PRIu32 " faults)...\n", v->seed, v->faults);
    unsigned n = seed_shrink(&cfg, keep, v);
    cfg.keep_some = true;
    cfg.keep = keep;
    cfg.keep_count = n;
    cfg.schedule = stderr;
    seed_run(&cfg, v);
    fprintf(stderr, "%s: %s\nagain: ./dev sim --seed %" PRIu64 " --voters %u --mode %c%s%s --keep \"", v->invariant,
            v->why, v->seed, v->voters, mode_letter(o), o->mutant == NULL ? "" : " --mutant ",
            o->mutant == NULL ? "" : o->mutant);
    for (unsigned i = 0; i < n; i++)
        fprintf(stderr, "%s%" PRIu32, i == 0 ? "" : ",", keep[i]);
    fprintf(stderr, "\" --trace\n");
}

static double seconds_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int list_mutants(void) {
    for (size_t i = 0; i < MUTANT_COUNT; i++)
        printf("{\"mutant\": \"%s\", \"bug\": \"%s\"}\n", mutant_names[i], mutant_bugs[i]);
    return 0;
}

int main(int argc, char **argv) {
    static struct options o = {.cfg = {.voters = 3, .mode = MODE_MIX}, .rev = "unknown"};
    struct sum sum = {0};
    if (!parse(argc, argv, &o)) return usage();
    if (o.list) return list_mutants();
    if (o.trace) o.cfg.trace = stderr;
    double begin = seconds_now();
    for (uint64_t seed = o.first; seed <= o.last && !(o.stop && sum.red > 0); seed++) {
        struct verdict v;
        o.cfg.seed = seed;
        seed_run(&o.cfg, &v);
        add(&sum, &v);
        if (v.red && !o.quiet) fprintf(stderr, "seed %" PRIu64 ": %s: %s\n", seed, v.invariant, v.why);
        if (v.red && o.shrink) shrink(&o, &v);
        if (!o.range || (v.red && !o.quiet)) print_seed(&o, &v);
    }
    if (o.range) print_sum(&o, &sum, seconds_now() - begin);
    if (sum.red > 0) return 1;
    return (sum.seeds - sum.valid) * 20 > sum.seeds ? 2 : 0;
}

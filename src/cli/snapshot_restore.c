/* SPDX-License-Identifier: Apache-2.0
 * conclave snapshot restore: the data folders of a new life of the cluster (new_life.h). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/export_file.h"
#include "cli/new_life.h"
#include "cli/print.h"
#include "cli/snapshot_info.h"

#define FOLDERS_MAX ARCHIVE_MEMBERS_MAX

struct restore {
    const char *peers, *cluster_text, *data_dir;
    uint64_t node, incarnation;
    struct archive_member members[ARCHIVE_MEMBERS_MAX];
    unsigned member_count;
    struct {
        uint64_t node;
        const char *dir;
    } folders[FOLDERS_MAX];
    unsigned folder_count;
};

static int folder_add(struct restore *r, uint64_t node, const char *dir, struct err *err) {
    bool member = false;
    for (unsigned i = 0; i < r->member_count; i++)
        member = member || r->members[i].id == node;
    if (!member) return err_set(err, ERR_INVALID, "node %" PRIu64 " is not among --peers", node);
    for (unsigned i = 0; i < r->folder_count; i++)
        if (r->folders[i].node == node) return err_set(err, ERR_INVALID, "node %" PRIu64 " stands twice", node);
    if (r->folder_count == FOLDERS_MAX || !*dir)
        return err_set(err, ERR_INVALID, "too many folders, or one without name");
    r->folders[r->folder_count].node = node;
    r->folders[r->folder_count++].dir = dir;
    return 0;
}

/* "ID=DIR" operands, and --node with --data-dir. */
static int folders_parse(struct restore *r, char *const *operands, int n, struct err *err) {
    int rc = members_parse(r->peers, r->members, &r->member_count, err);
    if (rc == 0 && (r->node != 0) != (r->data_dir != NULL))
        rc = err_set(err, ERR_INVALID, "--node and --data-dir go together");
    if (rc == 0 && r->node) rc = folder_add(r, r->node, r->data_dir, err);
    for (int i = 0; rc == 0 && i < n; i++) {
        char *end = NULL;
        unsigned long long node = *operands[i] >= '0' && *operands[i] <= '9' ? strtoull(operands[i], &end, 10) : 0;
        rc = node && *end == '=' ? folder_add(r, node, end + 1, err)
                                 : err_set(err, ERR_INVALID, "'%.80s' is no ID=DIR", operands[i]);
    }
    if (rc == 0 && r->folder_count == 0)
        rc = err_set(err, ERR_INVALID, "no folder is named: --node ID --data-dir DIR, or ID=DIR...");
    return rc;
}

static void report(const struct options *o, const struct restore *r, const struct life *life) {
    Conclave__Tools__RestoreReport out = CONCLAVE__TOOLS__RESTORE_REPORT__INIT;
    Conclave__Tools__PlanMember members[ARCHIVE_MEMBERS_MAX], *pointers[ARCHIVE_MEMBERS_MAX];
    char *dirs[FOLDERS_MAX];
    out.incarnation = life->incarnation;
    out.index = life->index;
    out.term = life->term;
    out.members = pointers;
    out.dirs = dirs;
    for (unsigned i = 0; i < r->member_count; i++) {
        pointers[i] = &members[i];
        members[i] = (Conclave__Tools__PlanMember)CONCLAVE__TOOLS__PLAN_MEMBER__INIT;
        members[i].id = r->members[i].id;
        members[i].peer = (char *)(uintptr_t)r->members[i].address;
        out.n_members = i + 1;
    }
    for (unsigned i = 0; i < r->folder_count; i++) {
        dirs[i] = (char *)(uintptr_t)r->folders[i].dir;
        out.n_dirs = i + 1;
    }
    if (o->output != OUTPUT_TABLE) {
        print_row(&out.base);
        return;
    }
    printf("incarnation %" PRIu32 " begins behind entry %" PRIu64 ", term %" PRIu64 "\n", life->incarnation,
           life->index, life->term);
    for (unsigned i = 0; i < r->folder_count; i++) {
        printf("  master %" PRIu64 ": ", r->folders[i].node);
        print_plain(r->folders[i].dir);
        (void)putchar('\n');
    }
    printf(
        "Make the folders of the other masters of --peers from the same file with the same flags, then start them all "
        "with this --peers.\n");
}

static int restore(const char *file, struct restore *r, struct life *life, struct err *err) {
    struct archive archive = {0}, begin = {0};
    struct state *state = NULL;
    struct fault fault;
    uint8_t cluster[16], wanted[16];
    uint64_t bytes;
    int rc = snapshot_open(file, cluster, &archive, &state, &bytes, &fault, err);
    if (rc) return rc;
    if (r->cluster_text && (!hex16_parse(r->cluster_text, wanted) || memcmp(wanted, cluster, 16) != 0)) {
        char text[33];
        hex16_text(cluster, text);
        rc = err_set(err, ERR_INVALID, "the file is of cluster %s, not of --cluster-id", text);
    }
    if (rc == 0) rc = life_of(state, archive.index, archive.term, life, err);
    if (rc == 0) rc = life_begin(state, life, r->members, r->member_count, &begin, err);
    for (unsigned i = 0; rc == 0 && i < r->folder_count; i++)
        rc = archive_found(r->folders[i].dir, cluster, r->folders[i].node, &begin, err);
    archive_done(&begin);
    archive_done(&archive);
    state_free(state);
    return rc;
}

int snapshot_restore_main(int argc, char **argv) {
    struct options o = {0};
    struct restore r = {0};
    const struct flag table[] = {
        OPTION_FLAGS(o),
        {"peers", FLAG_STRING, &r.peers, 0, 2000, true, "LIST",
         "the masters of the new life: ID=HOST[:PORT],... (5060)"},
        {"node", FLAG_U64, &r.node, 1, UINT64_MAX - 1, false, "ID", "whose folder to make"},
        {"data-dir", FLAG_STRING, &r.data_dir, 0, 0, false, "DIR", "the folder; it must not exist, or be empty"},
        {"cluster-id", FLAG_STRING, &r.cluster_text, 0, 64, false, "HEX", "refuse a file of another cluster"},
        {"incarnation", FLAG_U64, &r.incarnation, 1, UINT32_MAX, false, "N",
         "number of the new life; default: that of the file + 1"},
        {0}};
    struct err err = {0};
    int rest, code;
    if (options_parse(
            table, &o, argc, argv,
            "conclave snapshot restore FILE --peers LIST {--node ID --data-dir DIR | ID=DIR...} [FLAGS]\n\n"
            "Makes data folders for masters of a new life of the cluster. The masters of before must be gone for "
            "good.\n"
            "Run it on each master's host with the same file, --peers and --incarnation: the folders fit together.\n"
            "A file that is restored a second time, after the first restore has lived, needs a higher --incarnation.",
            1, 1 + FOLDERS_MAX, &rest, &code))
        return code;
    struct life life = {.incarnation = (uint32_t)r.incarnation};
    int rc = folders_parse(&r, argv + rest + 1, argc - rest - 1, &err);
    if (rc == 0) rc = restore(argv[rest], &r, &life, &err);
    if (rc) return fail(&err);
    report(&o, &r, &life);
    return 0;
}

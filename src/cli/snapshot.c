/* SPDX-License-Identifier: Apache-2.0
 * conclave snapshot save|ls|inspect|verify. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/print.h"
#include "cli/replay.h"
#include "cli/snapshot_fetch.h"
#include "cli/snapshot_info.h"
#include "conclave/tools.pb-c.h"

#define STATE_BYTES_MAX ((size_t)1 << 30)
#define CATCH_UP_TRIES  100 /* until the master that answers has applied the position */
#define CATCH_UP_MS     50

static void info_out(const struct options *o, const struct snapshot_info *info) {
    if (o->output == OUTPUT_TABLE)
        snapshot_info_print(info);
    else
        print_row(&info->message.base);
}

/* ---- save ---- */

/* A back-up that lacks what is behind a damage must be wanted; it is what is left when there is no other copy. */
static int damage_accept(const struct log_source *source, bool before_damage, struct err *err) {
    int rc = log_source_damage(source, err);
    if (rc == 0 || !before_damage) return rc;
    if (log_source_range(source)->last == 0) return err_wrap(err, "there is nothing before the damage");
    fprintf(stderr, "conclave: note: what is behind the damage is not in the back-up: %s\n", err->text);
    return 0;
}

/* The position that everything acknowledged so far is at or before: live, the leader's, who has asked a majority. */
static int position_find(const struct options *o, bool before_damage, struct log_source **source, uint64_t *ret,
                         struct err *err) {
    uint64_t node = 0;
    *ret = 0;
    int rc = o->data_dir ? 0 : read_index_fetch(o, ret, &node, err);
    if (rc == 0) rc = log_source_open(o, source, err);
    if (rc == 0) rc = damage_accept(*source, before_damage, err);
    if (rc == 0 && o->data_dir) *ret = log_source_range(*source)->last;
    for (int i = 0; rc == 0 && log_source_range(*source)->last < *ret && !interrupted(); i++) {
        if (i == CATCH_UP_TRIES)
            return err_set(err, ERR_TIMEOUT, "the master that answers has not reached entry %" PRIu64, *ret);
        interrupt_sleep_ms(CATCH_UP_MS);
        rc = log_source_refresh(*source, err);
    }
    return rc;
}

static int save(const struct options *o, bool before_damage, const char *file, struct err *err) {
    struct log_source *source = NULL;
    struct replay replay = {0};
    struct archive archive = {0};
    struct buf bytes;
    struct snapshot_info info;
    uint8_t cluster[16];
    uint64_t position, size = 0;
    buf_init(&bytes, STATE_BYTES_MAX);
    int rc = position_find(o, before_damage, &source, &position, err);
    const struct log_position at = {.index = position, .whole = true};
    if (rc == 0) rc = log_source_cluster_id(source, cluster, err);
    if (rc == 0) rc = replay_at(source, &at, &replay, err);
    if (rc == 0 && state_snapshot(replay.state, &bytes))
        rc = err_set(err, ERR_LIMIT, "the state is too large for a snapshot, or memory is short");
    if (rc == 0) {
        archive = replay.before;
        archive.index = replay.index;
        archive.term = replay.term;
        archive.state = bytes.data;
        archive.state_len = bytes.len;
        rc = archive_file_write(file, cluster, &archive, &size, err);
    }
    if (rc == 0) {
        snapshot_info_make(&info, file, size, cluster, &archive, replay.state);
        info_out(o, &info);
    }
    buf_done(&bytes);
    replay_done(&replay);
    log_source_close(source);
    return rc;
}

int snapshot_save_main(int argc, char **argv) {
    struct options o = {0};
    bool before_damage = false;
    const struct flag table[] = {OPTION_FLAGS(o),
                                 {"data-dir", FLAG_STRING, &o.data_dir, 0, 0, false, "DIR",
                                  "from a data folder: all of its log, committed or not"},
                                 {"before-damage", FLAG_BOOL, &before_damage, 0, 0, false, "",
                                  "of a damaged log what is before the damage; what is behind it is lost"},
                                 {0}};
    struct err err = {0};
    int rest, code;
    if (options_parse(
            table, &o, argc, argv,
            "conclave snapshot save FILE [FLAGS]\n\n"
            "Writes the state of the cluster, as it is after everything acknowledged until now, into a new file.",
            1, 1, &rest, &code))
        return code;
    interrupt_catch();
    int rc = save(&o, before_damage, argv[rest], &err);
    if (interrupted()) return EXIT_INTERRUPTED;
    return rc ? fail(&err) : 0;
}

/* ---- ls ---- */

static void rows_out(const struct options *o, struct archive_row *rows, size_t n) {
    static const char *const columns[] = {"FILE", "ENTRY", "TERM", "BYTES", NULL};
    struct table *table = o->output == OUTPUT_TABLE ? table_new(columns) : NULL;
    struct rows out;
    if (!table) rows_begin(&out, o->output);
    for (size_t i = 0; i < n; i++) {
        char index[24], term[24], bytes[24];
        Conclave__Tools__SnapshotFile file = CONCLAVE__TOOLS__SNAPSHOT_FILE__INIT;
        file.index = rows[i].index;
        file.term = rows[i].term;
        file.bytes = rows[i].bytes;
        file.file = rows[i].name;
        (void)snprintf(index, sizeof index, "%" PRIu64, rows[i].index);
        (void)snprintf(term, sizeof term, "%" PRIu64, rows[i].term);
        (void)snprintf(bytes, sizeof bytes, "%" PRIu64, rows[i].bytes);
        if (table)
            table_row(table, (const char *const[]){rows[i].name, index, term, bytes});
        else
            rows_message(&out, &file.base);
    }
    if (table)
        table_print_free(table);
    else
        rows_end(&out);
}

int snapshot_ls_main(int argc, char **argv) {
    struct options o = {0};
    const struct flag table[] = {
        OPTION_FLAGS(o),
        {"data-dir", FLAG_STRING, &o.data_dir, 0, 0, false, "DIR", "a master's data folder instead of a live master"},
        {0}};
    struct err err = {0};
    struct archive_row rows[ARCHIVE_FOLDER_FILES];
    struct log_source *source = NULL;
    size_t n = 0, master = 0;
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave snapshot ls [FLAGS]", 0, 0, &rest, &code)) return code;
    int rc = log_source_open(&o, &source, &err);
    if (rc == 0) rc = replay_snapshots(source, rows, &n, &master, &err);
    if (rc == 0) {
        if (o.output == OUTPUT_TABLE && log_source_live(source))
            printf("of %s\n", log_source_options(source)->masters[master]);
        rows_out(&o, rows, n);
    }
    log_source_close(source);
    return rc ? fail(&err) : 0;
}

/* ---- inspect, verify ---- */

static void verdict_out(const struct options *o, const char *file, const struct fault *fault, const struct err *err,
                        struct snapshot_info *info) {
    Conclave__Tools__SnapshotVerdict v = CONCLAVE__TOOLS__SNAPSHOT_VERDICT__INIT;
    v.ok = info != NULL;
    v.file = (char *)(uintptr_t)file;
    if (info) {
        info->message.has_ok = 1;
        info->message.ok = 1;
        v.info = &info->message;
    } else {
        v.has_offset = 1;
        v.offset = fault->offset;
        v.text = (char *)(uintptr_t)(fault->kind ? fault->text : err->text);
        v.remedy = (char *)(uintptr_t)(fault->remedy ? fault->remedy : fault_remedy_copy);
    }
    if (o->output != OUTPUT_TABLE) {
        print_row(&v.base);
    } else if (info) {
        snapshot_info_print(info);
        printf("  every checksum, every record, every invariant and the hash are right\n");
    } else {
        print_plain(file);
        printf(": DAMAGED\n  at byte %" PRIu64 ": %s\n    remedy: %s\n", v.offset, v.text, v.remedy);
    }
}

static int inspect(int argc, char **argv, bool verdict, const char *usage) {
    struct options o = {0};
    const struct flag table[] = {OPTION_FLAGS(o), {0}};
    struct err err = {0};
    struct archive archive = {0};
    struct state *state = NULL;
    struct fault fault = {0};
    struct snapshot_info info;
    uint8_t cluster[16];
    uint64_t bytes = 0;
    int rest, code;
    if (options_parse(table, &o, argc, argv, usage, 1, 1, &rest, &code)) return code;
    int rc = snapshot_open(argv[rest], cluster, &archive, &state, &bytes, &fault, &err);
    if (rc == 0) {
        snapshot_info_make(&info, argv[rest], bytes, cluster, &archive, state);
        if (verdict)
            verdict_out(&o, argv[rest], &fault, &err, &info);
        else
            info_out(&o, &info);
        state_free(state);
        archive_done(&archive);
        return 0;
    }
    if (!verdict || (rc != ERR_CORRUPT && rc != ERR_INCOMPATIBLE)) return fail(&err);
    verdict_out(&o, argv[rest], &fault, &err, NULL);
    return EXIT_CORRUPT;
}

int snapshot_inspect_main(int argc, char **argv) {
    return inspect(argc, argv, false, "conclave snapshot inspect FILE [FLAGS]");
}

int snapshot_verify_main(int argc, char **argv) {
    return inspect(argc, argv, true, "conclave snapshot verify FILE [FLAGS]   (exit 4: damaged)");
}

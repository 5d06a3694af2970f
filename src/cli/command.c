/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "scheduler/master.h"

struct command {
    const char *noun, *verb; /* verb NULL: the noun alone */
    int (*run)(int argc, char **argv);
    const char *help;
};

static const struct command commands[] = {
    {"master", NULL, master_main, "run one of the masters"},
    {"agent", "ls", agent_ls_main, "the agents, what they have and what is used"},
    {"agent", NULL, agent_main, "run the agent of this host"},
    {"dev", NULL, dev_main, "a cluster on this machine: up, status, kill, stop, pause, resume, down, clean"},
    {"members", "ls", members_ls_main, "who the masters are, who lags"},
    {"members", "add", members_add_main, "a new master, as a learner; prints how to start it"},
    {"members", "promote", members_promote_main, "a learner becomes a voter"},
    {"members", "demote", members_demote_main, "a voter becomes a learner"},
    {"members", "remove", members_remove_main, "a master leaves for good"},
    {"members", "replace", members_replace_main, "a new master in the place of one that leaves"},
    {"members", "transfer", members_transfer_main, "another master leads"},
    {"run", NULL, run_main, "run one command on the cluster and stream its output"},
    {"status", NULL, status_main, "who leads, who lags, what runs"},
    {"hash", NULL, hash_main, "is every master's state identical at one position"},
    {"cert", "ca", cert_ca_main, "make the CA of a cluster's certificates"},
    {"cert", "master", cert_master_main, "make a master's certificate"},
    {"cert", "agent", cert_agent_main, "make an agent's certificate"},
    {"cert", "show", cert_show_main, "what a certificate is for and when it ends"},
    {"config", "get", config_get_main, "what the cluster is configured to, and where that was changed last"},
    {"config", "set", config_set_main, "change one key of it, or raise the feature level"},
    {"log", "ls", log_ls_main, "the commands in the log: of live masters, a data folder or an export"},
    {"log", "tail", log_tail_main, "the last commands, and with -f those that come"},
    {"log", "grep", log_grep_main, "the commands whose JSON holds a text"},
    {"log", "stat", log_stat_main, "counts, bytes and rates by type and framework"},
    {"log", "export", log_export_main, "entries into a file of JSON lines, lossless"},
    {"log", "show", log_show_main, "one entry or command in full"},
    {"log", "verify", log_verify_main, "check every checksum of a data folder"},
    {"state", "show", state_show_main, "the state at a position of the log, record by record"},
    {"state", "diff", state_diff_main, "what changed between two positions"},
    {"task", "ls", task_ls_main, "the tasks and their states"},
    {"task", "history", task_history_main, "every command that touched a task: who, when, what it changed"},
    {"task", "logs", task_logs_main, "what a task wrote to stdout or stderr"},
    {"snapshot", "save", snapshot_save_main, "back up the cluster into a file"},
    {"snapshot", "ls", snapshot_ls_main, "the snapshots of a data folder or a master"},
    {"snapshot", "inspect", snapshot_inspect_main, "what a snapshot file holds"},
    {"snapshot", "verify", snapshot_verify_main, "decode all of a snapshot file and check every invariant"},
    {"snapshot", "restore", snapshot_restore_main, "make the data folders of a new cluster from a back-up"},
    {"recover", "plan", recover_plan_main, "after the loss of a majority: what the survivors can save"},
    {"recover", "apply", recover_apply_main, "carry out a plan that was reviewed"},
    {"shim", NULL, shim_main, NULL}, /* started by the agent, one a task */
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

/* Of one noun, or of all (NULL). */
static void usage(FILE *out, const char *noun) {
    fprintf(out, "usage: conclave COMMAND [FLAGS]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        char name[40];
        if (!commands[i].help || (noun && strcmp(commands[i].noun, noun) != 0)) continue;
        (void)snprintf(name, sizeof name, "%s %s", commands[i].noun, commands[i].verb ? commands[i].verb : "");
        fprintf(out, "  %-17s %s\n", name, commands[i].help);
    }
    fprintf(out, "\nconclave COMMAND --help tells a command's flags; conclave --version prints the version.\n"
                 "Exit: 0 ok, 1 error, 2 degraded, 3 no quorum, 4 corrupt or diverged, 64 wrong usage.\n");
}

static bool noun_known(const char *noun) {
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (commands[i].help && !strcmp(commands[i].noun, noun)) return true;
    return false;
}

static const struct command *command_find(const char *noun, const char *verb) {
    const struct command *alone = NULL;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].noun, noun)) continue;
        if (commands[i].verb && verb && !strcmp(commands[i].verb, verb)) return &commands[i];
        if (!commands[i].verb) alone = &commands[i];
    }
    return alone;
}

/* What a command has printed must have arrived: half a list with status 0 would pass for the whole. */
static int output_end(int code) {
    bool lost = ferror(stdout) != 0;
    if (fflush(stdout) == 0 && !lost) return code;
    fprintf(stderr, "conclave: the output could not be written%s%s\n", lost ? "" : ": ", lost ? "" : strerror(errno));
    return code ? code : 1;
}

int command_main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--version")) {
        printf("conclave %s\n", CONCLAVE_VERSION);
        return 0;
    }
    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))) {
        usage(stdout, NULL);
        return output_end(0);
    }
    bool known = argc > 1 && noun_known(argv[1]);
    const struct command *command = argc > 1 ? command_find(argv[1], argc > 2 ? argv[2] : NULL) : NULL;
    if (command) {
        int skip = command->verb ? 2 : 1;
        return output_end(command->run(argc - skip, argv + skip));
    }
    if (known && argc > 2 && (!strcmp(argv[2], "--help") || !strcmp(argv[2], "-h"))) {
        usage(stdout, argv[1]);
        return 0;
    }
    if (known && argc == 2)
        fprintf(stderr, "conclave: %.60s: which of these?\n", argv[1]);
    else if (argc > 1)
        fprintf(stderr, "conclave: no such command: %.60s%s%.60s\n", argv[1], argc > 2 ? " " : "",
                argc > 2 ? argv[2] : "");
    usage(stderr, known ? argv[1] : NULL);
    return 64;
}

/* SPDX-License-Identifier: Apache-2.0
 * The command table: every noun and verb of the binary is one row of command.c. To add a command, write its function in
 * a file of its own and add a row. */
#ifndef CONCLAVE_CLI_COMMAND_H
#define CONCLAVE_CLI_COMMAND_H

/* Finds the command that argv names, runs it and returns its exit status:
 * 0 ok, 1 error, 2 degraded, 3 no quorum, 4 corrupt, incompatible or DIVERGED, 64 wrong usage. */
int command_main(int argc, char **argv);

/* Each takes its own name as argv[0] and returns an exit status. */
int status_main(int argc, char **argv);
int hash_main(int argc, char **argv);
int cert_ca_main(int argc, char **argv);
int cert_master_main(int argc, char **argv);
int cert_agent_main(int argc, char **argv);
int cert_show_main(int argc, char **argv);
int config_get_main(int argc, char **argv);
int config_set_main(int argc, char **argv);
int log_ls_main(int argc, char **argv);
int log_show_main(int argc, char **argv);
int log_verify_main(int argc, char **argv);
int log_tail_main(int argc, char **argv);
int log_grep_main(int argc, char **argv);
int log_stat_main(int argc, char **argv);
int log_export_main(int argc, char **argv);
int state_show_main(int argc, char **argv);
int state_diff_main(int argc, char **argv);
int task_history_main(int argc, char **argv);
int snapshot_save_main(int argc, char **argv);
int snapshot_ls_main(int argc, char **argv);
int snapshot_inspect_main(int argc, char **argv);
int snapshot_verify_main(int argc, char **argv);
int snapshot_restore_main(int argc, char **argv);
int recover_plan_main(int argc, char **argv);
int recover_apply_main(int argc, char **argv);
int members_ls_main(int argc, char **argv);
int members_add_main(int argc, char **argv);
int members_promote_main(int argc, char **argv);
int members_demote_main(int argc, char **argv);
int members_remove_main(int argc, char **argv);
int members_replace_main(int argc, char **argv);
int members_transfer_main(int argc, char **argv);
int task_ls_main(int argc, char **argv);
int task_logs_main(int argc, char **argv);
int agent_ls_main(int argc, char **argv);
int run_main(int argc, char **argv);
int dev_main(int argc, char **argv);

#endif

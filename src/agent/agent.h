/* SPDX-License-Identifier: Apache-2.0
 * The agent: runs the tasks of one host. It finds the leader by itself, takes orders only from it, keeps what it owes
 * on its own disk, and never ends a task because masters are away, because it is restarted or because it crashes.
 *
 *   LAUNCH --> store (launch on disk, start noted in the journal) --> shim (a process of its own) --> the task
 *                                                                        |
 *   REPORT <-- updates (kept until ACK) <-- workload (state machine) <---+ started, exit record
 *
 * Pure: workload, updates, supervisor, fence, spec. Shells: store, runner, master_link, cgroup, shim, files, api.
 * See architecture section 7. */
#ifndef CONCLAVE_AGENT_AGENT_H
#define CONCLAVE_AGENT_AGENT_H

/* Entries of the command table; argv[0] is the command's name. They return the exit status of the process: 0 ok, 1
 * error, 4 refused for good or damaged files, 64 wrong usage. A wrong flag changes nothing. */
int agent_main(int argc, char **argv);
/* `shim --dir D`: runs the one task whose folder is D, then exits. See shim.h. */
int shim_main(int argc, char **argv);

#endif

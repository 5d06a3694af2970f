/* SPDX-License-Identifier: Apache-2.0
 * The shim: one tiny process for one task, in a session of its own, that outlives its agent. It owns the task's control
 * group, makes the start marker just before the command is exec'd, waits, and leaves an exit record on disk.
 *
 * Its folder D (made by the agent, store.h) holds:
 *   lock     held (fcntl) as long as the shim lives; who holds it is the shim, so its process id needs no file
 *   spec     what to run (spec.h); a folder without it was taken back, and nothing is started
 *   started  made by the shim with O_EXCL before the command may exec: "PID MONOTONIC_MS"; never made twice
 *   up       made when the command was exec'd; empty
 *   exit     the exit record (spec.h), renamed into place when nothing of the task runs any more
 *   sandbox/ the command's working directory, with its stdout and stderr
 *
 * Two guards make a second start impossible: the lock (a second shim at the same time exits), and the marker (a later
 * shim finds it and exits). The marker is not fsynced: against the agent's or the shim's death it needs no disk, and
 * after a reboot the agent's journal, synced before the shim was spawned, says that this launch may have started.
 *
 * Told by signal, which needs no connection and so survives the agent:
 *   SIGTERM  pass SIGTERM to every process of the task
 *   SIGUSR1  pass SIGKILL to every process of the task
 * File descriptor 3, if open, gets "up\n" when the command was exec'd, and is closed then. */
#ifndef CONCLAVE_AGENT_SHIM_H
#define CONCLAVE_AGENT_SHIM_H

#define SHIM_FD_NOTICE 3
#define SHIM_TERMINATE SIGTERM
#define SHIM_FORCE     SIGUSR1

enum shim_status {
    SHIM_DONE = 0,    /* an exit record was written */
    SHIM_FAILED = 1,  /* not even that could be done */
    SHIM_NOT_MINE = 3 /* another shim has it, it was started before, or the folder was taken back */
};

/* See agent.h; the shim's own small program (shim_program.c) has nothing but this. */
int shim_main(int argc, char **argv);

#endif

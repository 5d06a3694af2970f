/* SPDX-License-Identifier: Apache-2.0
 * Planted bugs, for the simulator to find (./dev sim --mutants). Each is one bit, in the libraries that are built for
 * tests only; everywhere else MUTANT is a constant and nothing of this is left (./dev lint looks for mutant_test_*).
 *
 * A mutant is worth its lines when the bug is one that somebody could write. docs/TESTING.md says which invariant
 * finds which. */
#ifndef CONCLAVE_BASE_MUTANT_H
#define CONCLAVE_BASE_MUTANT_H

#include <stdint.h>

/* X(NAME, "name on the command line", "the bug") */
#define MUTANTS(X)                                                                                                     \
    X(VOTE_UNSYNCED, "vote-unsynced", "the vote file is written but not made durable")                                 \
    X(VOTE_FORGOTTEN, "vote-forgotten", "a start reads the term and forgets the vote")                                 \
    X(LOG_UNSYNCED, "log-unsynced", "groups of the log are written but not made durable")                              \
    X(CRC_OFF, "crc-off", "the checksum of a group is not looked at")                                                  \
    X(TRUNCATE_IGNORED, "truncate-ignored", "a start does not obey TRUNCATE records")                                  \
    X(SUFFIX_KEPT, "suffix-kept", "a conflicting suffix is cut in memory, not on disk")                                \
    X(RESET_SKIPPED, "install-without-reset", "an installed snapshot leaves the old log in place")                     \
    X(SNAPSHOT_EARLY, "snapshot-drops-last", "a snapshot lacks what is committed and not applied yet")                 \
    X(RESTORE_SKIPPED, "restore-skipped", "an installed snapshot does not reach the state")                            \
    X(BATCH_HALF, "batch-half", "a batch that is interrupted by the end of a slice is not finished")                   \
    X(EARLY_COMPLETION, "early-completion", "the leader counts its own entries before they are durable")               \
    X(COMMIT_UNCLAMPED, "commit-unclamped", "a follower commits more than the request verified")                       \
    X(LEARNER_COMMITS, "learner-commits", "a learner's answer counts as a voter's")                                    \
    X(LEARNER_VOTES, "learner-votes", "learners are asked for votes, and theirs count")                                \
    X(READ_UNAPPLIED, "read-unapplied", "a read is answered before its index is applied")                              \
    X(BAR_IGNORED, "bar-ignored", "a reinstalled node votes and stands at once")                                       \
    X(FOLDER_IGNORED, "folder-ignored", "a member is believed whatever folder it comes with")                          \
    X(CLOCK_IN_APPLY, "clock-in-apply", "apply looks at the machine's clock")                                          \
    X(USED_KEPT, "resources-kept", "a framework's share is not reduced when a task ends")

enum mutant {
#define MUTANT_ENUM(name, text, bug) MUTANT_##name,
    MUTANTS(MUTANT_ENUM)
#undef MUTANT_ENUM
        MUTANT_COUNT
};

#ifdef CONCLAVE_TEST_SWITCHES
extern uint64_t mutant_test_bits;      /* 1 << enum mutant */
extern unsigned mutant_test_guard_off; /* corrections that every new guard has switched off, see guard.h */
uint64_t mutant_test_clock(void);      /* milliseconds */
#define MUTANT(name)   ((mutant_test_bits >> MUTANT_##name & 1) != 0)
#define MUTANT_CLOCK() mutant_test_clock()
#else
#define MUTANT(name)   0
#define MUTANT_CLOCK() 0
#endif

#endif

/* SPDX-License-Identifier: Apache-2.0
 * Offers: what is free on the agents that have said hello in this term, lent to frameworks for a while.
 *
 * Soft: everything here belongs to the leader's term and dies with it. Invariant: on each agent, used (state) + offered
 * (here) <= total, because only what is neither used nor offered is given out, and what an ACCEPT is about to use stays
 * reserved until its command is applied (P2, I-09, I-11: an offer is used at most once).
 * allocator.c decides who gets what; this file keeps the books. */
#ifndef CONCLAVE_SCHEDULER_OFFERS_H
#define CONCLAVE_SCHEDULER_OFFERS_H

#include "scheduler/master.h"

#define OFFERS_MAX         20000  /* outstanding, whole cluster */
#define OFFERS_FILTERS_MAX 500000 /* filters at once; a refusal beyond them is not remembered */

struct offer {
    uint64_t number; /* of "<master id>-O<number>" */
    uint32_t framework, role, agent;
    bool accepting; /* an ACCEPT that uses it is in the log; it cannot be used again */
    struct resources resources;
};

int offers_new(struct master *m, struct offers **ret);
/* No round from here on; the loop must run once more before offers_free. */
void offers_close(struct offers *o);
void offers_free(struct offers *o);
/* Forgets everything: a new term. */
void offers_reset(struct offers *o);

/* Something was freed, returned or subscribed: allocation runs at the end of this loop turn. */
void offers_wake(struct offers *o);
/* The periodic round, which also drops filters that ran out. */
void offers_tick(struct offers *o, uint64_t now_ms);

/* The outstanding offer with this id ("<master id>-O<n>") of this framework, or NULL. */
struct offer *offers_find(struct offers *o, const char *id, uint32_t framework);
/* Gives one offer back; refuse_ms > 0 keeps the agent from the framework's role for that long. */
void offers_return(struct offers *o, struct offer *offer, uint64_t refuse_ms);
/* Marks it used by an ACCEPT under way: nobody finds it, it stays reserved. */
void offers_accept(struct offers *o, struct offer *offer);
/* That ACCEPT is applied: the offer is gone (a term may have ended in between: then there is nothing to do). */
void offers_settle(struct offers *o, uint64_t number);
/* Keeps the agent from the framework's role for refuse_ms, unless more than `refused` is free on it. */
void offers_refuse(struct offers *o, uint32_t framework, uint32_t role, uint32_t agent, const struct resources *refused,
                   uint64_t refuse_ms);

/* The framework's stream ended, or it was removed: its offers come back silently. */
void offers_drop_framework(struct offers *o, uint32_t framework);
/* Suppression, revival: filters of the framework's roles in `roles` (bits) are forgotten. */
void offers_revive(struct offers *o, uint32_t framework, uint32_t roles);
/* The agent's link ended or it changed: its offers are rescinded (the frameworks are told). */
void offers_drop_agent(struct offers *o, uint32_t agent);

uint64_t offers_outstanding(const struct offers *o);
/* Sum of what is offered of one agent, or to one framework, now. The result is owned by the caller (resources_done). */
int offers_of_agent(const struct offers *o, uint32_t agent, struct resources *ret);
int offers_of_framework(const struct offers *o, uint32_t framework, struct resources *ret);
/* Wall milliseconds from `current` to the first offer of this term; -1 none yet. */
int64_t offers_first_ms(const struct offers *o);

#endif

// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"conclave/jepsen/edn"
	"conclave/jepsen/nemesis"
)

// recoverLimit is how long the harness waits for the cluster after a fault; the checker is stricter (check.recoverMax).
const recoverLimit = 30 * time.Second

// recovered waits after a fault was undone until nothing is missing: every master answers and has applied what was
// committed then, one leads, its agents are back, and a framework's call that was sent after the fault is committed. The
// time that took goes to the history.
func (t *test) recovered(ctx context.Context, number int, p nemesis.Period) error {
	began := time.Now()
	t.recorder.Event("run", "healed", edn.Map{"family": p.Family, "kind": p.Kind, "period": number})
	target, missing := int64(0), "anything"
	for time.Since(began) < recoverLimit && ctx.Err() == nil {
		if missing = t.missing(began, &target); missing == "" {
			t.recorder.Event("run", "recovered", edn.Map{"period": number, "ms": time.Since(began).Milliseconds()})
			return nil
		}
		sleep(ctx, 10*time.Millisecond)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.recorder.Event("run", "not-recovered", edn.Map{"period": number, "ms": recoverLimit.Milliseconds(), "missing": missing})
	return fmt.Errorf("%s %s, period %d: after %v there is still missing: %s", p.Family, p.Kind, number, recoverLimit, missing)
}

// missing says what is not back; target is the commit index that all have to apply, set by the first leader seen.
func (t *test) missing(since time.Time, target *int64) string {
	c := t.cluster
	id, s := c.leading()
	if id == 0 || s.at.Before(since) {
		return "a leader"
	}
	if *target == 0 {
		*target = s.Commit
	}
	if s.AgentsBack < len(c.agents) {
		return fmt.Sprintf("%d of %d agents", len(c.agents)-s.AgentsBack, len(c.agents))
	}
	var behind []string
	members := c.Members()
	c.mu.Lock()
	for _, id := range members {
		if have := c.seen[id]; have.at.Before(since) || have.Applied < *target {
			behind = append(behind, fmt.Sprintf("m%d", id))
		}
	}
	c.mu.Unlock()
	if len(behind) > 0 {
		return strings.Join(behind, ", ")
	}
	for _, f := range t.frameworks {
		if f.CommittedSince(since) {
			return ""
		}
	}
	return "a committed call"
}

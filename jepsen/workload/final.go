// SPDX-License-Identifier: Apache-2.0
package workload

import (
	"context"
	"sort"
	"time"

	"conclave/jepsen/edn"
	"conclave/jepsen/history"
)

// StopLaunching declines offers from here on.
func (f *Framework) StopLaunching() {
	f.mu.Lock()
	f.closing = true
	f.mu.Unlock()
}

// Live is the number of tasks that are not over.
func (f *Framework) Live() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.live()
}

// Heard counts the tasks that were told to be in the state.
func (f *Framework) Heard(state string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, t := range f.tasks {
		if t.State == state {
			n++
		}
	}
	return n
}

// Drain waits until no task is left, at most the limit.
func (f *Framework) Drain(ctx context.Context, limit time.Duration) {
	for deadline := time.Now().Add(limit); f.Live() > 0 && time.Now().Before(deadline) && ctx.Err() == nil; {
		pause(ctx, 50*time.Millisecond)
	}
}

func (f *Framework) unanswered() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ids []string
	for id, t := range f.tasks {
		if t.pending() && !f.answered[id] {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	return ids
}

// FinalRead asks for every task that is not over until each was answered, at most the limit. What is left stays without a
// :task-state in the history, and the checker says so.
func (f *Framework) FinalRead(ctx context.Context, limit time.Duration) {
	f.mu.Lock()
	f.final = true
	f.mu.Unlock()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline) && ctx.Err() == nil; {
		ids := f.unanswered()
		if len(ids) == 0 {
			return
		}
		f.reconcile(ctx, ids)
		pause(ctx, 300*time.Millisecond)
	}
}

// KillAll kills what is left, asking again while a call did not get through, and waits for the ends.
func (f *Framework) KillAll(ctx context.Context, limit time.Duration) {
	asked := map[string]bool{}
	for deadline := time.Now().Add(limit); f.Live() > 0 && time.Now().Before(deadline) && ctx.Err() == nil; {
		f.mu.Lock()
		var ids []string
		for id, t := range f.tasks {
			if t.pending() && !asked[id] {
				ids = append(ids, id)
			}
		}
		f.mu.Unlock()
		sort.Strings(ids)
		for _, id := range ids {
			out := f.call(ctx, "kill", edn.Map{"task": id}, object{"type": "KILL", "kill": object{"task_id": value(id)}})
			asked[id] = out.Kind == history.OK
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// Teardown ends the framework.
func (f *Framework) Teardown(ctx context.Context) {
	f.call(ctx, "teardown", edn.Map{}, object{"type": "TEARDOWN"})
}

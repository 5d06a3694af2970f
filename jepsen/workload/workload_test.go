// SPDX-License-Identifier: Apache-2.0
package workload

import (
	"context"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"conclave/jepsen/check"
	"conclave/jepsen/edn"
	"conclave/jepsen/history"
	"conclave/jepsen/mesos"
)

// play runs both workloads against the fake through two changes of leader, and judges what was recorded.
func play(t *testing.T, fault string) (check.Counts, []check.Violation) {
	t.Helper()
	dir := t.TempDir()
	master := newFake(t, dir, fault)
	recorder, err := history.NewRecorder(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(master)
	client := mesos.NewClient((&net.Dialer{}).DialContext, time.Second)
	ctx, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	master.wg.Add(1)
	go master.offering(done)
	var all sync.WaitGroup
	var frameworks []*Framework
	for i, policy := range []Policy{&Loop{Rate: 60, LiveMax: 100}, &Long{First: 5, Every: time.Second}} {
		f := New(Options{Name: "w" + string(rune('1'+i)), Policy: policy, Masters: []string{strings.TrimPrefix(server.URL, "http://")},
			Calls: client, Streams: client, Recorder: recorder, Seed: int64(i), Script: "task.sh"})
		frameworks = append(frameworks, f)
		all.Add(1)
		go func() {
			defer all.Done()
			f.Run(ctx)
		}()
	}
	for i := 0; i < 2; i++ {
		time.Sleep(500 * time.Millisecond)
		master.failover()
	}
	time.Sleep(500 * time.Millisecond)
	for _, f := range frameworks {
		f.StopLaunching()
	}
	frameworks[0].Drain(ctx, 3*time.Second)
	recorder.Event("run", "final", edn.Map{})
	for _, f := range frameworks {
		f.FinalRead(ctx, time.Second)
	}
	for _, id := range master.running() {
		recorder.Event("final", "task-alive", edn.Map{"task": id, "agent": "a1", "pid": 7, "alive": true})
	}
	for _, f := range frameworks {
		f.KillAll(ctx, time.Second)
		f.Teardown(ctx)
	}
	end()
	all.Wait()
	close(done)
	master.wg.Wait()
	server.CloseClientConnections()
	server.Close()
	if err := recorder.Close(); err != nil {
		t.Fatal(err)
	}
	run, err := check.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return run.Count(), run.Check()
}

func TestAHonestMasterPassesThroughTwoFailovers(t *testing.T) {
	counts, violations := play(t, "")
	if len(violations) > 0 {
		t.Fatalf("%+v", violations)
	}
	if counts.Leaders != 3 || counts.Started < 40 || counts.OK < 100 {
		t.Fatalf("%+v", counts)
	}
}

func TestEachPlantedFaultIsFound(t *testing.T) {
	for fault, id := range map[string]string{
		"loses tasks": "I-07", "starts twice": "I-08", "deposed offers": "I-12", "kills tasks": "I-17",
	} {
		fault, id := fault, id
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			_, violations := play(t, fault)
			for _, v := range violations {
				if v.ID == id {
					return
				}
			}
			t.Fatalf("%s was not found: %+v", id, violations)
		})
	}
}

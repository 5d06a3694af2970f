// SPDX-License-Identifier: Apache-2.0
package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"conclave/jepsen/check"
	"conclave/jepsen/history"
	"conclave/jepsen/mesos"
)

// register is a master with the configuration record; fault plants a lie.
type register struct {
	mu            sync.Mutex
	fault         string
	value, before int64
	index, calls  int64
}

func (r *register) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	lie := r.calls%7 == 0
	if q.Method == http.MethodGet {
		value := r.value
		if r.fault == "stale reads" && lie {
			value = r.before
		}
		fmt.Fprintf(w, `{%q:%d,"changed":"%d.0","applied":%d}`, registerKey, value, r.index, r.index)
		return
	}
	var body map[string]int64
	if err := json.NewDecoder(q.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	want := q.URL.Query().Get("if")
	if want != "" && want != fmt.Sprintf("%d.0", r.index) && !(r.fault == "swaps blindly" && lie) {
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	}
	if r.calls%11 == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return // "outcome is unknown", and nothing happened
	}
	r.index++
	if !(r.fault == "loses writes" && lie) {
		r.before, r.value = r.value, body[registerKey]
	}
	fmt.Fprintf(w, `{"applied":%d,"changed":"%d.0"}`, r.index, r.index)
}

func playRegister(t *testing.T, fault string) []check.Violation {
	t.Helper()
	dir := t.TempDir()
	recorder, err := history.NewRecorder(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&register{fault: fault, value: RegisterFirst, before: RegisterFirst, index: 1})
	defer server.Close()
	ctx, end := context.WithTimeout(context.Background(), 700*time.Millisecond)
	defer end()
	next := &atomic.Int64{}
	next.Store(RegisterFirst)
	var all sync.WaitGroup
	for i := 0; i < 4; i++ {
		c := &RegisterClient{Masters: []string{strings.TrimPrefix(server.URL, "http://")}, Pinned: i%2 - 1,
			Client: mesos.NewClient((&net.Dialer{}).DialContext, time.Second), Recorder: recorder, Seed: int64(i),
			Pause: 10 * time.Millisecond, Next: next}
		all.Add(1)
		go func() {
			defer all.Done()
			c.Run(ctx)
		}()
	}
	all.Wait()
	if err := recorder.Close(); err != nil {
		t.Fatal(err)
	}
	run, err := check.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if n := run.Count(); n.OK < 50 {
		t.Fatalf("%+v", n)
	}
	return run.Check()
}

func TestAnHonestRegisterIsLinearizable(t *testing.T) {
	if v := playRegister(t, ""); len(v) > 0 {
		t.Fatalf("%+v", v)
	}
}

func TestALyingRegisterIsFound(t *testing.T) {
	for _, fault := range []string{"stale reads", "loses writes", "swaps blindly"} {
		v := playRegister(t, fault)
		if len(v) == 0 || v[0].ID != "I-20" {
			t.Errorf("%s: %+v", fault, v)
		}
	}
}

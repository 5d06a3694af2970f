// SPDX-License-Identifier: Apache-2.0
package workload

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a master and its one agent: it "runs" tasks by writing their ledger. Its faults are switched on by name.
type fake struct {
	t      *testing.T
	dir    string
	fault  string
	begun  time.Time
	mu     sync.Mutex
	term   int
	serial int
	ids    map[string]string      // framework id by name
	out    map[string]chan []byte // stream by framework id
	offers map[string]string      // offer id to framework id
	tasks  map[string]string      // state by task id
	owner  map[string]string      // framework id by task id
	wg     sync.WaitGroup
}

func newFake(t *testing.T, dir, fault string) *fake {
	if err := os.MkdirAll(filepath.Join(dir, "ledger"), 0o755); err != nil {
		t.Fatal(err)
	}
	return &fake{t: t, dir: dir, fault: fault, begun: time.Now(), term: 1, ids: map[string]string{}, out: map[string]chan []byte{},
		offers: map[string]string{}, tasks: map[string]string{}, owner: map[string]string{}}
}

// ledger appends a line, as the task's program does.
func (f *fake) ledger(words ...any) {
	file, err := os.OpenFile(filepath.Join(f.dir, "ledger", "a1"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		f.t.Error(err)
		return
	}
	defer file.Close()
	fmt.Fprintln(file, words...)
}

// failover makes a new leader: streams end, offers are void, tasks stay.
func (f *fake) failover() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.term++
	for id, out := range f.out {
		close(out)
		delete(f.out, id)
	}
	if f.fault != "deposed offers" {
		f.offers = map[string]string{}
	}
	if f.fault == "kills tasks" {
		for id, state := range f.tasks {
			if state == "TASK_RUNNING" {
				f.tasks[id] = "TASK_KILLED"
				f.ledger("end", id, 1, "a1", 7, time.Now().UnixNano(), "TERM")
			}
		}
	}
}

// send queues an event for a framework; the lock is held.
func (f *fake) send(framework string, event object) {
	data, err := json.Marshal(event)
	if err != nil {
		f.t.Error(err)
	}
	if out := f.out[framework]; out != nil {
		select {
		case out <- data:
		default:
			f.t.Error("a stream is full")
		}
	}
}

func (f *fake) status(task, state, reason, uuid string) {
	f.send(f.owner[task], object{"type": "UPDATE", "update": object{"status": object{"task_id": value(task),
		"agent_id": value("S1"), "state": state, "reason": reason, "source": "SOURCE_MASTER", "uuid": uuid}}})
}

// offering gives every connected framework a new offer from time to time, until the test is over.
func (f *fake) offering(done chan struct{}) {
	defer f.wg.Done()
	for {
		select {
		case <-done:
			return
		case <-time.After(20 * time.Millisecond):
		}
		f.mu.Lock()
		for framework := range f.out {
			f.serial++
			id := fmt.Sprintf("c-1-%d-O%d", f.term, f.serial)
			f.offers[id] = framework
			f.send(framework, object{"type": "OFFERS", "offers": object{"offers": []object{{"id": value(id), "agent_id": value("S1"),
				"hostname": "a1", "resources": []object{scalar("cpus", 2), scalar("mem", 2048)}}}}})
		}
		f.mu.Unlock()
	}
}

type taskID struct {
	TaskID struct{ Value string } `json:"task_id"`
}

type call struct {
	Type        string                 `json:"type"`
	FrameworkID struct{ Value string } `json:"framework_id"`
	Subscribe   struct {
		Info struct{ Name string } `json:"framework_info"`
	} `json:"subscribe"`
	Accept struct {
		OfferIDs   []struct{ Value string } `json:"offer_ids"`
		Operations []struct {
			Launch struct {
				Infos []struct {
					taskID
					Command struct{ Value string } `json:"command"`
				} `json:"task_infos"`
			} `json:"launch"`
		} `json:"operations"`
	} `json:"accept"`
	Reconcile struct{ Tasks []taskID } `json:"reconcile"`
	Kill      taskID                   `json:"kill"`
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c call
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		f.t.Error(err)
	}
	if c.Type == "SUBSCRIBE" {
		f.subscribe(w, r, &c)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.out[c.FrameworkID.Value] == nil {
		w.WriteHeader(403)
		return
	}
	switch c.Type {
	case "ACCEPT":
		f.accept(&c)
	case "RECONCILE":
		for _, t := range c.Reconcile.Tasks {
			if state := f.tasks[t.TaskID.Value]; state != "" {
				f.status(t.TaskID.Value, state, "REASON_RECONCILIATION", "")
			}
		}
	case "KILL":
		id := c.Kill.TaskID.Value
		f.tasks[id] = "TASK_KILLED"
		f.ledger("end", id, 1, "a1", 7, time.Now().UnixNano(), "TERM")
		f.status(id, "TASK_KILLED", "", "dQ==")
	}
	w.WriteHeader(202)
}

func (f *fake) subscribe(w http.ResponseWriter, r *http.Request, c *call) {
	f.mu.Lock()
	id := f.ids[c.Subscribe.Info.Name]
	if id == "" {
		id = "c-1-F" + c.Subscribe.Info.Name
		f.ids[c.Subscribe.Info.Name] = id
	}
	out := make(chan []byte, 10000)
	f.out[id] = out
	f.send(id, object{"type": "SUBSCRIBED", "subscribed": object{"framework_id": value(id),
		"master_info": object{"id": fmt.Sprintf("c-1-%d", f.term)}}})
	f.mu.Unlock()
	w.Header().Set("Mesos-Stream-Id", "s")
	for {
		select {
		case data, open := <-out:
			if !open {
				return
			}
			fmt.Fprintf(w, "%d\n%s", len(data), data)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func (f *fake) accept(c *call) {
	valid := f.offers[c.Accept.OfferIDs[0].Value] == c.FrameworkID.Value
	delete(f.offers, c.Accept.OfferIDs[0].Value)
	for _, t := range c.Accept.Operations[0].Launch.Infos {
		id := t.TaskID.Value
		f.serial++
		f.owner[id] = c.FrameworkID.Value
		if !valid {
			f.status(id, "TASK_LOST", "REASON_INVALID_OFFERS", "")
			continue
		}
		if f.fault == "loses tasks" && f.serial%5 == 0 {
			continue
		}
		f.tasks[id] = "TASK_RUNNING"
		f.ledger("start", id, 1, "a1", 7, time.Now().UnixNano())
		if f.fault == "starts twice" && f.serial%5 == 0 {
			f.ledger("start", id, 1, "a1", 8, time.Now().UnixNano())
		}
		f.status(id, "TASK_RUNNING", "", "dQ==")
		words := strings.Fields(t.Command.Value)
		var seconds float64
		if _, err := fmt.Sscan(words[len(words)-1], &seconds); err != nil {
			f.t.Error(err)
		}
		time.AfterFunc(time.Duration(seconds*float64(time.Second)), func() { f.finish(id) })
	}
}

func (f *fake) finish(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tasks[id] != "TASK_RUNNING" {
		return
	}
	f.tasks[id] = "TASK_FINISHED"
	f.ledger("end", id, 1, "a1", 7, time.Now().UnixNano(), "done")
	f.status(id, "TASK_FINISHED", "", "dQ==")
}

// running are the tasks whose process would be there.
func (f *fake) running() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for id, state := range f.tasks {
		if state == "TASK_RUNNING" {
			out = append(out, id)
		}
	}
	return out
}

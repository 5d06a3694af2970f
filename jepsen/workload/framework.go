// SPDX-License-Identifier: Apache-2.0

// Package workload drives frameworks: a loop that subscribes, answers offers, acknowledges, reconciles, and records each
// call and each event. A call is sent once: what it did when no answer came is for the checkers to find out. Policies
// (W-01, W-02) decide what is launched.
package workload

import (
	"context"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"time"

	"conclave/jepsen/edn"
	"conclave/jepsen/history"
	"conclave/jepsen/mesos"
)

const (
	inFlightMax  = 64
	streamQuiet  = 15 * time.Second // three heartbeats
	taskCpus     = 0.1
	taskMem      = 32.0
	offersOldMax = 2 * time.Second
)

// Options of a framework.
type Options struct {
	Name     string
	Policy   Policy
	Masters  []string        // HOST:PORT, asked in turn
	Now      func() []string // the same, as of now; may be nil
	Calls    *mesos.Client   // for calls
	Streams  *mesos.Client   // for subscriptions: gives up sooner
	Recorder *history.Recorder
	Seed     int64
	Script   string  // path of the task's program
	Failover float64 // failover_timeout, seconds
	Pad      int     // bytes that each task's command is longer
	Commit   func()  // called when a call is known to be committed; may be nil
}

// Task as the framework knows it.
type Task struct {
	ID      string
	Agent   string
	State   string // "" until something was heard
	Outcome string // of its launch; "" while that is under way
	Ended   time.Time
}

// Framework is one client of the system.
type Framework struct {
	Options
	mu       sync.Mutex
	rng      *rand.Rand
	id       string
	stream   *mesos.Stream
	term     int64
	tasks    map[string]*Task
	launched int
	closing  bool
	free     []int // process numbers without an open call
	final    bool  // answers to RECONCILE are final readings
	answered map[string]bool
	slots    chan struct{}
	wg       sync.WaitGroup
	durable  time.Time // when the latest call was sent whose ok meant a commit
}

// New makes a framework; Run starts it.
func New(o Options) *Framework {
	return &Framework{Options: o, rng: rand.New(rand.NewSource(o.Seed)), tasks: map[string]*Task{},
		answered: map[string]bool{}, slots: make(chan struct{}, inFlightMax)}
}

// Run subscribes again and again until ctx ends, then waits for its calls.
func (f *Framework) Run(ctx context.Context) {
	f.wg.Add(1)
	go f.pulse(ctx)
	backoff := 20 * time.Millisecond
	for at := int(f.Seed); ctx.Err() == nil; at++ {
		masters := f.Masters
		if f.Now != nil {
			masters = f.Now()
		}
		stream, err := f.Streams.Subscribe(ctx, masters[at%len(masters)], f.subscribeCall(), streamQuiet)
		if err == nil {
			if f.read(ctx, stream) {
				backoff = 20 * time.Millisecond
			}
		}
		pause(ctx, backoff)
		if backoff *= 2; backoff > 500*time.Millisecond {
			backoff = 500 * time.Millisecond
		}
	}
	f.wg.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

type object map[string]any

func value(text string) object { return object{"value": text} }

func (f *Framework) subscribeCall() object {
	f.mu.Lock()
	defer f.mu.Unlock()
	info := object{"user": "root", "name": f.Name, "failover_timeout": f.Failover, "checkpoint": true}
	call := object{"type": "SUBSCRIBE", "subscribe": object{"framework_info": info}}
	if f.id != "" {
		info["id"] = value(f.id)
		call["framework_id"] = value(f.id)
	}
	return call
}

// read takes events until the stream ends. True: it was subscribed.
func (f *Framework) read(ctx context.Context, stream *mesos.Stream) bool {
	defer stream.Close()
	subscribed := false
	for {
		event, err := stream.Next()
		if err != nil {
			f.mu.Lock()
			if f.stream == stream {
				f.stream = nil
			}
			f.mu.Unlock()
			if ctx.Err() == nil {
				f.Recorder.Event("stream", "lost", edn.Map{"framework": f.Name, "master": stream.Addr, "why": err.Error()})
			}
			return subscribed
		}
		switch {
		case event.Subscribed != nil:
			subscribed = true
			f.subscribed(stream, event.Subscribed)
		case event.Offers != nil:
			for _, offer := range event.Offers.Offers {
				f.offer(ctx, offer)
			}
		case event.Update != nil:
			f.update(ctx, &event.Update.Status)
		case event.Error != nil:
			f.Recorder.Event("stream", "error", edn.Map{"framework": f.Name, "message": event.Error.Message})
			return subscribed
		}
	}
}

func (f *Framework) subscribed(stream *mesos.Stream, s *mesos.Subscribed) {
	f.mu.Lock()
	f.stream, f.term = stream, mesos.Term(s.Master.ID)
	before := f.id
	f.id = s.FrameworkID.Value
	f.mu.Unlock()
	f.Recorder.Event("stream", "subscribed", edn.Map{"framework": f.Name, "master": stream.Addr, "master-id": s.Master.ID,
		"term": mesos.Term(s.Master.ID), "framework-id": s.FrameworkID.Value, "before": before})
}

// call makes one call on the present stream, as a process of its own for as long as it is open.
func (f *Framework) call(ctx context.Context, name string, note edn.Map, body object) mesos.Outcome {
	f.mu.Lock()
	stream, id := f.stream, f.id
	process := -1
	if n := len(f.free); n > 0 {
		process, f.free = f.free[n-1], f.free[:n-1]
	}
	f.mu.Unlock()
	if process < 0 {
		process = f.Recorder.NewProcess()
	}
	note["framework"] = f.Name
	if stream == nil {
		f.put(process)
		return mesos.Outcome{Kind: history.Fail, Text: "not subscribed"}
	}
	body["framework_id"] = value(id)
	sent := time.Now()
	op := f.Recorder.Call(process, name, note)
	out := f.Calls.Call(ctx, stream.Addr, stream.ID, body)
	extra := edn.Map{"code": out.Code, "master": stream.Addr}
	if out.Kind != history.OK {
		extra["text"] = out.Text
	}
	f.Recorder.End(op, out.Kind, extra)
	if out.Kind != history.Info {
		f.put(process)
	}
	if out.Kind == history.OK && (name == "launch" || name == "acknowledge") {
		f.committed(sent)
	}
	if out.Code == 307 || out.Code == 403 {
		stream.Close()
	}
	return out
}

func (f *Framework) committed(sent time.Time) {
	if f.Commit != nil {
		f.Commit()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if sent.After(f.durable) {
		f.durable = sent
	}
}

// CommittedSince tells whether a call that was first sent after the moment is known to be committed.
func (f *Framework) CommittedSince(moment time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.durable.After(moment)
}

func (f *Framework) put(process int) {
	f.mu.Lock()
	f.free = append(f.free, process)
	f.mu.Unlock()
}

// spawn runs do beside the reader; false: too many run already, and do is dropped.
func (f *Framework) spawn(do func()) bool {
	select {
	case f.slots <- struct{}{}:
	default:
		return false
	}
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		defer func() { <-f.slots }()
		do()
	}()
	return true
}

func (f *Framework) offer(ctx context.Context, offer mesos.Offer) {
	f.mu.Lock()
	fits := int(offer.Scalar("cpus")/taskCpus + 1e-6)
	if n := int(offer.Scalar("mem")/taskMem + 1e-6); n < fits {
		fits = n
	}
	plan := f.Policy.answer(f, fits)
	if f.closing {
		plan = answer{}
	}
	var tasks []*Task
	for range plan.seconds {
		f.launched++
		t := &Task{ID: fmt.Sprintf("%s-%d", f.Name, f.launched), Agent: offer.AgentID.Value}
		f.tasks[t.ID] = t
		tasks = append(tasks, t)
	}
	number := f.launched
	f.mu.Unlock()
	taken := f.spawn(func() {
		pause(ctx, plan.late)
		if len(tasks) > 0 {
			f.launch(ctx, offer, tasks, plan.seconds, number)
		} else {
			f.call(ctx, "decline", edn.Map{"offers": []string{offer.ID.Value}},
				object{"type": "DECLINE", "decline": object{"offer_ids": []object{value(offer.ID.Value)},
					"filters": object{"refuse_seconds": plan.refuse}}})
		}
	})
	if !taken {
		f.note(tasks, history.Fail)
		f.again()
	}
}

// again ends the stream: what came on it and could not be answered, an offer above all, would wait for ever; with the next
// subscription it comes once more.
func (f *Framework) again() {
	f.mu.Lock()
	stream := f.stream
	f.mu.Unlock()
	if stream != nil {
		stream.Close()
	}
}

// note keeps how the launch of these tasks went.
func (f *Framework) note(tasks []*Task, outcome string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range tasks {
		t.Outcome, t.Ended = outcome, time.Now()
	}
}

func scalar(name string, v float64) object {
	return object{"name": name, "type": "SCALAR", "scalar": object{"value": v}}
}

func (f *Framework) launch(ctx context.Context, offer mesos.Offer, tasks []*Task, seconds []float64, number int) {
	var ids []string
	var infos []object
	for i, t := range tasks {
		ids = append(ids, t.ID)
		command := fmt.Sprintf("exec sh '%s' %s %d %.2f", strings.ReplaceAll(f.Script, "'", `'\''`), t.ID, number, seconds[i])
		if f.Pad > 0 {
			command += " #" + strings.Repeat("x", f.Pad)
		}
		infos = append(infos, object{"name": t.ID, "task_id": value(t.ID), "agent_id": value(offer.AgentID.Value),
			"resources": []object{scalar("cpus", taskCpus), scalar("mem", taskMem)},
			"command":   object{"shell": true, "value": command}})
	}
	out := f.call(ctx, "launch",
		edn.Map{"tasks": ids, "offers": []string{offer.ID.Value}, "agent": offer.Hostname, "launch": number},
		object{"type": "ACCEPT", "accept": object{"offer_ids": []object{value(offer.ID.Value)},
			"operations": []object{{"type": "LAUNCH", "launch": object{"task_infos": infos}}},
			"filters":    object{"refuse_seconds": 0}}})
	f.note(tasks, out.Kind)
	// Not taken, for lack of room say: the offer is still ours, and nobody else can use it until it is given back. Where the
	// launch happened after all, the offer is no more and this means nothing.
	if out.Code == 503 {
		f.call(ctx, "decline", edn.Map{"offers": []string{offer.ID.Value}},
			object{"type": "DECLINE", "decline": object{"offer_ids": []object{value(offer.ID.Value)},
				"filters": object{"refuse_seconds": 0.5}}})
	}
}

func (f *Framework) update(ctx context.Context, s *mesos.Status) {
	f.mu.Lock()
	t := f.tasks[s.TaskID.Value]
	if t == nil {
		t = &Task{ID: s.TaskID.Value, Outcome: history.OK}
		f.tasks[t.ID] = t
	}
	if !mesos.Terminal(t.State) {
		t.State = s.State
	}
	name, actor := "update", "stream"
	if f.final && s.Reason == "REASON_RECONCILIATION" {
		name, actor = "task-state", "final"
		f.answered[t.ID] = true
	}
	f.mu.Unlock()
	f.Recorder.Event(actor, name, edn.Map{"task": s.TaskID.Value, "state": s.State, "reason": s.Reason,
		"source": s.Source, "uuid": s.UUID, "message": s.Message, "framework": f.Name})
	if s.UUID == "" {
		return
	}
	status := *s
	taken := f.spawn(func() {
		f.call(ctx, "acknowledge", edn.Map{"task": status.TaskID.Value, "state": status.State, "uuid": status.UUID},
			object{"type": "ACKNOWLEDGE", "acknowledge": object{"agent_id": value(status.AgentID.Value),
				"task_id": value(status.TaskID.Value), "uuid": status.UUID}})
	})
	if !taken {
		f.again()
	}
}

// live is the number of tasks that may run. The lock is held.
func (f *Framework) live() int {
	n := 0
	for _, t := range f.tasks {
		if t.pending() {
			n++
		}
	}
	return n
}

// pending: not over, as far as the framework can know.
func (t *Task) pending() bool { return !mesos.Terminal(t.State) && t.Outcome != history.Fail }

// pulse asks about one task each 100 ms, and about all that ought to have been heard of each 2 s.
func (f *Framework) pulse(ctx context.Context) {
	defer f.wg.Done()
	for n := 1; ctx.Err() == nil; n++ {
		pause(ctx, 100*time.Millisecond)
		f.mu.Lock()
		var ids []string
		for id, t := range f.tasks {
			if t.pending() && t.Outcome != "" && time.Since(t.Ended) > offersOldMax {
				ids = append(ids, id)
				if n%20 != 0 {
					break
				}
			}
		}
		// A master that sleeps keeps each question until it times out: half of the room is for answers.
		asks := f.stream != nil && len(f.slots) < inFlightMax/2
		f.mu.Unlock()
		if asks && (len(ids) > 0 || n%20 != 0) {
			f.spawn(func() { f.reconcile(ctx, ids) })
		}
	}
}

// reconcile asks for the state of these tasks; an unknown one is asked for when there is none, or all would be told.
func (f *Framework) reconcile(ctx context.Context, ids []string) mesos.Outcome {
	list := []object{}
	for _, id := range ids {
		list = append(list, object{"task_id": value(id)})
	}
	if len(list) == 0 {
		list = append(list, object{"task_id": value("nobody-" + f.Name)})
	}
	return f.call(ctx, "reconcile", edn.Map{"n": len(ids)}, object{"type": "RECONCILE", "reconcile": object{"tasks": list}})
}

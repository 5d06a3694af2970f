// SPDX-License-Identifier: Apache-2.0

// A scheduler over mesos-go, unmodified: runs TASKS tasks of COMMAND to TASK_FINISHED and tears itself down. What it says,
// and how it learns of MASTERS and the rest: ../../drivers.md. Subscribing again is the library's controller's.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/backoff"
	"github.com/mesos/mesos-go/api/v1/lib/extras/scheduler/callrules"
	"github.com/mesos/mesos-go/api/v1/lib/extras/scheduler/controller"
	"github.com/mesos/mesos-go/api/v1/lib/extras/scheduler/eventrules"
	"github.com/mesos/mesos-go/api/v1/lib/extras/store"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpsched"
	"github.com/mesos/mesos-go/api/v1/lib/resources"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/events"
)

const taskCPUs, taskMem, failoverTimeout = 0.25, 32, time.Hour

var (
	masters   = strings.Split(os.Getenv("MASTERS"), ",")
	wanted, _ = strconv.Atoi(os.Getenv("TASKS"))
	channel   = os.NewFile(3, "events")
)

func say(words ...interface{}) { fmt.Fprintln(channel, words...) }

func endpoint(hostPort string) string { return "http://" + hostPort + "/api/v1/scheduler" }

// load is the state of the scheduler; it is used by the event loop alone.
type load struct {
	http                  *httpcli.Client
	caller, library       calls.Caller
	live                  map[string]string // task id to agent id
	submitted, n, masterN int
	finished              map[string]bool
	done                  context.CancelFunc
}

// tap tells every call of the library before it is sent and when its answer is there.
func (l *load) tap(ctx context.Context, c *scheduler.Call) (mesos.Response, error) {
	l.n++
	number, words := l.n, []interface{}{"call", l.n, c.GetType()}
	for _, operation := range c.GetAccept().GetOperations() {
		for _, task := range operation.GetLaunch().GetTaskInfos() {
			words = append(words, task.TaskID.Value)
		}
	}
	say(words...)
	response, err := l.library.Call(ctx, c)
	if err != nil {
		say("failed", number, strings.ReplaceAll(err.Error(), " ", "_"))
	} else {
		say("answer", number, 202)
	}
	return response, err
}

// subscribed sends the calls that follow to the master that answered: a redirect of SUBSCRIBE does not do that by itself.
func (l *load) subscribed(ctx context.Context, e *scheduler.Event) error {
	say("subscribed", e.GetSubscribed().GetFrameworkID().GetValue())
	a := e.GetSubscribed().GetMasterInfo().GetAddress()
	l.http.With(httpcli.Endpoint(endpoint(fmt.Sprintf("%s:%d", a.GetIP(), a.GetPort()))))
	if len(l.live) == 0 {
		return l.settled(ctx, e)
	}
	return calls.CallNoData(ctx, l.caller, calls.Reconcile(calls.ReconcileTasks(l.live)))
}

func (l *load) offers(ctx context.Context, e *scheduler.Event) error {
	for _, offer := range e.GetOffers().GetOffers() {
		cpus, _ := resources.CPUs(offer.Resources...)
		mem, _ := resources.Memory(offer.Resources...)
		tasks := []mesos.TaskInfo{}
		for cpus >= taskCPUs && mem >= taskMem && len(l.live)+len(l.finished) < wanted {
			cpus, mem = cpus-taskCPUs, mem-taskMem
			command, id := os.Getenv("COMMAND"), fmt.Sprintf("%s-%d", os.Getenv("NAME"), l.submitted)
			l.submitted++
			l.live[id] = offer.AgentID.Value
			tasks = append(tasks, mesos.TaskInfo{
				Name: "load", TaskID: mesos.TaskID{Value: id}, AgentID: offer.AgentID,
				Command:   &mesos.CommandInfo{Value: &command},
				Resources: []mesos.Resource{resources.NewCPUs(taskCPUs).Resource, resources.NewMemory(taskMem).Resource},
			})
		}
		accept := calls.Accept(calls.OfferOperations{calls.OpLaunch(tasks...)}.WithOffers(offer.ID))
		if err := calls.CallNoData(ctx, l.caller, accept.With(calls.RefuseSeconds(time.Second/2))); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) update(ctx context.Context, e *scheduler.Event) error {
	status := e.GetUpdate().GetStatus()
	id, state := status.TaskID.Value, status.GetState()
	say("update", state, status.GetReason(), id)
	switch state {
	case mesos.TASK_FINISHED:
		l.finished[id] = true
		delete(l.live, id)
	case mesos.TASK_LOST, mesos.TASK_ERROR, mesos.TASK_FAILED, mesos.TASK_KILLED:
		delete(l.live, id)
	}
	return nil
}

// settled tears down after the acknowledgement of the last task that finished.
func (l *load) settled(ctx context.Context, e *scheduler.Event) error {
	if len(l.finished) < wanted {
		return nil
	}
	defer l.done()
	return calls.CallNoData(ctx, l.caller, &scheduler.Call{Type: scheduler.Call_TEARDOWN})
}

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{http: httpcli.New(httpcli.Endpoint(endpoint(masters[0]))), live: map[string]string{}, finished: map[string]bool{}, done: cancel}
	id := store.NewInMemorySingleton()
	next := func() string { l.masterN++; return endpoint(masters[l.masterN%len(masters)]) }
	l.library = httpsched.NewCaller(l.http, httpsched.EndpointCandidates(next))
	l.caller = callrules.WithFrameworkID(store.GetIgnoreErrors(id)).CallerF(l.tap)
	timeout, acknowledge := failoverTimeout.Seconds(), controller.AckStatusUpdates(l.caller)
	err := controller.Run(ctx, &mesos.FrameworkInfo{User: "root", Name: os.Getenv("NAME"), FailoverTimeout: &timeout}, l.caller,
		controller.WithFrameworkID(store.GetIgnoreErrors(id)),
		controller.WithRegistrationTokens(backoff.Notifier(100*time.Millisecond, time.Second, ctx.Done())),
		controller.WithSubscriptionTerminated(func(err error) { log.Println("subscription ended:", err) }),
		controller.WithEventHandler(eventrules.New(controller.LiftErrors().DropOnError()).Handle(events.Handlers{
			scheduler.Event_SUBSCRIBED: eventrules.New(controller.TrackSubscription(id, failoverTimeout)).HandleF(l.subscribed),
			scheduler.Event_OFFERS:     events.HandlerFunc(l.offers),
			scheduler.Event_UPDATE:     eventrules.New(eventrules.HandleF(l.update), acknowledge).HandleF(l.settled),
		})))
	log.Println("ended:", err)
	if len(l.finished) < wanted {
		os.Exit(1)
	}
}

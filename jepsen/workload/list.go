// SPDX-License-Identifier: Apache-2.0
package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"net/http"
	"net/url"
	"time"

	"conclave/jepsen/edn"
	"conclave/jepsen/history"
	"conclave/jepsen/mesos"
)

// listWait is how long a master may take to apply what was committed when a read began.
const listWait = 2 * time.Second

// ListReader is the reading side of W-09. The tasks that a framework has launched are a list in the order of their numbers: a launch
// appends all of its tasks at once. A read asks the leader for a position behind which nothing acknowledged is missing, waits until
// its own master, leader or not, has applied it, and takes the list from there: so every read is linearizable, whoever gives it.
type ListReader struct {
	Masters    []string
	At         int // index of the own master
	Frameworks []*Framework
	Client     *mesos.Client
	Recorder   *history.Recorder
	Seed       int64
	Pause      time.Duration
	Dials      func() int64 // connections made so far
}

// Run reads until ctx ends.
func (l *ListReader) Run(ctx context.Context) {
	rng := rand.New(rand.NewSource(l.Seed))
	process := l.Recorder.NewProcess()
	for ctx.Err() == nil {
		f := l.Frameworks[rng.Intn(len(l.Frameworks))]
		if id := f.ID(); id != "" {
			op := l.Recorder.Call(process, "list-read", edn.Map{"framework": f.Name, "node": l.At + 1})
			ids, err := l.read(ctx, id)
			if err != nil {
				l.Recorder.End(op, history.Fail, edn.Map{"text": err.Error()}) // a read changes nothing
			} else {
				l.Recorder.End(op, history.OK, edn.Map{"list": ids})
			}
		}
		pause(ctx, time.Duration(float64(l.Pause)*(0.5+rng.Float64())))
	}
}

// ID of the framework; "" before it was registered.
func (f *Framework) ID() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.id
}

func (l *ListReader) get(ctx context.Context, addr, page string, out any) (location string, err error) {
	answer, err := l.Client.Request(ctx, http.MethodGet, addr, page, nil, nil)
	if err != nil {
		return "", err
	}
	if answer.Code != http.StatusOK {
		return answer.Location, fmt.Errorf("%d %.100s", answer.Code, answer.Body)
	}
	return "", json.Unmarshal(answer.Body, out)
}

func (l *ListReader) read(ctx context.Context, framework string) ([]string, error) {
	own := l.Masters[l.At]
	var position struct {
		Index int64 `json:"index"`
	}
	leader, err := l.get(ctx, own, "/conclave/v1/read", &position)
	if err != nil && leader != "" {
		_, err = l.get(ctx, leader, "/conclave/v1/read", &position)
	}
	if err != nil {
		return nil, err
	}
	var status struct {
		Applied int64 `json:"applied"`
	}
	for end := time.Now().Add(listWait); ; {
		if _, err := l.get(ctx, own, "/conclave/v1/status", &status); err != nil {
			return nil, err
		}
		if status.Applied >= position.Index {
			break
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return nil, fmt.Errorf("entry %d is not applied, %d is", position.Index, status.Applied)
		}
		pause(ctx, 10*time.Millisecond)
	}
	before := l.Dials()
	var page struct {
		Tasks []struct {
			ID string `json:"id"`
		} `json:"tasks"`
	}
	if _, err := l.get(ctx, own, "/conclave/v1/tasks?limit=10000&framework="+url.QueryEscape(framework), &page); err != nil {
		return nil, err
	}
	if l.Dials() != before {
		return nil, fmt.Errorf("another connection: the process that answered may be another")
	}
	ids := []string{}
	for _, t := range page.Tasks {
		ids = append(ids, t.ID)
	}
	return ids, nil
}

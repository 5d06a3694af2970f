// SPDX-License-Identifier: Apache-2.0
package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"conclave/jepsen/edn"
	"conclave/jepsen/history"
	"conclave/jepsen/mesos"
)

// W-08: the configuration record as a register. Its key framework_reregister_timeout_ms takes values that are written once
// each, all of them so high that no framework is ever late.
const (
	registerPage = "/conclave/v1/config"
	registerKey  = "framework_reregister_timeout_ms"

	// RegisterFirst is the value before anybody wrote; writes are counted from it.
	RegisterFirst = 600000
)

// RegisterClient reads, writes and swaps. A pinned one asks its own master and nobody else, also when that one was deposed;
// the others follow redirections.
type RegisterClient struct {
	Masters  []string
	Pinned   int // index into Masters; -1: not pinned
	Local    bool
	Client   *mesos.Client
	Recorder *history.Recorder
	Seed     int64
	Pause    time.Duration
	Next     *atomic.Int64 // value of the next write; shared
	Dials    func() int64  // connections made so far; of local readers, who have one at a time
	Commit   func()        // may be nil

	rng     *rand.Rand
	process int
	at      int    // whom to ask
	value   int64  // last seen
	changed string // its position
}

type registerRecord struct {
	Value   int64  `json:"framework_reregister_timeout_ms"`
	Changed string `json:"changed"`
	Applied int64  `json:"applied"`
}

// Run makes calls until ctx ends.
func (c *RegisterClient) Run(ctx context.Context) {
	c.rng = rand.New(rand.NewSource(c.Seed))
	c.process = c.Recorder.NewProcess()
	if c.at = c.Pinned; c.at < 0 {
		c.at = c.rng.Intn(len(c.Masters))
	}
	for ctx.Err() == nil {
		switch n := c.rng.Intn(10); {
		case c.Local:
			c.local(ctx)
		case n < 5:
			c.read(ctx)
		case n < 7:
			c.write(ctx, "")
		default:
			c.write(ctx, c.changed)
		}
		pause(ctx, time.Duration(float64(c.Pause)*(0.5+c.rng.Float64())))
	}
}

// end closes the operation, and chooses another master where that may help.
func (c *RegisterClient) end(op *history.Op, outcome string, answer *mesos.Answer, extra edn.Map) {
	if answer != nil {
		extra["code"] = answer.Code
	}
	extra["master"] = c.Masters[c.at]
	c.Recorder.End(op, outcome, extra)
	if outcome == history.Info {
		c.process = c.Recorder.NewProcess()
	}
	if outcome == history.OK || answer != nil && answer.Code == http.StatusPreconditionFailed || c.Pinned >= 0 {
		return
	}
	c.at = c.rng.Intn(len(c.Masters))
	if answer != nil && answer.Location != "" {
		for i, addr := range c.Masters {
			if addr == answer.Location {
				c.at = i
			}
		}
	}
}

func (c *RegisterClient) read(ctx context.Context) {
	op := c.Recorder.Call(c.process, "register-read", edn.Map{"pinned": c.Pinned >= 0})
	answer, err := c.Client.Request(ctx, http.MethodGet, c.Masters[c.at], registerPage, map[string]string{"Conclave-Read": "linearizable"}, nil)
	var record registerRecord
	if err == nil && answer.Code == http.StatusOK {
		err = json.Unmarshal(answer.Body, &record)
	}
	if err != nil || answer.Code != http.StatusOK {
		c.end(op, history.Fail, answer, edn.Map{"text": whatWentWrong(answer, err)}) // a read changes nothing
		return
	}
	c.value, c.changed = record.Value, record.Changed
	c.end(op, history.OK, answer, edn.Map{"value": record.Value, "changed": record.Changed})
}

// write without a position is a write, with one a compare-and-set from the value that was seen there.
func (c *RegisterClient) write(ctx context.Context, changed string) {
	value := c.Next.Add(1)
	name, page, note := "register-write", registerPage, edn.Map{"value": value, "pinned": c.Pinned >= 0}
	if changed != "" {
		name, page = "register-cas", page+"?if="+changed
		note["from"], note["if"] = c.value, changed
	}
	op := c.Recorder.Call(c.process, name, note)
	body := []byte(fmt.Sprintf("{%q:%d}", registerKey, value))
	answer, err := c.Client.Request(ctx, http.MethodPut, c.Masters[c.at], page, map[string]string{"Content-Type": "application/json"}, body)
	switch {
	case err != nil && mesos.NotSent(err):
		c.end(op, history.Fail, answer, edn.Map{"text": err.Error()})
	case err != nil:
		c.end(op, history.Info, answer, edn.Map{"text": err.Error()})
	case answer.Code == http.StatusOK:
		var record registerRecord
		if json.Unmarshal(answer.Body, &record) == nil && record.Changed != "" {
			c.value, c.changed = value, record.Changed
		} else {
			c.changed = ""
		}
		if c.Commit != nil {
			c.Commit()
		}
		c.end(op, history.OK, answer, edn.Map{"changed": record.Changed})
	case answer.Code/100 == 3 || answer.Code/100 == 4 || strings.Contains(string(answer.Body), "No leader elected"):
		c.end(op, history.Fail, answer, edn.Map{"text": whatWentWrong(answer, nil)})
		if answer.Code == http.StatusPreconditionFailed {
			c.changed = "" // somebody else was quicker: the next is a write, or a read tells
		}
	default:
		c.end(op, history.Info, answer, edn.Map{"text": whatWentWrong(answer, nil)})
	}
}

// local reads what one master has applied; on one connection that must not go back.
func (c *RegisterClient) local(ctx context.Context) {
	before := c.Dials()
	answer, err := c.Client.Request(ctx, http.MethodGet, c.Masters[c.at], registerPage, nil, nil)
	var record registerRecord
	if err != nil || answer.Code != http.StatusOK || json.Unmarshal(answer.Body, &record) != nil || c.Dials() != before {
		return // of the first answer on a new connection nothing is compared
	}
	c.Recorder.Event("local", "local-read", edn.Map{"node": c.Pinned + 1, "connection": before, "applied": record.Applied, "value": record.Value})
}

func whatWentWrong(answer *mesos.Answer, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %.100s", answer.Code, answer.Body)
}

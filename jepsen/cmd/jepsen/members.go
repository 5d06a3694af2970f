// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"conclave/jepsen/edn"
	"conclave/jepsen/host"
	"conclave/jepsen/nemesis"
)

const (
	spares       = 16 // hosts for masters that are added in a run whose members change
	sparesPinned = 2  // as many of them have a client of the register that asks nobody else
	strangerID   = 900
	toolLimit    = 60 * time.Second
	leftLimit    = 5 * time.Second
)

// members is who is a master now (nemesis.Membership). A master's number is that of its host; its id is the cluster's to give,
// and mostly the same. All but options and exited are guarded by the cluster's mutex.
type members struct {
	options  options
	watching context.Context
	used     int          // numbers up to here are taken
	begun    map[int]bool // added and started, not removed
	gone     map[int]bool // may end by itself
	node     map[int]int  // ids, where they are not the number
}

func changesMembers(o options) bool {
	for _, f := range o.faults {
		if nemesis.ChangesMembers(f) {
			return true
		}
	}
	return false
}

func (c *cluster) spareHosts(o options) []host.Host {
	c.members = members{options: o, used: o.masters, begun: map[int]bool{}, gone: map[int]bool{}, node: map[int]int{}}
	var out []host.Host
	for i := o.masters + 1; changesMembers(o) && i <= o.masters+spares; i++ {
		out = append(out, host.Host{Name: fmt.Sprintf("m%d", i), Addr: masterAddr(i)})
		c.http = append(c.http, masterAddr(i)+":5050")
	}
	for i := 1; i <= o.masters; i++ {
		c.members.begun[i] = true
	}
	return out
}

// addSpares describes masters that do not run yet; what they are called to do is set when they are.
func (c *cluster) addSpares(o options, dir string, exited func(*host.Process, string)) error {
	for i := o.masters + 1; changesMembers(o) && i <= o.masters+spares; i++ {
		name := fmt.Sprintf("m%d", i)
		p, err := c.site.NewProcess(name, name, nil, exited)
		if err != nil {
			return err
		}
		c.masters, c.data = append(c.masters, p), append(c.data, filepath.Join(dir, name))
	}
	return nil
}

// Members are the numbers of those that are there, in order.
func (c *cluster) Members() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []int
	for id := 1; id <= len(c.masters); id++ {
		if c.members.begun[id] {
			out = append(out, id)
		}
	}
	return out
}

// served are the addresses of those that are there.
func (c *cluster) served() []string {
	var out []string
	for _, id := range c.Members() {
		out = append(out, c.http[id-1])
	}
	return out
}

func (c *cluster) nodeOf(id int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if node, other := c.members.node[id]; other {
		return node
	}
	return id
}

func (c *cluster) leaving(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, err := strconv.Atoi(strings.TrimPrefix(name, "m"))
	return err == nil && c.members.gone[id]
}

// Fresh takes the next number.
func (c *cluster) Fresh() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.members.used == len(c.masters) {
		return 0
	}
	c.members.used++
	return c.members.used
}

// number is a JSON number, also one that stands in quotes.
type number int

func (n *number) UnmarshalJSON(text []byte) error {
	v, err := strconv.Atoi(strings.Trim(string(text), `"`))
	*n = number(v)
	return err
}

type memberRow struct {
	ID   number `json:"id"`
	Peer string `json:"peer"`
	Role string `json:"role"`
}

// tool runs a verb of `conclave members` on the client's host. Status -1: it did not end by itself.
func (c *cluster) tool(words ...string) (status int, out []byte, said string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolLimit)
	defer cancel()
	argv := append([]string{c.members.options.bin, "members"}, words...)
	cmd := c.site.Command(ctx, clientHost, append(argv, "--master", strings.Join(c.served(), ","), "-o", "json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err = cmd.Output()
	if _, ended := err.(*exec.ExitError); ended {
		err = nil
	}
	if err != nil {
		return -1, nil, "", err
	}
	return cmd.ProcessState.ExitCode(), out, strings.TrimSpace(stderr.String()), nil
}

// row of a member as the cluster tells it now; nil: it is none, or nobody says.
func (c *cluster) row(fits func(r memberRow) bool) (*memberRow, bool) {
	var list struct {
		Leader  number      `json:"leader"`
		Members []memberRow `json:"members"`
	}
	status, out, _, err := c.tool("ls")
	if err != nil || status != 0 || json.Unmarshal(out, &list) != nil || list.Leader == 0 {
		return nil, false
	}
	for i := range list.Members {
		if fits(list.Members[i]) {
			return &list.Members[i], true
		}
	}
	return nil, true
}

func (c *cluster) peer(id int) string { return masterAddr(id) + ":5060" }

// Add makes the master a learner of the cluster. The answer may have got lost: who stands at its address tells.
func (c *cluster) Add(id int) error {
	said := ""
	for try := 0; try < 3; try++ {
		_, _, text, err := c.tool("add", "--peer", c.peer(id))
		if err != nil {
			return err
		}
		row, _ := c.row(func(r memberRow) bool { return r.Peer == c.peer(id) })
		if said = text; row == nil {
			continue
		}
		c.mu.Lock()
		c.members.node[id] = int(row.ID)
		c.mu.Unlock()
		c.recorder.Event("nemesis", "added", edn.Map{"master": id, "node": int(row.ID)})
		return nil
	}
	return fmt.Errorf("m%d cannot be added: %s", id, said)
}

// Begin starts an added master.
func (c *cluster) Begin(id int) error {
	node := c.nodeOf(id)
	if err := c.begin(id, node, "--join", "--peers", fmt.Sprintf("%d=%s", node, c.peer(id))); err != nil {
		return err
	}
	c.mu.Lock()
	c.members.begun[id] = true
	c.mu.Unlock()
	return nil
}

// Stranger starts a master that knows the cluster's id and addresses and has a certificate, but was never added.
func (c *cluster) Stranger(id int) error {
	node := strangerID + id
	peers := []string{fmt.Sprintf("%d=%s", node, c.peer(id))}
	for _, other := range c.Members() {
		peers = append(peers, fmt.Sprintf("%d=%s", c.nodeOf(other), c.peer(other)))
	}
	c.mu.Lock()
	c.members.node[id] = node
	c.members.gone[id] = true
	c.mu.Unlock()
	c.recorder.Event("nemesis", "stranger", edn.Map{"master": id, "node": node})
	return c.begin(id, node, "--peers", strings.Join(peers, ","))
}

func (c *cluster) begin(id, node int, words ...string) error {
	tls, err := c.certificates.master(node)
	if err != nil {
		return err
	}
	argv := append([]string{c.members.options.bin, "master", "--data-dir", c.data[id-1], "--cluster-id", clusterID,
		"--node", fmt.Sprint(node), "--segment-mb", "8"}, words...)
	c.masters[id-1].SetArgv(append(append(argv, c.members.options.snapshots()...), tls...))
	if err := c.masters[id-1].Start(); err != nil {
		return err
	}
	go c.watchOne(c.members.watching, id)
	return nil
}

// Change asks once, and looks how it is where the answer is not plain.
func (c *cluster) Change(verb string, id int) (bool, error) {
	words := []string{verb}
	node := c.nodeOf(id)
	if id != 0 {
		words = append(words, fmt.Sprint(node))
	}
	if verb == "remove" {
		c.mu.Lock()
		c.members.gone[id] = true
		c.mu.Unlock()
	}
	status, _, said, err := c.tool(words...)
	if err != nil {
		return false, err
	}
	done := status == 0
	if !done && verb != "transfer" {
		row, known := c.row(func(r memberRow) bool { return int(r.ID) == node })
		switch verb {
		case "remove":
			done = known && row == nil
		case "promote":
			done = row != nil && row.Role == "voter"
		case "demote":
			done = row != nil && row.Role == "learner"
		}
	}
	c.recorder.Event("nemesis", "change", edn.Map{"verb": verb, "master": id, "node": node, "done": done, "status": status, "said": said})
	if verb == "remove" && done {
		c.mu.Lock()
		delete(c.members.begun, id)
		c.mu.Unlock()
	}
	return done, nil
}

// Left waits for the end of a master that is no member.
func (c *cluster) Left(id int) string {
	p := c.masters[id-1]
	if p.Ended(leftLimit) {
		return p.State()
	}
	p.End(syscall.SIGKILL, 10*time.Second)
	return "runs"
}

// Ghost starts a removed master once more.
func (c *cluster) Ghost(id int) error { return c.masters[id-1].Start() }

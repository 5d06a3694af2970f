// SPDX-License-Identifier: Apache-2.0
package mesos

import (
	"strconv"
	"strings"
)

// ID is any of the messages with one text field `value`.
type ID struct {
	Value string `json:"value"`
}

// The parts of the v1 scheduler messages that the workloads read.
type (
	Event struct {
		Type       string      `json:"type"`
		Subscribed *Subscribed `json:"subscribed"`
		Offers     *struct {
			Offers []Offer `json:"offers"`
		} `json:"offers"`
		Update *struct {
			Status Status `json:"status"`
		} `json:"update"`
		Error *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	Subscribed struct {
		FrameworkID ID      `json:"framework_id"`
		Heartbeat   float64 `json:"heartbeat_interval_seconds"`
		Master      struct {
			ID       string `json:"id"`
			Hostname string `json:"hostname"`
		} `json:"master_info"`
	}
	Offer struct {
		ID        ID         `json:"id"`
		AgentID   ID         `json:"agent_id"`
		Hostname  string     `json:"hostname"`
		Resources []Resource `json:"resources"`
	}
	Resource struct {
		Name   string  `json:"name"`
		Type   string  `json:"type"`
		Scalar *Scalar `json:"scalar,omitempty"`
	}
	Scalar struct {
		Value float64 `json:"value"`
	}
	Status struct {
		TaskID  ID     `json:"task_id"`
		AgentID ID     `json:"agent_id"`
		State   string `json:"state"`
		Source  string `json:"source"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
		UUID    string `json:"uuid"`
	}
)

// Scalar sums a resource of an offer.
func (o *Offer) Scalar(name string) float64 {
	sum := 0.0
	for _, r := range o.Resources {
		if r.Name == name && r.Scalar != nil {
			sum += r.Scalar.Value
		}
	}
	return sum
}

// Term of the leader that made an id: ids are CLUSTER-INCARNATION-TERM, an offer's has -O and a number behind it. 0: none.
func Term(id string) int64 {
	if cut := strings.LastIndex(id, "-O"); cut >= 0 {
		id = id[:cut]
	}
	n, err := strconv.ParseInt(id[strings.LastIndexByte(id, '-')+1:], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Terminal tells whether a task in this state is over.
func Terminal(state string) bool {
	switch state {
	case "TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE",
		"TASK_GONE_BY_OPERATOR":
		return true
	}
	return false
}

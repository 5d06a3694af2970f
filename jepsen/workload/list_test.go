// SPDX-License-Identifier: Apache-2.0
package workload

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"conclave/jepsen/mesos"
)

// A reader asks the leader for a position, waits until its own master has applied it, and takes the list there.
func TestAListIsReadBehindEverythingAcknowledged(t *testing.T) {
	leader := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, `{"index":5,"term":2,"node":2}`)
	}))
	defer leader.Close()
	applied := atomic.Int64{}
	follower := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/conclave/v1/read":
			w.Header().Set("Location", leader.URL+"/conclave/v1/read")
			w.WriteHeader(http.StatusTemporaryRedirect)
		case "/conclave/v1/status":
			fmt.Fprintf(w, `{"applied":%d}`, applied.Add(1))
		case "/conclave/v1/tasks":
			if applied.Load() < 5 || q.URL.Query().Get("framework") != "f 1" {
				fmt.Fprint(w, `{"tasks":[{"id":"too-early"}]}`)
				return
			}
			fmt.Fprint(w, `{"tasks":[{"id":"a"},{"id":"b"}]}`)
		}
	}))
	defer follower.Close()
	dials := atomic.Int64{}
	dialer := net.Dialer{}
	l := &ListReader{Masters: []string{strings.TrimPrefix(follower.URL, "http://")}, Dials: dials.Load,
		Client: mesos.NewClient(func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return dialer.DialContext(ctx, network, address)
		}, 2*time.Second)}
	got, err := l.read(context.Background(), "f 1")
	if err != nil || !reflect.DeepEqual(got, []string{"a", "b"}) || applied.Load() < 5 {
		t.Fatal(got, err, applied.Load())
	}
	follower.CloseClientConnections()
	l.Dials = func() int64 { return dials.Add(1) } // as if a new connection were made each time
	if got, err := l.read(context.Background(), "f 1"); err == nil {
		t.Fatal("a list of another process is taken:", got)
	}
}

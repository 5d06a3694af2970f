// SPDX-License-Identifier: Apache-2.0
package mesos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func testClient(limit time.Duration) *Client {
	return NewClient((&net.Dialer{}).DialContext, limit)
}

func addrOf(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }

func TestRecordsAreReadOneByOne(t *testing.T) {
	in := bufio.NewReader(strings.NewReader("2\n{}11\nhello\nworld"))
	for _, want := range []string{"{}", "hello\nworld"} {
		if got, err := readRecord(in); err != nil || string(got) != want {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if _, err := readRecord(in); err != io.EOF {
		t.Fatal(err)
	}
}

func TestBadRecordsEndTheStream(t *testing.T) {
	for _, text := range []string{"\n", "+2\n{}", " 2\n{}", "02\n{}", "x\n", "3\n{}", "99999999999\n", "2"} {
		if got, err := readRecord(bufio.NewReader(strings.NewReader(text))); err == nil || err == io.EOF {
			t.Errorf("%q was read as %q, %v", text, got, err)
		}
	}
}

func TestAnAnswerSaysWhatIsKnownOfTheOutcome(t *testing.T) {
	code := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(code)
	}))
	defer server.Close()
	client := testClient(time.Second)
	for _, c := range []struct {
		code int
		kind string
	}{{202, "ok"}, {307, "fail"}, {400, "fail"}, {403, "fail"}, {503, "info"}, {500, "info"}, {0, "info"}} {
		code = c.code
		if got := client.Call(context.Background(), addrOf(server), "s", map[string]string{}); got.Kind != c.kind {
			t.Errorf("%d is %v", c.code, got)
		}
	}
	server.Close()
	if got := client.Call(context.Background(), addrOf(server), "s", 1); got.Kind != "fail" {
		t.Errorf("a refused connection is %v", got)
	}
}

func TestACallWithoutAnAnswerIsSentOnceAndUnknown(t *testing.T) {
	calls := make(chan int, 10)
	quiet := make(chan int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls <- 1
		<-quiet
	}))
	defer server.Close()
	defer close(quiet)
	got := testClient(100*time.Millisecond).Call(context.Background(), addrOf(server), "s", 1)
	if got.Kind != "info" || len(calls) != 1 {
		t.Fatalf("%v after %d requests", got, len(calls))
	}
}

func streamServer(records ...string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Mesos-Stream-Id", "s1")
		for _, record := range records {
			fmt.Fprintf(w, "%d\n%s", len(record), record)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}))
}

func TestSubscribeFollowsARedirectionAndEndsWhenTheStreamIsSilent(t *testing.T) {
	leader := streamServer(`{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"f1"},"master_info":{"id":"c-1-7"}}}`)
	defer leader.Close()
	follower := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "//"+addrOf(leader)+"/api/v1/scheduler")
		w.WriteHeader(307)
	}))
	defer follower.Close()
	s, err := testClient(time.Second).Subscribe(context.Background(), addrOf(follower), 1, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	event, err := s.Next()
	if err != nil || s.Addr != addrOf(leader) || s.ID != "s1" || Term(event.Subscribed.Master.ID) != 7 {
		t.Fatalf("%+v, %v", event, err)
	}
	if _, err := s.Next(); err == nil || !strings.Contains(err.Error(), "silent") {
		t.Fatal(err)
	}
}

func TestTheTermIsReadFromIds(t *testing.T) {
	for id, want := range map[string]int64{"abc-1-12": 12, "abc-1-12-O77": 12, "a-b-2-3-O1": 3, "": 0, "x": 0} {
		if got := Term(id); got != want {
			t.Errorf("%q: %d", id, got)
		}
	}
}

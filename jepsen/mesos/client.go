// SPDX-License-Identifier: Apache-2.0

// Package mesos is a thin client of the v1 scheduler API, JSON only. It hides nothing: each call is one request, never
// repeated, and tells what is known of its outcome.
package mesos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	path         = "/api/v1/scheduler"
	redirectsMax = 5
)

// Outcome of a call, in the words of the history.
type Outcome struct {
	Kind string // ok, fail: surely had no effect, info: unknown
	Code int    // HTTP status; 0 when there was no answer
	Text string
}

// Client makes calls through one dialer.
type Client struct {
	http *http.Client
}

// NewClient's limit is the time for a call's answer, or for the head of a stream's.
func NewClient(dial func(ctx context.Context, network, address string) (net.Conn, error), limit time.Duration) *Client {
	transport := &http.Transport{
		DialContext:           dialMarked(dial),
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       5 * time.Second,
		ResponseHeaderTimeout: limit,
		DisableCompression:    true,
	}
	return &Client{&http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
}

// dialError marks what failed before a byte was sent.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

func dialMarked(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, dialError{err}
		}
		return conn, nil
	}
}

func (c *Client) post(ctx context.Context, addr, stream string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	if stream != "" {
		request.Header.Set("Mesos-Stream-Id", stream)
	}
	return c.http.Do(request)
}

// Call sends one call on the connections beside the stream.
func (c *Client) Call(ctx context.Context, addr, stream string, call any) Outcome {
	body, err := json.Marshal(call)
	if err != nil {
		return Outcome{Kind: "fail", Text: err.Error()}
	}
	response, err := c.post(ctx, addr, stream, body)
	if err != nil {
		var notSent dialError
		if errors.As(err, &notSent) {
			return Outcome{Kind: "fail", Text: err.Error()}
		}
		return Outcome{Kind: "info", Text: err.Error()}
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 200))
	out := Outcome{Kind: "info", Code: response.StatusCode, Text: string(text)}
	switch {
	case out.Code/100 == 2:
		out.Kind = "ok"
	case out.Code/100 == 3 || out.Code/100 == 4:
		// A call that was proposed is never answered with a redirection; 4xx is a refusal.
		out.Kind = "fail"
	}
	return out
}

// Stream is a subscription.
type Stream struct {
	Addr   string // of the master that holds it
	ID     string
	body   io.ReadCloser
	in     *bufio.Reader
	cancel context.CancelFunc
	idle   *time.Timer
	silent atomic.Bool
	wait   time.Duration
}

// Subscribe posts a SUBSCRIBE and follows redirections. silence is how long the stream may be quiet before it ends.
func (c *Client) Subscribe(ctx context.Context, addr string, call any, silence time.Duration) (*Stream, error) {
	body, err := json.Marshal(call)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	for hop := 0; hop <= redirectsMax; hop++ {
		response, err := c.post(ctx, addr, "", body)
		if err != nil {
			cancel()
			return nil, err
		}
		if response.StatusCode == http.StatusOK {
			s := &Stream{Addr: addr, ID: response.Header.Get("Mesos-Stream-Id"), body: response.Body, cancel: cancel,
				in: bufio.NewReaderSize(response.Body, 1<<16), wait: silence}
			s.idle = time.AfterFunc(silence, func() { s.silent.Store(true); cancel() })
			if s.ID == "" || response.ContentLength >= 0 {
				s.Close()
				return nil, fmt.Errorf("subscribe: no Mesos-Stream-Id, or a stream with a length")
			}
			return s, nil
		}
		text, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		_ = response.Body.Close()
		if response.StatusCode != http.StatusTemporaryRedirect {
			cancel()
			return nil, fmt.Errorf("subscribe at %s: %d %s", addr, response.StatusCode, text)
		}
		if addr, err = authority(response.Header.Get("Location")); err != nil {
			cancel()
			return nil, err
		}
	}
	cancel()
	return nil, fmt.Errorf("subscribe: more than %d redirections", redirectsMax)
}

// authority reads //host:port/path.
func authority(location string) (string, error) {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || !strings.Contains(u.Host, ":") {
		return "", fmt.Errorf("subscribe: redirected to %.100q", location)
	}
	return u.Host, nil
}

// Next reads an event. An error ends the stream.
func (s *Stream) Next() (*Event, error) {
	data, err := readRecord(s.in)
	if s.silent.Load() {
		return nil, fmt.Errorf("stream silent for %v", s.wait)
	}
	if err != nil {
		return nil, err
	}
	s.idle.Reset(s.wait)
	event := &Event{}
	if err := json.Unmarshal(data, event); err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	return event, nil
}

// Close ends the stream. It may be called again, and from another goroutine.
func (s *Stream) Close() {
	s.idle.Stop()
	s.cancel()
	_ = s.body.Close()
}

// Get reads a page; for the monitor and the final reads.
func (c *Client) Get(ctx context.Context, addr, page string, out any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+page, nil)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s%s: %d", addr, page, response.StatusCode)
	}
	return json.Unmarshal(data, out)
}

// Answer to a Request.
type Answer struct {
	Code     int
	Location string // HOST:PORT of a redirection
	Body     []byte
}

// Request makes one request of the operators' API. NotSent tells of an error whether the request surely had no effect.
func (c *Client) Request(ctx context.Context, method, addr, page string, header map[string]string, body []byte) (*Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+addr+page, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for key, value := range header {
		request.Header.Set(key, value)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	out := &Answer{Code: response.StatusCode}
	if out.Body, err = io.ReadAll(io.LimitReader(response.Body, 1<<20)); err != nil {
		return nil, err
	}
	if location := response.Header.Get("Location"); location != "" {
		out.Location, _ = authority(location)
	}
	return out, nil
}

// NotSent: the connection was not even made.
func NotSent(err error) bool {
	var notSent dialError
	return errors.As(err, &notSent)
}

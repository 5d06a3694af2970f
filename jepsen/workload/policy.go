// SPDX-License-Identifier: Apache-2.0
package workload

import "time"

// answer to an offer: one task per entry of seconds, or a decline.
type answer struct {
	seconds []float64
	late    time.Duration // before the answer is sent
	refuse  float64       // seconds, of a decline
}

// Policy decides what is launched. It is asked with the framework's lock held; fits is what the offer has room for.
type Policy interface {
	answer(f *Framework, fits int) answer
}

// lateMax is how long an offer may wait for its answer: long enough for a leader to fall meanwhile.
const lateMax = 1500 * time.Millisecond

// Loop is W-01: short tasks, one after the other. A part of the answers is late, so that some offers outlive their leader.
type Loop struct {
	Rate    float64 // tasks a second
	LiveMax int
	begun   time.Time
	spent   float64
}

func (l *Loop) answer(f *Framework, fits int) answer {
	if l.begun.IsZero() {
		l.begun = time.Now()
	}
	// What could not be launched while nobody led is not made up for at once.
	due := time.Since(l.begun).Seconds() * l.Rate
	if l.spent < due-2*l.Rate {
		l.spent = due - 2*l.Rate
	}
	n := int(due-l.spent) + 1
	if room := l.LiveMax - f.live(); room < n {
		n = room
	}
	if fits < n {
		n = fits
	}
	if n <= 0 {
		return answer{refuse: 0.5}
	}
	l.spent += float64(n)
	var out answer
	for i := 0; i < n; i++ {
		out.seconds = append(out.seconds, 0.1+2*f.rng.Float64())
	}
	if f.rng.Intn(6) == 0 {
		out.late = time.Duration(f.rng.Int63n(int64(lateMax)))
	}
	return out
}

// Long is W-02: tasks that run until they are killed in the end, across all failovers; a few more join as time goes by.
type Long struct {
	First int           // as soon as possible
	Every time.Duration // one more
	begun time.Time
}

const longSeconds = 100000

func (l *Long) answer(f *Framework, fits int) answer {
	if l.begun.IsZero() {
		l.begun = time.Now()
	}
	n := l.First + int(time.Since(l.begun)/l.Every) - f.live()
	if fits < n {
		n = fits
	}
	if n <= 0 {
		return answer{refuse: 1}
	}
	var out answer
	for i := 0; i < n; i++ {
		out.seconds = append(out.seconds, longSeconds)
	}
	return out
}

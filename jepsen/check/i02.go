// SPDX-License-Identifier: Apache-2.0
package check

import "conclave/jepsen/raftlog"

// logsAgree is I-02: what two masters have at an index is the same, term and bytes.
func logsAgree(r *Run, at *report) {
	first := map[int64]raftlog.Entry{}
	owner := map[int64]string{}
	for _, d := range r.Dumps {
		for _, e := range d.Entries {
			have, known := first[e.Index]
			if !known {
				first[e.Index], owner[e.Index] = e, d.File
				continue
			}
			if have.Term != e.Term || have.Type != e.Type || have.Digest != e.Digest {
				at.line(d.File, e.Line, "entry %d differs from %s:%d: term %d and %d", e.Index, owner[e.Index], have.Line, e.Term, have.Term)
				break // it will differ from here on
			}
		}
		for i := 1; i < len(d.Entries); i++ {
			if d.Entries[i].Index != d.Entries[i-1].Index+1 || d.Entries[i].Term < d.Entries[i-1].Term {
				at.line(d.File, d.Entries[i].Line, "entry %d of term %d stands behind entry %d of term %d", d.Entries[i].Index,
					d.Entries[i].Term, d.Entries[i-1].Index, d.Entries[i-1].Term)
				break
			}
		}
	}
}

// statesAgree is I-03: at one index every master's state has one hash.
func statesAgree(r *Run, at *report) {
	first := map[int64]raftlog.Hash{}
	owner := map[int64]string{}
	for _, d := range r.Dumps {
		for _, h := range d.Hashes {
			have, known := first[h.Index]
			if !known {
				first[h.Index], owner[h.Index] = h, d.File
			} else if have.Hash != h.Hash {
				at.line(d.File, h.Line, "the state at %d has hash %s, and %s at %s:%d", h.Index, h.Hash, have.Hash, owner[h.Index], have.Line)
			}
		}
	}
}

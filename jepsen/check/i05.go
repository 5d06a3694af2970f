// SPDX-License-Identifier: Apache-2.0
package check

import "conclave/jepsen/raftlog"

// replayAgrees is I-05: the state that is made from a master's folder, of its snapshot and the log behind it, is the one that the
// masters have made of every entry.
func replayAgrees(r *Run, at *report) {
	told := map[int64]raftlog.Hash{}
	owner := map[int64]string{}
	for _, d := range r.Dumps {
		for _, h := range d.Hashes {
			if _, known := told[h.Index]; !known {
				told[h.Index], owner[h.Index] = h, d.File
			}
		}
	}
	for _, d := range r.Dumps {
		for _, h := range d.Rebuilt {
			have, known := told[h.Index]
			switch {
			case !known:
				at.line(d.File, h.Line, "no master has told the hash of the state at %d, that was rebuilt", h.Index)
			case have.Hash != h.Hash:
				at.line(d.File, h.Line, "the folder gives state %s at %d, the masters have %s (%s:%d)", h.Hash, h.Index, have.Hash,
					owner[h.Index], have.Line)
			}
		}
	}
}

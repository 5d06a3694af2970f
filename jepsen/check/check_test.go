// SPDX-License-Identifier: Apache-2.0
package check

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each folder of testdata is a run. Its file `want` holds the violations that must be found, `ID FILE:LINE` a line and in
// order; an empty one is a good history.
func TestTestdataIsJudgedAsItSays(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*")
	if err != nil || len(dirs) == 0 {
		t.Fatal(dirs, err)
	}
	seen := map[string]bool{}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join(dir, "want"))
			if err != nil {
				t.Fatal(err)
			}
			run, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, v := range run.Check() {
				fmt.Fprintf(&got, "%s %s:%d\n", v.ID, v.File, v.Line)
				seen[v.ID] = true
				t.Log(v.Text)
			}
			if got.String() != string(want) {
				t.Errorf("found:\n%swanted:\n%s", got.String(), want)
			}
		})
	}
	for _, id := range IDs() {
		if !seen[id] {
			t.Errorf("no history of testdata breaks %s: nothing shows that its checker can fail", id)
		}
	}
}

func TestARunThatProvesNothingIsInvalid(t *testing.T) {
	run, err := Load("testdata/good")
	if err != nil {
		t.Fatal(err)
	}
	enough := Counts{CallsPerSecond: 50, Started: 100, Periods: 3, Leaders: 2}
	if why := run.Invalid(enough, true); why != "" {
		t.Error(why)
	}
	for _, change := range []func(c *Counts){
		func(c *Counts) { c.CallsPerSecond = 49 }, func(c *Counts) { c.Started = 99 },
		func(c *Counts) { c.ListCalls, c.ListRead = 30, 19 },
		func(c *Counts) { c.Periods = 2 }, func(c *Counts) { c.Leaders = 1 },
	} {
		c := enough
		change(&c)
		if run.Invalid(c, true) == "" {
			t.Errorf("%+v is taken for valid", c)
		}
	}
	run.final = nil
	if run.Invalid(enough, true) == "" {
		t.Error("a run without final readings is taken for valid")
	}
}

// SPDX-License-Identifier: Apache-2.0
package edn

import (
	"reflect"
	"strings"
	"testing"
)

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	want := Map{
		"type": Keyword("invoke"), "n": int64(-7), "x": 0.5, "none": nil, "yes": true,
		"text": "a \"b\"\\\n\tc é", "list": []any{int64(1), []any{}, Map{}},
	}
	got, err := Read(string(Append(nil, want)))
	if err != nil || !reflect.DeepEqual(got, any(want)) {
		t.Fatalf("got %v, %v", got, err)
	}
}

func TestOneValueHasOneTextOnOneLine(t *testing.T) {
	text := string(Append(nil, Map{"b": []string{"x", "y\n"}, "a": Keyword("k")}))
	if text != `{:a :k, :b ["x" "y\n"]}` {
		t.Fatal(text)
	}
}

func TestBadTextIsRefused(t *testing.T) {
	for _, text := range []string{"", "[1", "{:a}", `{"a" 1}`, `"x`, `"\q"`, "1 2", "wat", strings.Repeat("[", 100000)} {
		if v, err := Read(text); err == nil {
			t.Errorf("%.20q was read as %v", text, v)
		}
	}
}

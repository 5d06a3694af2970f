// SPDX-License-Identifier: Apache-2.0
package raftlog

import (
	"encoding/binary"
	"reflect"
	"testing"
)

func TestMembersOfAConfiguration(t *testing.T) {
	data := binary.LittleEndian.AppendUint64([]byte{1}, 2)
	for i, role := range []byte{1, 0} {
		data = binary.LittleEndian.AppendUint64(data, uint64(3+i))
		data = append(append(data, "10.0.0.1:5060\x00"...), role)
	}
	got, err := Members(data)
	if err != nil || !reflect.DeepEqual(got, []string{"voter:3", "learner:4"}) {
		t.Fatal(got, err)
	}
	for cut := 0; cut < len(data); cut++ {
		if got, err := Members(data[:cut]); err == nil {
			t.Fatalf("%d of %d bytes are %v", cut, len(data), got)
		}
	}
	data[len(data)-1] = 3
	if _, err := Members(data); err == nil {
		t.Fatal("a role that does not exist")
	}
}

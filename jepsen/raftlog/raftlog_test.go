// SPDX-License-Identifier: Apache-2.0
package raftlog

import (
	"encoding/binary"
	"reflect"
	"testing"
)

func part(number int, content ...byte) []byte {
	return append([]byte{byte(number<<3 | 2), byte(len(content))}, content...)
}

// command has a cluster time and a wall time, and then what it is; its field has a number over 15 and so two bytes of key.
func command(number int, content []byte) []byte {
	key := number<<3 | 2
	out := []byte{1 << 3, 5, 2 << 3, 7, byte(key&0x7f | 0x80), byte(key >> 7), byte(len(content))}
	return append(out, content...)
}

func batch(commands ...[]byte) []byte {
	out := append([]byte("CCE1"), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(out[4:], uint32(len(commands)))
	for _, c := range commands {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(c)))
		out = append(out, c...)
	}
	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	return out
}

func TestCommandsOfABatch(t *testing.T) {
	accept := append([]byte{8, 1, 24, 1}, append(part(4, part(1, 't', '1')...), part(4, part(1, 't', '2')...)...)...)
	kill := append([]byte{8, 1}, part(2, 't', '2')...)
	acknowledge := append(append([]byte{8, 1}, part(2, 't', '1')...), part(4, 0, 0xab)...)
	got, err := Commands(batch(command(17, accept), command(18, kill), command(20, acknowledge), command(19, nil)))
	want := []string{"accept:t1,t2", "kill:t2", "acknowledge:t1:00ab", "19"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatal(got, err)
	}
}

func TestWhatIsCutOffOrMalformedIsRefused(t *testing.T) {
	whole := batch(command(18, append([]byte{8, 1}, part(2, 't', '2')...)))
	for n := 0; n < len(whole)-len(whole)%8-8; n++ {
		if _, err := Commands(whole[:n]); err == nil {
			t.Fatalf("%d bytes of %d are taken for a batch", n, len(whole))
		}
	}
	for _, bad := range [][]byte{batch([]byte{0x97}), batch([]byte{1 << 3, 5}), batch(command(17, part(4, 0x0a, 9)))} {
		if got, err := Commands(bad); err == nil {
			t.Fatalf("%x is taken for %v", bad, got)
		}
	}
}

func TestADumpComesBack(t *testing.T) {
	dir := t.TempDir()
	d := &Dump{Name: "m2", First: 1, Entries: []Entry{{1, 1, 3, "aa", nil, 0}, {2, 4, 1, "bb", []string{"config", "kill:t"}, 0}},
		Hashes: []Hash{{2, "ff", 0}}}
	if err := Write(dir, d); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	d.File = "dump/m2"
	d.Entries[0].Commands, d.Entries[0].Line, d.Entries[1].Line, d.Hashes[0].Line = []string{}, 2, 3, 4
	if !reflect.DeepEqual(got[0], d) {
		t.Fatalf("%+v is not %+v", got[0], d)
	}
}

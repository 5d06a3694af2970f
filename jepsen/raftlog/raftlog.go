// SPDX-License-Identifier: Apache-2.0

// Package raftlog reads what masters say of their replicated log, and keeps it in a run's folder: dump/NAME, a line an
// entry. It decodes entries by itself (docs/FORMATS.md, proto/conclave/log.proto), so that a fault of the system's own
// decoder does not hide one.
package raftlog

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Folder of a run that holds the dumps.
const Folder = "dump"

// Entry of the log. Commands are words: accept:TASK,TASK  kill:TASK  acknowledge:TASK:UUID  config:REREGISTER-MS
// NUMBER-of-the-field. Of a configuration they are its members: voter:ID  learner:ID  spare:ID.
type Entry struct {
	Index, Term int64
	Type        int    // 1 commands, 2 barrier, 3 configuration
	Digest      string // of the bytes
	Commands    []string
	Line        int // in the dump
}

// Hash is the digest of a master's whole state after it applied Index.
type Hash struct {
	Index int64
	Hash  string
	Line  int
}

// Dump is the log of one master.
type Dump struct {
	Name    string // m1
	File    string // relative to the run's folder
	First   int64
	Entries []Entry
	Hashes  []Hash // as the master told them
	Rebuilt []Hash // as its folder gave them
}

// field of a protobuf message.
type field struct {
	number int
	varint uint64
	bytes  []byte
}

// fields walks a message; false: it is malformed.
func fields(data []byte, do func(f field)) bool {
	for len(data) > 0 {
		key, n := binary.Uvarint(data)
		if n <= 0 {
			return false
		}
		data = data[n:]
		f := field{number: int(key >> 3)}
		switch key & 7 {
		case 0:
			if f.varint, n = binary.Uvarint(data); n <= 0 {
				return false
			}
			data = data[n:]
		case 1, 5:
			width := map[uint64]int{1: 8, 5: 4}[key&7]
			if len(data) < width {
				return false
			}
			data = data[width:]
		case 2:
			length, n := binary.Uvarint(data)
			if n <= 0 || uint64(len(data)-n) < length {
				return false
			}
			f.bytes, data = data[n:n+int(length)], data[n+int(length):]
		default:
			return false
		}
		do(f)
	}
	return true
}

func text(message []byte, number int) (string, bool) {
	out := ""
	ok := fields(message, func(f field) {
		if f.number == number {
			out = string(f.bytes)
		}
	})
	return out, ok
}

// The fields of conclave.log.Command that are read here.
const (
	fieldConfig      = 11
	fieldAccept      = 17
	fieldKill        = 18
	fieldAcknowledge = 20
	fieldCommandMin  = 10 // below are the fields that every command has
)

func word(f field) (string, bool) {
	switch f.number {
	case fieldConfig:
		word := "config"
		ok := fields(f.bytes, func(part field) {
			if part.number == 1 {
				_ = fields(part.bytes, func(key field) {
					if key.number == 1 {
						word = "config:" + strconv.FormatUint(key.varint, 10)
					}
				})
			}
		})
		return word, ok
	case fieldAccept:
		var tasks []string
		good := true
		ok := fields(f.bytes, func(part field) {
			if part.number == 4 {
				id, fine := text(part.bytes, 1)
				tasks, good = append(tasks, id), good && fine
			}
		})
		return "accept:" + strings.Join(tasks, ","), ok && good
	case fieldKill:
		task, ok := text(f.bytes, 2)
		return "kill:" + task, ok
	case fieldAcknowledge:
		task, ok := text(f.bytes, 2)
		uuid, _ := text(f.bytes, 4)
		return "acknowledge:" + task + ":" + hex.EncodeToString([]byte(uuid)), ok
	}
	return strconv.Itoa(f.number), true
}

// Commands of an entry of type 1.
func Commands(data []byte) ([]string, error) {
	if len(data) < 8 || string(data[:4]) != "1ECC" && string(data[:4]) != "CCE1" {
		return nil, fmt.Errorf("not a batch of commands")
	}
	count := binary.LittleEndian.Uint32(data[4:])
	data = data[8:]
	var out []string
	for i := uint32(0); i < count; i++ {
		if len(data) < 4 {
			return nil, fmt.Errorf("command %d of %d is cut off", i, count)
		}
		length := uint64(binary.LittleEndian.Uint32(data))
		if uint64(len(data)-4) < length {
			return nil, fmt.Errorf("command %d of %d is cut off", i, count)
		}
		command, what, good := data[4:4+length], "", true
		ok := fields(command, func(f field) {
			if f.number >= fieldCommandMin {
				what, good = word(f)
			}
		})
		if !ok || !good || what == "" {
			return nil, fmt.Errorf("command %d of %d is malformed", i, count)
		}
		out, data = append(out, what), data[4+length:]
	}
	return out, nil
}

// Members of an entry of type 3, as libraft writes them: version (1 byte), count (8), and for each id (8), address with a zero
// behind it, role (1).
func Members(data []byte) ([]string, error) {
	if len(data) < 9 || data[0] != 1 {
		return nil, fmt.Errorf("not a configuration")
	}
	count := binary.LittleEndian.Uint64(data[1:])
	data = data[9:]
	var out []string
	for i := uint64(0); i < count; i++ {
		end := -1
		if len(data) >= 8 {
			end = bytes.IndexByte(data[8:], 0)
		}
		if end < 0 || len(data) < 8+end+2 {
			return nil, fmt.Errorf("member %d of %d is cut off", i, count)
		}
		role := data[8+end+1]
		if role > 2 {
			return nil, fmt.Errorf("member %d has role %d", i, role)
		}
		out = append(out, fmt.Sprintf("%s:%d", []string{"learner", "voter", "spare"}[role], binary.LittleEndian.Uint64(data)))
		data = data[8+end+2:]
	}
	return out, nil
}

// Digest of an entry's bytes.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:12])
}

// Write makes dump/NAME. Ids of tasks hold no blanks: the frameworks here make them.
func Write(dir string, d *Dump) error {
	if err := os.MkdirAll(filepath.Join(dir, Folder), 0o755); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(dir, Folder, d.Name))
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	fmt.Fprintf(out, "first %d\n", d.First)
	for _, e := range d.Entries {
		fmt.Fprintf(out, "entry %d %d %d %s %s\n", e.Index, e.Term, e.Type, e.Digest, strings.Join(e.Commands, " "))
	}
	for _, h := range d.Hashes {
		fmt.Fprintf(out, "hash %d %s\n", h.Index, h.Hash)
	}
	for _, h := range d.Rebuilt {
		fmt.Fprintf(out, "rebuilt %d %s\n", h.Index, h.Hash)
	}
	err = out.Flush()
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// Read reads every dump of a run's folder; there may be none.
func Read(dir string) ([]*Dump, error) {
	paths, err := filepath.Glob(filepath.Join(dir, Folder, "*"))
	if err != nil {
		return nil, err
	}
	var out []*Dump
	for _, path := range paths {
		d, err := readOne(path)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func readOne(path string) (*Dump, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	d := &Dump{Name: filepath.Base(path), File: filepath.Join(Folder, filepath.Base(path))}
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 1<<16), 16<<20)
	for n := 1; scanner.Scan(); n++ {
		if err := d.take(n, strings.Fields(scanner.Text())); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	return d, scanner.Err()
}

func (d *Dump) take(n int, words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("not a line of a dump")
	}
	number, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return err
	}
	switch {
	case words[0] == "first":
		d.First = number
	case words[0] == "hash" && len(words) == 3:
		d.Hashes = append(d.Hashes, Hash{number, words[2], n})
	case words[0] == "rebuilt" && len(words) == 3:
		d.Rebuilt = append(d.Rebuilt, Hash{number, words[2], n})
	case words[0] == "entry" && len(words) >= 5:
		term, err1 := strconv.ParseInt(words[2], 10, 64)
		kind, err2 := strconv.Atoi(words[3])
		if err1 != nil || err2 != nil {
			return fmt.Errorf("not an entry")
		}
		d.Entries = append(d.Entries, Entry{number, term, kind, words[4], words[5:], n})
	default:
		return fmt.Errorf("not a line of a dump")
	}
	return nil
}

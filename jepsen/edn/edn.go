// SPDX-License-Identifier: Apache-2.0

// Package edn writes and reads the part of EDN that a history needs: nil, booleans, integers, floats, strings, keywords,
// vectors and maps with keyword keys. What the writer prints on one line, Knossos and Elle read.
package edn

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

// Keyword prints as :name.
type Keyword string

// Map has keyword keys; it prints sorted by key, so that one value has one text.
type Map map[Keyword]any

// depthMax bounds the recursion of the reader.
const depthMax = 64

// Append appends v's text. It panics on a type that this package does not know: that is a fault of the caller.
func Append(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "nil"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case uint64:
		return strconv.AppendUint(b, v, 10)
	case float64:
		text := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return append(b, text...)
	case string:
		return appendString(b, v)
	case Keyword:
		return append(append(b, ':'), v...)
	case []string:
		return appendVector(b, len(v), func(b []byte, i int) []byte { return appendString(b, v[i]) })
	case []any:
		return appendVector(b, len(v), func(b []byte, i int) []byte { return Append(b, v[i]) })
	case Map:
		return appendMap(b, v)
	}
	panic(fmt.Sprintf("edn: cannot write a %T", v))
}

func appendVector(b []byte, n int, item func([]byte, int) []byte) []byte {
	b = append(b, '[')
	for i := 0; i < n; i++ {
		if i > 0 {
			b = append(b, ' ')
		}
		b = item(b, i)
	}
	return append(b, ']')
}

func appendMap(b []byte, m Map) []byte {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, string(key))
	}
	sort.Strings(keys)
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(append(b, ':'), key...), ' ')
		b = Append(b, m[Keyword(key)])
	}
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r < 0x20 || r == unicode.ReplacementChar:
			b = append(b, '?')
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}

// Read parses exactly one value. Vectors and lists come back as []any, integers as int64.
func Read(text string) (any, error) {
	r := reader{text: text}
	v, err := r.value(0)
	if err != nil {
		return nil, err
	}
	r.skip()
	if r.at < len(r.text) {
		return nil, r.fault("text after the value")
	}
	return v, nil
}

type reader struct {
	text string
	at   int
}

func (r *reader) fault(what string) error { return fmt.Errorf("edn: %s at byte %d", what, r.at) }

func (r *reader) skip() {
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n,", r.text[r.at]) >= 0 {
		r.at++
	}
}

func (r *reader) value(depth int) (any, error) {
	r.skip()
	if depth > depthMax {
		return nil, r.fault("nested too deeply")
	}
	if r.at >= len(r.text) {
		return nil, r.fault("unexpected end")
	}
	switch c := r.text[r.at]; {
	case c == '"':
		return r.str()
	case c == '[':
		return r.list(']', depth)
	case c == '(':
		return r.list(')', depth)
	case c == '{':
		return r.mapping(depth)
	}
	return r.atom()
}

func (r *reader) list(end byte, depth int) ([]any, error) {
	r.at++
	out := []any{}
	for {
		r.skip()
		if r.at < len(r.text) && r.text[r.at] == end {
			r.at++
			return out, nil
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
}

func (r *reader) mapping(depth int) (Map, error) {
	r.at++
	out := Map{}
	for {
		r.skip()
		if r.at < len(r.text) && r.text[r.at] == '}' {
			r.at++
			return out, nil
		}
		key, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		name, ok := key.(Keyword)
		if !ok {
			return nil, r.fault("a map's key is not a keyword")
		}
		if out[name], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
}

func (r *reader) str() (string, error) {
	var out strings.Builder
	for r.at++; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; c {
		case '"':
			r.at++
			return out.String(), nil
		case '\\':
			r.at++
			if r.at >= len(r.text) {
				return "", r.fault("unexpected end")
			}
			switch e := r.text[r.at]; e {
			case 'n':
				out.WriteByte('\n')
			case 't':
				out.WriteByte('\t')
			case '"', '\\':
				out.WriteByte(e)
			default:
				return "", r.fault("unknown escape")
			}
		default:
			out.WriteByte(c)
		}
	}
	return "", r.fault("a string without end")
}

func (r *reader) atom() (any, error) {
	start := r.at
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n,[](){}\"", r.text[r.at]) < 0 {
		r.at++
	}
	word := r.text[start:r.at]
	switch word {
	case "nil":
		return nil, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	if len(word) > 1 && word[0] == ':' {
		return Keyword(word[1:]), nil
	}
	if n, err := strconv.ParseInt(word, 10, 64); err == nil {
		return n, nil
	}
	if f, err := strconv.ParseFloat(word, 64); err == nil {
		return f, nil
	}
	r.at = start
	return nil, r.fault(fmt.Sprintf("%.20q is no value", word))
}

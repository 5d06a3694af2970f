// SPDX-License-Identifier: Apache-2.0
package mesos

import (
	"bufio"
	"fmt"
	"io"
)

const recordMax = 16 << 20

// readRecord reads `length "\n" bytes`. It is strict: a length with a sign, a space or a leading zero is a fault.
func readRecord(in *bufio.Reader) ([]byte, error) {
	n := 0
	for digits := 0; ; digits++ {
		c, err := in.ReadByte()
		if err != nil {
			if err == io.EOF && digits > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if c == '\n' && digits > 0 {
			break
		}
		if c < '0' || c > '9' || digits == 1 && n == 0 {
			return nil, fmt.Errorf("recordio: byte %q in a length", c)
		}
		if n = n*10 + int(c-'0'); n > recordMax {
			return nil, fmt.Errorf("recordio: a record of more than %d bytes", recordMax)
		}
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, fmt.Errorf("recordio: record cut short: %w", io.ErrUnexpectedEOF)
	}
	return data, nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
)

// certificates are of a cluster whose links have TLS, as that of an operator: a CA and what it signs, made by the binary.
type certificates struct{ bin, dir string }

func makeCertificates(bin, dir string) (*certificates, error) {
	c := &certificates{bin: bin, dir: dir}
	return c, c.make("ca")
}

func (c *certificates) make(arguments ...string) error {
	command := exec.Command(c.bin, append(append([]string{"cert"}, arguments...), "--dir", c.dir)...)
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("conclave cert %s: %w: %s", arguments[0], err, said)
	}
	return nil
}

// master makes the certificate of master i and returns the flags of its process.
func (c *certificates) master(i int) ([]string, error) {
	return c.flags(fmt.Sprintf("master-%d", i)), c.make("master", "--cluster-id", clusterID, "--node", fmt.Sprint(i))
}

// agent is the same for an agent.
func (c *certificates) agent(name string) ([]string, error) {
	return c.flags(name), c.make("agent", "--cluster-id", clusterID, "--name", name)
}

func (c *certificates) flags(name string) []string {
	return []string{"--tls-ca", filepath.Join(c.dir, "ca.pem"), "--tls-cert", filepath.Join(c.dir, name+".pem"),
		"--tls-key", filepath.Join(c.dir, name+".key")}
}

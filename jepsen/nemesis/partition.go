// SPDX-License-Identifier: Apache-2.0
package nemesis

// partition is F-04: masters are cut from each other, both ways; clients and agents still reach every one of them, the
// deposed leader included.
func (n *Nemesis) partition(p Period) error {
	side := n.choose("one")
	switch p.Kind {
	case "leader":
		side = n.choose("leader")
	case "halves":
		side = n.targets(len(n.ids())/2, n.rng.Intn(2) == 0)
	}
	n.note("start", p, side, nil)
	if err := n.cluster.Cut(split(side, n.cluster.Size())); err != nil {
		return err
	}
	n.sleep(p.Length)
	if err := n.cluster.Cut(nil); err != nil {
		return err
	}
	n.note("stop", p, side, nil)
	return nil
}

// split cuts one side from the rest, in both directions.
func split(side []int, size int) [][2]int {
	inside := map[int]bool{}
	for _, id := range side {
		inside[id] = true
	}
	var out [][2]int
	for a := 1; a <= size; a++ {
		for b := 1; b <= size; b++ {
			if inside[a] != inside[b] {
				out = append(out, [2]int{a, b})
			}
		}
	}
	return out
}

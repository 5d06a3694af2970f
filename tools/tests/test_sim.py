# SPDX-License-Identifier: Apache-2.0
"""./dev sim (tools/dev/sim.py) over a made-up simulator: its sums, its rules, and that a range goes on where it was."""
import contextlib
import importlib.util
import io
import json
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

FACE = pathlib.Path(__file__).resolve().parents[1] / "dev" / "sim.py"

def load():
    spec = importlib.util.spec_from_file_location("sim_face", FACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def piece(seeds, **more):
    return {"rev": "r", "build": "b", "voters": 3, "mode": "b", "mutant": None, "valid": 100, "invalid": 0, "red": 0,
            "faults": {"crash": 1.0}, "sim_s": 1, "acked": 1, "reads": 1, "seconds": 0.1, "settle_max_ms": 1, "range": seeds} | more


class Sums(unittest.TestCase):
    sim = load()

    def codes(self, **more):
        return [code for code, _ in self.sim.judge([self.sim.total([piece("1..1000", **{"valid": 1000} | more)])])]

    def test_pieces_add_up_by_their_size(self):
        s = self.sim.total([piece("1..100", faults={"crash": 0.5}, red=1, red_seeds=[7]),
                            piece("101..400", valid=290, invalid=10, faults={"crash": 0.1}, settle_max_ms=9)])
        self.assertEqual((s["range"], s["valid"], s["invalid"], s["red"]), ("1..400", 390, 10, 1))
        self.assertEqual((s["faults"], s["ratio"], s["settle_max_ms"], s["red_seeds"]), ({"crash": 0.2}, 0.0025, 9, [7]))

    def test_pieces_are_aligned_and_leave_nothing_out(self):
        self.assertEqual(list(self.sim.pieces_of(50, 310, 100)), ["50..100", "101..200", "201..300", "301..310"])

    def test_what_is_well_is_green(self):
        self.assertEqual(self.codes(valid=950, invalid=50, faults={"crash": 0.01}), [])

    def test_a_red_seed(self):
        self.assertEqual(self.codes(red=1, red_seeds=[1]), [1])

    def test_a_fault_that_strikes_too_seldom(self):
        self.assertEqual(self.codes(faults={"crash": 1.0, "torn-tail": 0.009}), [1])
        few = self.sim.total([piece("1..199", valid=199, faults={"torn-tail": 0.0})])
        self.assertEqual(self.sim.judge([few]), [])  # so few say nothing

    def test_too_many_that_do_not_count(self):
        self.assertEqual(self.codes(valid=949, invalid=51), [2])


class Face(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.results = pathlib.Path(folder.name) / "results"
        self.program = pathlib.Path(folder.name) / "program"
        self.program.write_text("#!/bin/sh\nexit 134\n")
        self.program.chmod(0o755)
        self.sim = load()
        self.sim.SIM = str(self.program)
        self.real, self.sim.simulate = self.sim.simulate, self.simulate
        self.sim.shrink_some = lambda sums: None
        self.asked, self.share = [], {}

    def simulate(self, seeds, voters, mode, mutant=None, *more):
        """A piece of which `share` percent are red or invalid."""
        self.asked.append((voters, mode, seeds))
        first, last = map(int, seeds.split(".."))
        n = last - first + 1
        red, invalid = (self.share.get(kind, 0) * n // 100 for kind in ("red", "invalid"))
        return (piece(seeds, voters=voters, mode=mode, mutant=mutant, valid=n - invalid, invalid=invalid, red=red,
                      faults=self.share.get("faults", {"crash": 1.0})),
                [{"seed": first + i, "red": True, "invariant": "order", "why": ""} for i in range(red)])

    def face(self, *args):
        """(exit code, JSON lines, talk); what was asked for is forgotten before."""
        self.asked = []
        out, talk = io.StringIO(), io.StringIO()
        argv = ["sim.py", *args, "--jobs", "1", "--results", str(self.results)]
        with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(talk):
            try:
                code = self.sim.main()
            except SystemExit as e:
                code = e.code
        return code, [json.loads(line) for line in out.getvalue().splitlines()], talk.getvalue()

    def test_a_range_goes_on_where_it_was(self):
        self.assertEqual(self.face("--seeds", "1..200", "--mode", "b")[0], 0)
        self.assertEqual(self.asked, [(3, "b", "1..100"), (3, "b", "101..200")])
        with open(self.results, "a") as f:
            f.write('{"half a li')
        code, sums, _ = self.face("--seeds", "1..300", "--mode", "b")
        self.assertEqual((code, self.asked, sums[0]["valid"]), (0, [(3, "b", "201..300")], 300))
        self.program.write_text("another build")
        self.face("--seeds", "1..100", "--mode", "b")
        self.assertEqual(self.asked, [(3, "b", "1..100")])

    def test_the_gate_is_so_many_valid_seeds_in_each_mode_and_size(self):
        self.share = {"invalid": 4}
        code, sums, _ = self.face("gate", "--valid", "900")
        self.assertEqual((code, [(s["voters"], s["mode"]) for s in sums]), (0, [(v, m) for v in (3, 5) for m in "abc"]))
        self.assertTrue(all(s["valid"] >= 300 for s in sums))
        self.assertEqual(len(self.asked), len(set(self.asked)))
        self.assertEqual((self.face("gate", "--valid", "900")[0], self.asked), (0, []))
        self.face("gate", "--valid", "900", "--fresh")
        self.assertEqual(len(self.asked), len(set(self.asked)))
        self.assertEqual(len(self.asked), 24)

    def test_the_gate_can_fail(self):
        for share, code, text in [({"red": 1}, 1, "red: seeds"), ({"invalid": 6}, 2, "did too little"),
                                  ({"invalid": 100}, 2, "valid seeds of 900"),
                                  ({"faults": {"crash": 1.0, "eio": 0.002}}, 1, "eio struck 0.20%"),
                                  ({"red": 1, "invalid": 50}, 1, "did too little")]:
            self.share = share
            found, _, talk = self.face("gate", "--valid", "900", "--fresh")
            self.assertEqual(found, code, share)
            self.assertIn("NOT MET", talk)
            self.assertIn(text, talk)

    def test_without_corrections_it_must_be_red_enough(self):
        self.share = {"red": 10}
        off = ("gate", "--off", "--off-seeds", "200")
        code, sums, talk = self.face(*off)
        self.assertEqual((code, [s["mutant"] for s in sums], talk.count(": met")), (0, ["guard-all"] * 4, 4))
        self.assertEqual(self.asked, [(v, m, r) for v in (3, 5) for m in "ac" for r in ("1..100", "101..200")])
        self.assertEqual((self.face(*off)[0], self.asked), (0, []))
        self.share = {"red": 9}  # enough for the islands, not for the hammer
        code, _, talk = self.face(*off, "--fresh")
        self.assertEqual((code, talk.count("NOT MET"), talk.count(": met")), (1, 2, 2))

    def test_a_mutant_that_is_not_found(self):
        listed = mock.Mock(stdout=json.dumps({"mutant": "bug", "bug": "one"}))
        with mock.patch.object(self.sim.subprocess, "run", lambda *a, **k: listed):
            self.assertEqual(self.face("--mutants", "--mutant", "bug")[0], 1)
            self.assertEqual(sum(int(seeds.split("..")[1]) for _, _, seeds in self.asked), 199)  # of 200, in whole shares
            self.share = {"red": 50}
            code, lines, _ = self.face("--mutants", "--mutant", "bug")
        self.assertEqual((code, lines[0]["seed"], lines[0]["invariant"]), (0, 1, "order"))

    def test_a_simulator_that_breaks_is_no_result(self):
        self.sim.simulate = self.real
        with self.assertRaisesRegex(RuntimeError, "status 134"):
            self.face("--seeds", "1..100", "--mode", "b")
        self.assertFalse(self.results.exists())

    def test_wrong_usage(self):
        for args in (["--seeds", "1-5"], ["--seeds", "a..b"], [], ["--seed", "x"], ["--mode", "d"]):
            self.assertEqual(self.face(*args)[0], 64, args)
        self.assertEqual(self.asked, [])


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""The clock and the statistics of the benches, without a cluster."""
import pathlib
import sys
import time
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent.parent / "tests" / "bench")]
import failover  # noqa: E402
import figures  # noqa: E402


class Figures(unittest.TestCase):
    def test_percentiles_are_values_that_were_measured(self):
        values = list(range(1, 101))
        self.assertEqual([figures.percentile(values, p) for p in (0, 50, 90, 99, 100)], [1, 50, 90, 99, 100])
        self.assertEqual(figures.percentile([7], 99), 7)

    def test_an_answer_that_never_came_is_counted_and_shown(self):
        got = figures.summary([1.0, 2.0, float("inf")])
        self.assertEqual((got["n"], got["min"], got["p50"], got["max"]), (3, 1.0, 2.0, None))

    def test_nothing_measured_has_no_figures(self):
        self.assertEqual(figures.summary([])["n"], 0)
        self.assertIsNone(figures.summary([])["p50"])


class Clock(unittest.TestCase):
    def test_the_clock_starts_before_the_fault_and_no_request_is_older_than_it(self):
        sent, fault_at = [], []

        def fault():
            time.sleep(0.05)
            fault_at.append(time.monotonic())

        def attempt(_target):
            sent.append(time.monotonic())
            return time.monotonic() > fault_at[0] + 0.1

        took = failover.first_answer_ms({"commit": (attempt, [1, 2])}, fault)
        self.assertGreaterEqual(min(sent), fault_at[0])
        self.assertGreaterEqual(took["commit"], 150)
        self.assertLess(took["commit"], 400)

    def test_an_attempt_that_fails_with_an_error_is_tried_again(self):
        count = []

        def attempt(_target):
            count.append(1)
            if len(count) < 20:
                raise ConnectionRefusedError
            return True

        self.assertIsNotNone(failover.first_answer_ms({"commit": (attempt, [1])}, lambda: None)["commit"])


if __name__ == "__main__":
    unittest.main()

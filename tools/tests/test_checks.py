# SPDX-License-Identifier: Apache-2.0
"""Each check must be able to fail: it is given a planted fault and has to find it."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent)]
sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent / "dev")]
import check_core  # noqa: E402
import check_includes  # noqa: E402
import check_release  # noqa: E402
import check_text  # noqa: E402
from judge import judge  # noqa: E402
from source_rules import TOP, Rules  # noqa: E402


class Judge(unittest.TestCase):
    def test_an_area_passes_only_with_exit_0_and_a_closing_line(self):
        self.assertEqual(judge(0, 9, "x\n3 passed, 0 failed, 0 skipped\n", set()), (3, 0, 0, ""))
        self.assertEqual(judge(1, 9, "3 passed, 0 failed, 0 skipped\n", set()), (3, 1, 0, "exited 1"))
        self.assertEqual(judge(0, 9, "all is well\n", set())[1:], (1, 0, "printed no closing line"))
        self.assertEqual(judge(124, 9, "3 passed, 0 failed, 0 skipped\n", set())[1], 1)

    def test_a_failure_counts_even_when_the_runner_exits_0(self):
        self.assertEqual(judge(0, 9, "3 passed, 2 failed, 0 skipped\n", set()), (3, 2, 0, "2 failed"))

    def test_an_area_that_ran_nothing_fails(self):
        self.assertEqual(judge(0, 9, "0 passed, 0 failed, 0 skipped\n", set())[3], "ran no test")

    def test_a_skip_needs_a_name_and_a_permission(self):
        log = "SKIP unit/a/b no cgroups\n3 passed, 0 failed, 1 skipped\n"
        self.assertEqual(judge(0, 9, log, {"unit/a/b"}), (3, 0, 1, ""))
        self.assertIn("does not name", judge(0, 9, log, {"unit/a"})[3])
        self.assertIn("named 0", judge(0, 9, "3 passed, 0 failed, 1 skipped\n", set())[3])

    def test_the_last_closing_line_counts(self):
        log = "1 passed, 0 failed, 0 skipped\n1 passed, 1 failed, 0 skipped\n"
        self.assertEqual(judge(0, 9, log, set())[1], 1)


class Includes(unittest.TestCase):
    def faults(self, name, text):
        return check_includes.faults_of(Rules(), name, text)

    def test_arrows_point_down_only(self):
        self.assertEqual(self.faults("src/wire/x.c", '#include "base/buf.h"\n'), [])
        self.assertIn("may not include", self.faults("src/base/x.c", '#include "wire/resources.h"\n')[0])
        self.assertIn("may not include", self.faults("src/consensus/x.c", '#include "scheduler/state.h"\n')[0])
        self.assertIn("belongs to", self.faults("src/scheduler/master.c", "#include <raft.h>\n")[0])

    def test_uv_and_shells_stay_out_of_pure_files(self):
        self.assertIn("uv.h", self.faults("src/scheduler/state.c", "#include <uv.h>\n")[0])
        self.assertEqual(self.faults("src/scheduler/master.c", "#include <uv.h>\n"), [])
        self.assertIn("not pure", self.faults("src/scheduler/state.c", '#include "consensus/replica.h"\n')[0])

    def test_a_new_file_of_the_scheduler_is_a_shell_or_pure(self):
        self.assertIn("shell or pure", self.faults("src/scheduler/unheard_of.c", "")[0])

    def test_a_header_must_exist(self):
        self.assertIn("no header of ours", self.faults("src/wire/x.c", '#include "base/nothing.h"\n')[0])


class Core(unittest.TestCase):
    def faults(self, code):
        with tempfile.TemporaryDirectory() as folder:
            source, made = pathlib.Path(folder, "x.c"), pathlib.Path(folder, "x.o")
            source.write_text(code)
            subprocess.run(["gcc", "-O1", "-fPIE", "-c", str(source), "-o", str(made)], check=True)
            return check_core.faults_of("x.c", made)

    def test_plain_code_with_constant_tables_passes(self):
        self.assertEqual(self.faults('#include <string.h>\nstatic const char *const names[] = {"a", "b"};\n'
                                     "const char *f(int i, char *p) { memset(p, 0, 9); return names[i]; }\n"), [])

    def test_a_clock_a_random_number_a_file_and_the_environment_are_found(self):
        for call in ("time(0)", "rand()", 'open("x", 0)', 'getenv("x")', "uv_hrtime()", 'printf("%d", 1)'):
            code = "long time(long *); int rand(void); int open(const char *, int, ...); char *getenv(const char *);\n" \
                   "unsigned long uv_hrtime(void); int printf(const char *, ...);\n" \
                   f"long f(void); long f(void) {{ return (long){call}; }}\n"
            self.assertEqual(len(self.faults(code)), 1, call)

    def test_writable_globals_are_found_also_when_static(self):
        self.assertIn("writable global", self.faults("int f(void); int f(void) { static int n; return n++; }\n")[0])
        self.assertIn("writable global", self.faults("int n = 3;\n")[0])

    def test_float_arithmetic_is_found(self):
        self.assertIn("float", self.faults("double f(double a); double f(double a) { return a * 3; }\n")[0])


class Text(unittest.TestCase):
    def test_names_that_do_not_belong_in_the_tree_are_found(self):
        head = "/* SPDX-License-Identifier: Apache-2.0 */\n"
        self.assertEqual(check_text.faults_of("src/x.c", head + "int a; /* fine */\n"), [])
        for line in ("see https://pypi" ".org/x", "cd /wo" "rk/main", "read .." "/shared/x", "/* TO" "DO */", "int a; // no",
                     "  #if 0"):
            self.assertEqual(len(check_text.faults_of("src/x.c", head + line + "\n")), 1, line)

    def test_a_long_file_and_a_missing_licence_are_found(self):
        self.assertIn("801 lines", check_text.faults_of("src/x.c", "/* SPDX-License-Identifier: Apache-2.0 */\n" + "\n" * 800)[0])
        self.assertIn("SPDX", check_text.faults_of("src/x.c", "int a;\n")[0])


class Release(unittest.TestCase):
    def test_a_test_switch_in_a_binary_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            source, made = pathlib.Path(folder, "x.c"), str(pathlib.Path(folder, "x"))
            script = TOP / "tools/check_release.py"
            for code, status in (("int main(void) { return 0; }", 0),
                                 ("static int guard_test_bits; int main(int c, char **v) { (void)v; return guard_test_bits = c; }", 1)):
                source.write_text(code)
                subprocess.run(["gcc", "-O0", str(source), "-o", made], check=True)
                self.assertEqual(subprocess.run([sys.executable, str(script), made], capture_output=True, check=False).returncode, status)


if __name__ == "__main__":
    unittest.main()

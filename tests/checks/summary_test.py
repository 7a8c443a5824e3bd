#!/usr/bin/env python3
"""Runs the summary over results written by hand: it must count right and fail when it should."""
import contextlib
import io
import os
import tempfile

import summary

PASS = '<testcase name="{0}" time="1" status="run"><system-out>fine</system-out></testcase>'
FAIL = ('<testcase name="{0}" time="1" status="fail"><failure message=""/>'
        "<system-out>it broke\nhere</system-out></testcase>")
NOT_BUILT = ('<testcase name="{0}" time="0" status="notrun">'
             '<skipped message="Unable to find executable"/></testcase>')
GTEST_SKIP = ('<testcase name="{0}" time="0" status="notrun">'
              '<skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/><system-out>'
              "[ RUN      ] A.b\n/a/b_test.cc:7: Skipped\nno RDMA device\n\n[  SKIPPED ] A.b (0 ms)"
              "</system-out></testcase>")
SCRIPT_SKIP = ('<testcase name="{0}" time="0" status="notrun">'
               '<skipped message="SKIP_RETURN_CODE=77"/>'
               "<system-out>skipped: no clang-format</system-out></testcase>")


TEST_LOG = "  3/17 Test  #3: case0 .......***Exception: SegFault  0.02 sec\n"


def run(**presets):
    """Exit code and printed lines for presets given as (status, cases or None for no file)."""
    with tempfile.TemporaryDirectory() as folder:
        for preset, (status, cases) in presets.items():
            if status is not None:
                with open(os.path.join(folder, preset + ".status"), "w", encoding="utf-8") as file:
                    file.write(status + "\n")
            with open(os.path.join(folder, preset + ".test.log"), "w", encoding="utf-8") as file:
                file.write(TEST_LOG)
            if cases is not None:
                with open(os.path.join(folder, preset + ".xml"), "w", encoding="utf-8") as file:
                    file.write("<testsuite>" + "".join(
                        case.format(f"case{i}") for i, case in enumerate(cases)) + "</testsuite>")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = summary.main(folder, list(presets))
        return code, out.getvalue().splitlines()


def expect(code, closing, *lines, **presets):
    actual, printed = run(**presets)
    text = "\n".join(printed)
    assert actual == code, (actual, text)
    assert printed[-1] == closing, text
    for line in lines:
        assert line in text, (line, text)


expect(0, "3 passed, 0 failed, 0 skipped",
       release=("ok", [PASS, PASS]), asan=("ok", [PASS]))
expect(0, "1 passed, 0 failed, 2 skipped", "case1 [release]: no RDMA device",
       "case2 [release]: no clang-format", release=("ok", [PASS, GTEST_SKIP, SCRIPT_SKIP]))
expect(1, "1 passed, 1 failed, 0 skipped", "FAILED  asan  case0  (Exception: SegFault)", "    it broke\n    here",
       release=("ok", [PASS]), asan=("ctest failed", [FAIL]))
expect(1, "1 passed, 1 failed, 0 skipped", "Unable to find executable",
       release=("ctest failed", [PASS, NOT_BUILT]))
expect(1, "1 passed, 1 failed, 0 skipped", "tsan  the preset as a whole  (build failed)",
       release=("ok", [PASS]), tsan=("build failed", None))
expect(1, "1 passed, 1 failed, 0 skipped", "(it never finished)",
       release=("ok", [PASS]), tsan=(None, None))
expect(1, "1 passed, 1 failed, 0 skipped", "(ctest failed)", release=("ctest failed", [PASS]))
expect(1, "1 passed, 1 failed, 0 skipped", "(no test ran)", release=("ok", [PASS]), tsan=("ok", []))
expect(1, "0 passed, 0 failed, 1 skipped", release=("ok", [GTEST_SKIP]))
print("the summary counts right")

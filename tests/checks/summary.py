#!/usr/bin/env python3
"""Prints the one summary of `./dev test` from the JUnit files that ctest left.

usage: summary.py RESULTS_FOLDER PRESET...

For each preset it reads PRESET.xml and PRESET.status (`ok`, or what went wrong). The last line is
`N passed, N failed, N skipped`. The exit is non-zero if a test failed, a build failed, a test
program could not run, or no test ran at all. A build that failed counts as one failure.
"""
import os
import re
import sys
import xml.etree.ElementTree as ElementTree

TAIL_LINES = 40


class Case:
    def __init__(self, preset, name, outcome, detail, output, seconds):
        self.preset, self.name, self.outcome = preset, name, outcome
        self.detail, self.output, self.seconds = detail, output, seconds


def skip_reason(output, fallback):
    """The message of GTEST_SKIP(), or of a script's line `skipped: REASON`."""
    script = re.search(r"^skipped: (.+)$", output, re.MULTILINE)
    if script:
        return script.group(1).strip()
    # GoogleTest prints `FILE:LINE: Skipped`, the message, an empty line, `[  SKIPPED ]`.
    gtest = re.search(r": Skipped\n(.*?)(?:\n\s*\n|\n?\[  SKIPPED|\Z)", output, re.DOTALL)
    if gtest and gtest.group(1).strip():
        return " ".join(gtest.group(1).split())
    return fallback


def failure_kind(name, log):
    """How ctest named the failure (Failed, Timeout, Exception: SegFault): its XML does not say."""
    line = re.search(r"Test +#\d+: " + re.escape(name) + r" \.*(.+?) +[\d.]+ sec", log)
    return " ".join(line.group(1).replace("*", " ").split()) if line else "Failed"


def read_cases(preset, path, log):
    for element in ElementTree.parse(path).getroot().iter("testcase"):
        output = element.findtext("system-out") or ""
        status = element.get("status")
        failure, skipped = element.find("failure"), element.find("skipped")
        message = ""
        for mark in (failure, skipped):
            if mark is not None:
                message = mark.get("message") or ""
        if status == "run":
            outcome = "passed"
        elif skipped is not None and message.startswith(("SKIP_REGULAR", "SKIP_RETURN")):
            outcome, message = "skipped", skip_reason(output, "no reason given")
        else:
            # A test that could not even start ("notrun": not built, fixture failed) is a failure,
            # and so is a disabled one: nobody may switch a test off without being seen.
            outcome = "failed"
            message = message or failure_kind(element.get("name"), log)
        yield Case(preset, element.get("name"), outcome, message, output,
                   float(element.get("time") or 0))


def tail(text, lines=TAIL_LINES):
    kept = text.rstrip().splitlines()[-lines:]
    return "\n".join("    " + line for line in kept)


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def complaints(build_log):
    """A build's log without its progress and the compiler's command lines."""
    return "\n".join(line for line in build_log.splitlines()
                     if not re.match(r"\[\d+/\d+\] ", line) and len(line) < 500)


def collect(folder, preset):
    """All cases of a preset, with one more, failed, if something but a test went wrong."""
    status = read_text(os.path.join(folder, preset + ".status")).strip() or "it never finished"
    cases, xml = [], os.path.join(folder, preset + ".xml")
    test_log = read_text(os.path.join(folder, preset + ".test.log"))
    if os.path.exists(xml):
        try:
            cases = list(read_cases(preset, xml, test_log))
        except ElementTree.ParseError as error:
            status = f"its results cannot be read: {error}"
    if status != "ok" and not any(case.outcome == "failed" for case in cases):
        log = test_log
        if status == "build failed":
            log = complaints(read_text(os.path.join(folder, preset + ".build.log")))
        cases.append(Case(preset, "the preset as a whole", "failed", status, log, 0))
    elif not cases:
        cases.append(Case(preset, "the preset as a whole", "failed", "no test ran", "", 0))
    return cases


def count(cases, outcome):
    return sum(case.outcome == outcome for case in cases)


def closing(cases):
    return "{} passed, {} failed, {} skipped".format(
        *(count(cases, outcome) for outcome in ("passed", "failed", "skipped")))


def main(folder, presets):
    cases = [case for preset in presets for case in collect(folder, preset)]
    skips = {}
    for case in cases:
        if case.outcome == "failed":
            print(f"\nFAILED  {case.preset}  {case.name}  ({case.detail})")
            print(tail(case.output))
        elif case.outcome == "skipped":
            skips.setdefault((case.name, case.detail), []).append(case.preset)
    if skips:
        print("\nskipped:")
        for (name, reason), where in sorted(skips.items()):
            print(f"  {name} [{', '.join(where)}]: {reason}")
    print()
    for preset in presets:
        own = [case for case in cases if case.preset == preset]
        print(f"{preset:8} {closing(own)}  ({sum(case.seconds for case in own):.0f} s of tests)")
    print()
    print(closing(cases))
    passed = count(cases, "passed") > 0 and count(cases, "failed") == 0
    return 0 if passed else 1


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))

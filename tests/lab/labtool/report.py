"""What became of the tests: lines for whoever waits, and a JUnit file as ctest writes it, which the
summary of ./dev test reads."""
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple


class Outcome(NamedTuple):
    name: str
    kind: str  # passed, failed, skipped
    detail: str
    seconds: float

    def line(self) -> str:
        text = f"{self.kind:8}{self.name}  ({self.seconds:.1f} s)"
        if self.detail:
            text += "\n" + "\n".join("        " + line for line in self.detail.splitlines())
        return text


def closing(outcomes: list[Outcome]) -> str:
    count = {kind: sum(o.kind == kind for o in outcomes)
             for kind in ("passed", "failed", "skipped")}
    return "{passed} passed, {failed} failed, {skipped} skipped".format(**count)


def write_results(folder: Path, outcomes: list[Outcome]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    suite = ElementTree.Element("testsuite", name="lab", tests=str(len(outcomes)))
    for outcome in outcomes:
        case = ElementTree.SubElement(
            suite, "testcase", name=outcome.name, time=f"{outcome.seconds:.2f}",
            status={"passed": "run", "failed": "fail", "skipped": "notrun"}[outcome.kind])
        output = outcome.detail
        if outcome.kind == "failed":
            ElementTree.SubElement(case, "failure",
                                   message=(outcome.detail.splitlines() or ["?"])[-1])
        elif outcome.kind == "skipped":
            ElementTree.SubElement(case, "skipped", message="SKIP_RETURN_CODE")
            output = f"skipped: {outcome.detail}"
        ElementTree.SubElement(case, "system-out").text = output
    ElementTree.ElementTree(suite).write(folder / "lab.xml", encoding="utf-8")
    failed = any(outcome.kind == "failed" for outcome in outcomes)
    (folder / "lab.status").write_text("tests failed\n" if failed else "ok\n")

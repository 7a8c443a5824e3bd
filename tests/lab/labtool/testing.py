"""`./dev lab test`: runs what stands in tests/lab/cases in a lab of its own.

A case is a function `test_...(cluster)` of a file `..._test.py` (see cluster.py for what it can do;
`nodes` and `seconds` may be set by @case), or an executable `..._test.sh`, which finds the tool in
$LAB and exits with 77 after `skipped: REASON` where it cannot run.
"""
import argparse
import importlib.util
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from labtool.client import Lab
from labtool.cluster import Cluster, Skip
from labtool.hosts import Hosts, NotOnHosts
from labtool.places import PROJECT, TEST_STATE, LabError, Unavailable, say
from labtool.report import Outcome, closing, write_results

CASES = PROJECT / "tests" / "lab" / "cases"
RESULTS = PROJECT / "build" / "results"
SECONDS = 120
LEAST_NODES = 2


class Case(NamedTuple):
    name: str
    run: Callable[[Cluster], None]
    nodes: int
    seconds: int


def case(nodes: int = 2, seconds: int = SECONDS) -> Callable[[Any], Any]:
    """Says how many nodes a test needs, and how long it may take at most."""
    def mark(function: Any) -> Any:
        function.nodes, function.seconds = nodes, seconds
        return function
    return mark


def collect() -> list[Case]:
    found = []
    for path in sorted(CASES.glob("*_test.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if not spec or not spec.loader:
            raise LabError(f"{path} cannot be read")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, function in vars(module).items():
            if name.startswith("test_") and callable(function):
                found.append(Case(f"{path.stem.removesuffix('_test')}.{name[5:]}", function,
                                  getattr(function, "nodes", 2),
                                  getattr(function, "seconds", SECONDS)))
    for path in sorted(CASES.glob("*_test.sh")):
        found.append(Case(path.stem.removesuffix("_test"), script(path), 2, 600))
    return found


def script(path: Path) -> Callable[[Cluster], None]:
    def run(cluster: Cluster) -> None:
        result = subprocess.run([str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, check=False,
                                env=cluster.environment)
        if result.returncode == 77:
            reasons = [line[9:] for line in result.stdout.splitlines()
                       if line.startswith("skipped: ")]
            raise Skip(reasons[-1] if reasons else "no reason given")
        assert result.returncode == 0, f"exit status {result.returncode}\n{result.stdout[-4000:]}"
    return run


class TooLong(Exception):
    pass


def run_case(found: Case, cluster: Cluster, nodes: int) -> Outcome:
    began = time.monotonic()

    def too_long(*_: object) -> None:
        raise TooLong(f"no end after {found.seconds} s")

    kind, detail = "passed", ""
    try:
        if found.nodes > nodes:
            raise Skip(f"needs {found.nodes} nodes: ./dev lab test --nodes {found.nodes}")
        signal.signal(signal.SIGALRM, too_long)
        signal.alarm(found.seconds)
        found.run(cluster)
    except (Skip, NotOnHosts) as reason:
        kind, detail = "skipped", str(reason)
    except Exception:  # Whatever a test raises is its failure.
        kind, detail = "failed", traceback.format_exc().strip()
    finally:
        signal.alarm(0)
    return Outcome(found.name, kind, detail, time.monotonic() - began)


def terminate(*_: object) -> None:
    sys.exit(143)


def main(arguments: list[str], hosts: Optional[Hosts] = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev lab test")
    parser.add_argument("-k", metavar="WORD", default="", help="tests whose name contains WORD")
    parser.add_argument("-l", "--list", action="store_true", help="only print the tests' names")
    parser.add_argument("--nodes", type=int,
                        help="guests in the lab (2, and more for the tests that need more)")
    options = parser.parse_args(arguments)
    cases = [found for found in collect() if options.k in found.name]
    if options.list:
        print("\n".join(found.name for found in cases))
        return 0
    if not cases:
        raise LabError(f"no test is called like '{options.k}'")
    began = time.monotonic()
    outcomes: list[Outcome] = []
    signal.signal(signal.SIGTERM, terminate)
    if hosts:
        outcomes = run_all(cases, hosts, len(hosts.hosts))
        return finish(outcomes, began)
    lab = Lab(TEST_STATE)
    try:
        if lab.down():
            say("took down a lab that an earlier test had left")
        for nodes in sorted({options.nodes or max(LEAST_NODES, found.nodes) for found in cases}):
            booting = time.monotonic()
            lab.up(nodes, owned=True)
            say(f"{nodes} nodes are up after {time.monotonic() - booting:.1f} s")
            outcomes += run_all([found for found in cases if nodes == (
                options.nodes or max(LEAST_NODES, found.nodes))], lab, nodes)
            lab.down()
    except Unavailable as error:
        print(f"skipped: {error}", flush=True)
        write_results(RESULTS, [Outcome("lab", "skipped", str(error), 0.0)])
        return 77
    finally:
        lab.down()
    return finish(outcomes, began)


def finish(outcomes: list[Outcome], began: float) -> int:
    write_results(RESULTS, outcomes)
    print(f"{closing(outcomes)}  ({time.monotonic() - began:.0f} s)")
    return 1 if any(outcome.kind == "failed" for outcome in outcomes) else 0


def run_all(cases: list[Case], lab: "Lab | Hosts", nodes: int) -> list[Outcome]:
    outcomes: list[Outcome] = []
    cluster: Optional[Cluster] = None
    for found in cases:
        if cluster is None:
            cluster = Cluster(lab)
        outcome = run_case(found, cluster, nodes)
        try:
            cluster.mend()
        except LabError as error:
            outcome = outcome._replace(
                kind="failed", detail=f"{outcome.detail}\nafterwards: {error}".strip())
            if isinstance(lab, Hosts):
                raise
            say("making the lab anew")
            lab.down()
            lab.up(nodes, owned=True)
            cluster = None
        print(outcome.line(), flush=True)
        outcomes.append(outcome)
    return outcomes

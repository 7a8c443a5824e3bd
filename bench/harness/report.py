"""The table: what was measured, on which machine, and where it may be written."""
import os
import platform
import re
import shutil
import statistics
import subprocess

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def first_line(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True,
                              timeout=10).stdout.splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def machine_facts(build, cores):
    cpu = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    cache = {}
    with open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8") as file:
        for line in file:
            found = re.match(r"(CMAKE_CXX_COMPILER|CMAKE_BUILD_TYPE):\w+=(.*)", line)
            if found:
                cache[found[1]] = found[2]
    ucx = first_line(["ucx_info", "-v"]) if shutil.which("ucx_info") else "not installed"
    return {
        "CPU": f"{cpu}, {os.cpu_count()} cores; the sides run on {cores[0]} and {cores[1]}",
        "kernel": platform.release(),
        "UCX": ucx.lstrip("# ").removeprefix("Version ").removeprefix("Library version: "),
        "compiler": first_line([cache.get("CMAKE_CXX_COMPILER", "c++"), "--version"]) +
                    ", " + cache.get("CMAKE_BUILD_TYPE", "unknown"),
        "Godwit": first_line(["git", "-C", os.path.dirname(os.path.abspath(__file__)), "log", "-1",
                              "--format=%h of %cs"]),
        "load before": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()),
    }


def number(value):
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= 10 else f"{value:.3f}"


def spread(values, unit):
    if not values:
        return ""
    text = f"{number(statistics.median(values))} {unit}"
    if len(values) > 1:
        text += f" ({number(min(values))}–{number(max(values))})"
    return text


def cells(row):
    """One row of the table, as text: what, Godwit, peer, ratio, bar, met."""
    measure = row["measure"]
    unit = measure.metric.unit
    peer = spread(row["peer"], unit)
    if peer and measure.peer_name:
        peer += f", {measure.peer_name}"
    godwit = spread(row["godwit"], unit)
    for failure in row["failures"]:
        godwit = f"{godwit}; {failure}" if godwit else failure
    bar = ""
    if measure.bar is not None:
        bar = ("≥ " if measure.metric.higher_is_better else "≤ ") + f"{measure.bar:g}"
    if measure.limit is not None:
        bar = f"≤ {measure.limit:g} {unit}"
    met = measure.met(row["ratio"], statistics.median(row["godwit"]) if row["godwit"] else None)
    if row["awake"]:
        godwit += f"; hardly slept in {row['awake']} runs, so this is no sleeping side's number"
        met = None
    return [measure.what, godwit, peer, "" if row["ratio"] is None else f"{row['ratio']:.2f}", bar,
            "" if met is None else ("yes" if met else "**no**")]


STEPS = [
    ("closed", "gate shut until no request was running"),
    ("transferred", "the rest of the state and the channels' images sent"),
    ("restored", "arrived until ready to serve"),
    ("committed", "the write of the directory"),
    ("target_blackout", "arrived until the gate was open: restored, the agent's part, the commit"),
    ("blackout", "all of it: closed, transferred, and the target's part"),
]


def steps(rows):
    """Where the time of the moves went: medians over all moves of the last run."""
    lines = []
    for row in rows:
        results = getattr(row["measure"].godwit, "results", None)
        if not results:
            continue
        last = results[-1]
        lines += ["", f"Steps of {last['moves']} moves with {last['state_bytes'] >> 20} MiB of state, as the "
                  "processes and agents measured them (medians):", "", "| step | ms | what |",
                  "| --- | --- | --- |"]
        lines += [f"| {name} | {last['steps_ms'][name]:.3f} | {what} |" for name, what in STEPS]
    return lines


def markdown(rows, facts, repeat):
    lines = ["| what | Godwit | beside | ratio | bar | met |", "| --- | --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    lines += ["", f"Median of {repeat} runs (least–most); the ratio is the median of those of neighbouring runs."]
    lines += steps(rows) + [""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    return "\n".join(lines)


def as_json(rows, facts, repeat):
    return {
        "machine": facts,
        "repeat": repeat,
        "measures": [{
            "name": row["measure"].name, "what": row["measure"].what,
            "unit": row["measure"].metric.unit,
            "higher_is_better": row["measure"].metric.higher_is_better,
            "godwit": row["godwit"], "peer": row["peer"], "peer_name": row["measure"].peer_name,
            "ratio": row["ratio"], "bar": row["measure"].bar, "limit": row["measure"].limit,
            "met": row["measure"].met(row["ratio"], statistics.median(row["godwit"]) if row["godwit"]
                                      else None), "failures": row["failures"],
            "runs_that_hardly_slept": row["awake"],
        } for row in rows],
    }


def write_table(path, table, begin=BEGIN, end=END):
    """Replaces what stands between the markers."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{path} has no lines {begin} and {end}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{head}{begin}\n\n{table}\n\n{end}{tail}")

"""Starts the programs that are measured: pairs of processes, each pinned to a core of its own."""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

LIMIT = 120  # seconds that one run may take


class RunFailed(Exception):
    """A program did not give a result; the message says why in one line."""


class Absent(Exception):
    """The machine or the build lacks a program; the message says which."""


def last_words(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def stop(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Machine:
    """Where and how programs run: the build, the two cores, and the private agent."""

    def __init__(self, build, embedded):
        self.bin = os.path.join(build, "bin")
        self.embedded = embedded
        cores = sorted(os.sched_getaffinity(0))
        self.cores = (cores[0], cores[-1])
        self.runtime_directory = None

    def program(self, name):
        path = os.path.join(self.bin, name)
        if not os.path.exists(path):
            raise Absent(f"{path} is not built")
        return path

    def pinned(self, which, command):
        return ["taskset", "-c", str(self.cores[which]), *command]

    @contextlib.contextmanager
    def agent(self):
        """A private godwitd with a local directory and the DC `bench`, for as long as the context."""
        if self.embedded:
            yield
            return
        folder = tempfile.mkdtemp(prefix="godwit-bench-")
        log = open(os.path.join(folder, "godwitd.log"), "w+", encoding="utf-8")
        run = os.path.join(folder, "run")
        agent = None
        try:
            agent = subprocess.Popen(
                [self.program("godwitd"), "--node", "bench", "--run", run, "--state",
                 os.path.join(folder, "state"), "--directory",
                 "local:" + os.path.join(folder, "directory"), "--create-dc", "bench"],
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            deadline = time.monotonic() + 15
            while not os.path.exists(os.path.join(run, "agent.sock")):
                if agent.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RunFailed("godwitd does not start: " + last_words(log.read()))
                time.sleep(0.02)
            self.runtime_directory = run
            yield
        finally:
            if agent:
                stop(agent)
            log.close()
            shutil.rmtree(folder, ignore_errors=True)


def run_pair(server, client, ready=None):
    """Runs two commands (argument list, environment) against each other: the client's output."""
    environment = lambda extra: {**os.environ, **extra}
    first = subprocess.Popen(server[0], env=environment(server[1]), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        if ready:
            deadline = time.monotonic() + 10
            while not ready():
                if first.poll() is not None or time.monotonic() > deadline:
                    stop(first)
                    raise RunFailed("the server does not start: " + last_words(first.stdout.read()))
                time.sleep(0.01)
        try:
            second = subprocess.run(client[0], env=environment(client[1]), timeout=LIMIT, text=True,
                                    stdin=subprocess.DEVNULL, capture_output=True, check=False)
        except subprocess.TimeoutExpired as late:
            raise RunFailed(f"no result within {LIMIT} s") from late
        if second.returncode != 0:
            stop(first)
            server_says = first.stdout.read().strip()
            raise RunFailed(last_words(second.stderr + second.stdout) +
                            (f" (server: {last_words(server_says)})" if server_says else ""))
        try:
            status = first.wait(10)
        except subprocess.TimeoutExpired as late:
            raise RunFailed("the server does not end") from late
        if status != 0:
            raise RunFailed("the server failed: " + last_words(first.stdout.read()))
        return second.stdout
    finally:
        stop(first)
        first.stdout.close()


def run_alone(command):
    try:
        done = subprocess.run(command, timeout=LIMIT, text=True, stdin=subprocess.DEVNULL,
                              capture_output=True, check=False)
    except subprocess.TimeoutExpired as late:
        raise RunFailed(f"no result within {LIMIT} s") from late
    if done.returncode != 0:
        raise RunFailed(last_words(done.stderr + done.stdout))
    return done.stdout


class Godwit:
    """Two processes attached to the private agent."""

    def __init__(self, test, transport="shm", size=64, count=100000, warmup=None, spin="poll",
                 handover=False, think=0):
        self.test, self.transport, self.size, self.count = test, transport, size, count
        self.warmup = count // 10 if warmup is None else warmup
        self.spin, self.handover, self.think = spin, handover, think

    def run(self, machine, scale):
        count = max(1, int(self.count * scale))
        warmup = max(1, int(self.warmup * scale))
        command = [machine.program("godwit_pair_bench"), "--test", self.test, "--transport",
                   self.transport, "--size", str(self.size), "--count", str(count), "--warmup",
                   str(warmup), "--spin", self.spin]
        if self.think:
            command += ["--think", str(self.think)]
        if self.handover:
            command.append("--handover")
        if machine.embedded:
            return json.loads(run_alone(command))
        command += ["--runtime-directory", machine.runtime_directory]
        return json.loads(run_pair((machine.pinned(1, command + ["--role", "server"]), {}),
                                   (machine.pinned(0, command + ["--role", "client"]), {})))


class Moves:
    """A server with state that moves between three agents under load (godwit_moves)."""

    def __init__(self, state, moves):
        self.state, self.moves = state, moves
        self.size = None
        self.results = []

    def run(self, machine, scale):
        command = [machine.program("godwit_moves"), "--json", "--state", self.state, "--moves",
                   str(max(3, int(self.moves * scale))), "--clients", "8"]
        result = json.loads(run_alone(command))
        if not result["sound"]:
            raise RunFailed("an operation was lost, doubled or reordered")
        self.results.append(result)
        return result


class SameRuns:
    """Another value of the runs that were made for the measure before."""

    def __init__(self, side):
        self.side, self.size, self.taken = side, None, 0

    def run(self, machine, scale):
        self.taken += 1
        if self.taken > len(self.side.results):
            self.side.run(machine, scale)
        return self.side.results[self.taken - 1]


class Ucx:
    """ucx_perftest over one of UCX's own transports."""

    def __init__(self, test, tls, size=64, count=100000):
        self.test, self.tls, self.size, self.count = test, tls, size, count

    def run(self, machine, scale):
        program = shutil.which("ucx_perftest")
        if not program:
            raise Absent("ucx_perftest is not installed")
        count = max(1, int(self.count * scale))
        environment = {"UCX_TLS": self.tls, "UCX_WARN_UNUSED_ENV_VARS": "n"}
        if "tcp" in self.tls:
            environment["UCX_NET_DEVICES"] = "lo"
        port = free_port()
        server = [program, "-p", str(port)]
        client = [program, "127.0.0.1", "-p", str(port), "-t", self.test, "-s", str(self.size),
                  "-n", str(count), "-w", str(max(1, count // 10)), "-f", "-v"]
        output = run_pair((machine.pinned(1, server), environment),
                          (machine.pinned(0, client), environment), lambda: listening(port))
        # iterations, then latency (50%, average, overall; us), MB/s and messages/s (average, overall)
        columns = output.strip().splitlines()[-1].split(",")
        if len(columns) != 8:
            raise RunFailed("ucx_perftest prints something else than expected")
        latency, rate = float(columns[3]), float(columns[7])
        # tag_lat gives half of the round trip; everything here is an operation's whole time.
        mean = 2000 * latency if self.test.endswith("lat") else 1e9 / rate
        return {"operations": count, "seconds": mean * count / 1e9, "mean_ns": mean}


def slept(result):
    """Whether the side that was timed slept in nearly every operation."""
    return result.get("sleeps", 0) >= 0.9 * result["operations"]


class Peer:
    """One of the kernel's own means (bench/src/peers)."""

    def __init__(self, test, size=64, count=100000, think=0):
        self.test, self.size, self.count, self.think = test, size, count, think

    def run(self, machine, scale):
        count = max(1, int(self.count * scale))
        return json.loads(run_alone(
            [machine.program("peers_bench"), "--test", self.test, "--size", str(self.size),
             "--count", str(count), "--warmup", str(max(1, count // 10)), "--parent-cpu",
             str(machine.cores[0]), "--child-cpu", str(machine.cores[1]),
             "--think", str(self.think)]))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listening(port):
    """Whether somebody listens on the port; connecting would use up the one server there is."""
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as file:
                for line in file:
                    fields = line.split()
                    if fields[1].endswith(wanted) and fields[3] == "0A":
                        return True
        except FileNotFoundError:
            pass
    return False

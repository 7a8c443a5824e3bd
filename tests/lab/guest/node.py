"""Sets a guest up as a node of the lab: mounts, name, network, soft-RoCE device."""
import ctypes
import os
import subprocess
import time
from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MODULES = ("rdma_rxe", "ib_uverbs", "rdma_ucm")
MTU = 9000  # So that the RoCE MTU is 4096, the largest.


def run(*argv: str) -> None:
    result = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {result.stdout.decode().strip()}")


def mount(source: str, target: str, kind: str, options: str = "") -> None:
    os.makedirs(target, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount {kind} on {target}")


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def kernel_arguments() -> dict[str, str]:
    with open("/proc/cmdline", encoding="ascii") as file:
        words = [word.partition("=") for word in file.read().split()]
    return {name[4:]: value for name, _, value in words if name.startswith("lab.")}


def set_up() -> dict[str, Any]:
    """Makes this guest node N, and returns what the tool likes to know of it."""
    # Not the home of the host's root, which whoever started the guest may not be able to read.
    os.makedirs("/run/home", exist_ok=True)
    os.environ.update(PATH=PATH, HOME="/run/home")
    number = int(kernel_arguments()["node"])
    mount("devpts", "/dev/pts", "devpts", "gid=5,mode=620,ptmxmode=666")
    mount("shm", "/dev/shm", "tmpfs", "mode=1777")
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2")
    mount("tracefs", "/sys/kernel/tracing", "tracefs")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"),
                         ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")):
        if not os.path.lexists(f"/dev/{name}"):
            os.symlink(target, f"/dev/{name}")
    write("/proc/sys/kernel/hostname", f"node{number}")
    # The overlay must not be asked to copy up what may belong to another user of the host.
    for file in ("/etc/hosts", "/etc/resolv.conf"):
        if os.path.lexists(file):
            os.unlink(file)
    write("/etc/hosts", "127.0.0.1 localhost\n" +
          "".join(f"10.77.0.{n} node{n}\n" for n in range(1, 9)))
    set_up_network(number)
    return {"node": number, "uptime": time.clock_gettime(time.CLOCK_BOOTTIME),
            "rxe": set_up_rxe()}


def set_up_network(number: int) -> None:
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "set", "eth0", "mtu", str(MTU), "up")
    run("ip", "address", "add", f"10.77.0.{number}/24", "broadcast", "10.77.0.255", "dev", "eth0")


def set_up_rxe() -> str:
    """Makes the device rxe0; returns what hindered it, or nothing."""
    try:
        for module in MODULES:
            run("modprobe", module)
        run("rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "eth0")
    except (RuntimeError, OSError) as error:
        return str(error)
    for device in os.listdir("/dev/infiniband"):
        os.chmod(f"/dev/infiniband/{device}", 0o666)
    return ""

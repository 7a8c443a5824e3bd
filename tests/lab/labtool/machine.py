"""How a guest is started: QEMU's command line, and whether KVM can be used."""
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from labtool.initramfs import initramfs
from labtool.kernel import Kernel, kernel, need
from labtool.places import CACHE, MAX_NODES, PROJECT, Unavailable, say

QEMU = "qemu-system-x86_64"
MEMORY_MIB = int(os.environ.get("GODWIT_LAB_MEMORY", "1024"))
MTU = 9000
PROBE_SECONDS = 15
KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable"


class Parts(NamedTuple):
    """What every guest is made of."""
    kernel: Kernel
    initramfs: Path
    accelerator: str  # kvm or tcg
    processors: int   # of each guest


def mac(node: int) -> str:
    return f"52:54:00:67:77:{node:02x}"


def prepare(nodes: int) -> Parts:
    """Everything that a lab of so many nodes needs, or Unavailable with what to do."""
    if not 1 <= nodes <= MAX_NODES:
        raise Unavailable(f"a lab has 1 to {MAX_NODES} nodes, not {nodes}")
    if os.uname().machine != "x86_64":
        raise Unavailable("the guests share this machine's files, so it must be an x86-64 one")
    need(QEMU, "busybox")
    check_memory(nodes)
    CACHE.mkdir(parents=True, exist_ok=True)
    guest_kernel = kernel()
    archive = initramfs(guest_kernel)
    found = accelerator(guest_kernel, archive)
    return Parts(guest_kernel, archive, found, processors(nodes, found))


def processors(nodes: int, accelerator_name: str) -> int:
    """Two for each guest, but one under emulation where the machine has fewer than they need: an
    emulated processor that spins takes a whole one (measured: boots take 24 s rather than 16)."""
    if "GODWIT_LAB_CPUS" in os.environ:
        return int(os.environ["GODWIT_LAB_CPUS"])
    scarce = len(os.sched_getaffinity(0)) < 2 * nodes
    return 1 if accelerator_name == "tcg" and scarce else 2


def check_memory(nodes: int) -> None:
    with open("/proc/meminfo", encoding="ascii") as file:
        facts = dict(line.split(":", 1) for line in file)
    available = int(facts["MemAvailable"].split()[0]) // 1024
    wanted = nodes * (MEMORY_MIB + 150)
    if available < wanted:
        raise Unavailable(f"{nodes} guests need {wanted} MiB of memory and {available} are free; "
                          "GODWIT_LAB_MEMORY sets the MiB of each guest (512 is the least)")


def base(parts: Parts, accelerator_name: str) -> list[str]:
    if accelerator_name == "kvm":
        speed = ["-accel", "kvm", "-cpu", "host"]
    else:
        speed = ["-accel", "tcg,thread=multi", "-cpu", "max"]
    return [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "q35", *speed, "-smp", str(parts.processors),
            "-kernel", str(parts.kernel.image), "-initrd", str(parts.initramfs)]


def command(parts: Parts, node: int, console: str, control_fd: int, network_fd: int) -> list[str]:
    """Starts node N, whose control port and network are the sockets of these descriptors."""
    arguments = (f"{KERNEL_ARGUMENTS} lab.node={node} lab.project={PROJECT} "
                 f"lab.python={os.path.realpath(sys.executable)} lab.kernel={parts.kernel.version}")
    # Without ioeventfd, and with few serial ports: QEMU's main loop polls each such descriptor at
    # each frame of the network.
    argv = [*base(parts, parts.accelerator), "-name", f"godwit-lab-node{node}",
            "-m", str(MEMORY_MIB), "-append", arguments, "-serial", f"file:{console}",
            "-device", "virtio-serial-pci,max_ports=2,ioeventfd=off",
            "-chardev", f"socket,id=control,fd={control_fd}",
            "-device", "virtserialport,chardev=control,name=lab.control",
            "-netdev", f"stream,id=net,server=off,addr.type=fd,addr.str={network_fd}",
            "-device", f"virtio-net-pci,netdev=net,mac={mac(node)},host_mtu={MTU},romfile=,"
            "ioeventfd=off"]
    for tag, path in (("host", "/"), ("project", PROJECT), ("modules", parts.kernel.modules)):
        argv += ["-fsdev", f"local,id={tag},path={path},security_model=none,readonly=on,"
                 "multidevs=remap",
                 "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag},ioeventfd=off"]
    return argv


def die_with_parent() -> None:
    """Run in a child before its program: it is killed when its parent ends, however that was."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def accelerator(guest_kernel: Kernel, archive: Path) -> str:
    """kvm if a guest boots with it in time, else tcg. Known until this machine boots anew."""
    forced = os.environ.get("GODWIT_LAB_ACCEL")
    if forced in ("kvm", "tcg"):
        return forced
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    verdict = CACHE / "accelerator"
    if verdict.exists() and verdict.read_text().split()[:1] == [boot]:
        return verdict.read_text().split()[1]
    say(f"trying KVM with a small boot, {PROBE_SECONDS} s at most")
    found = "kvm" if probe(guest_kernel, archive) else "tcg"
    if found == "tcg":
        say("KVM is present but does not run a guest here: emulating, 5 to 20 times slower")
    remember(found)
    return found


def remember(found: str) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (CACHE / "accelerator").write_text(f"{boot} {found}\n")


def probe(guest_kernel: Kernel, archive: Path) -> bool:
    """Whether a guest under KVM gets as far as a program that computes and sleeps."""
    argv = [*base(Parts(guest_kernel, archive, "kvm", 2), "kvm"), "-m", "256", "-serial", "stdio",
            "-append", f"{KERNEL_ARGUMENTS} lab.probe"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, preexec_fn=die_with_parent) as process:
        try:
            output, _ = process.communicate(timeout=PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return False
        finally:
            if process.poll() is None:
                process.kill()
    return b"lab: the probe works" in output

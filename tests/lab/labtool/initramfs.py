"""The initramfs of the guests: a cpio archive with busybox, the first modules and the scripts that
make a node of a guest."""
import gzip
import hashlib
import os
import shutil
import stat
from pathlib import Path

from labtool.kernel import Kernel, need
from labtool.places import CACHE, GUEST_FILES, Unavailable

# What the root file system and the control port need; the rest is loaded from the host's files.
MODULES = ("virtio_pci", "virtio_console", "virtio_net", "9pnet_virtio", "9p", "overlay")


class Archive:
    """Writes the `newc` format of cpio, so that device nodes need no privileges."""

    def __init__(self) -> None:
        self._data, self._inode = bytearray(), 0

    def add(self, name: str, mode: int, content: bytes = b"",
            device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        self._pad()
        self._data += content
        self._pad()

    def folder(self, name: str) -> None:
        self.add(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, source: Path, mode: int = 0o644) -> None:
        self.add(name, stat.S_IFREG | mode, source.read_bytes())

    def finish(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return bytes(self._data)

    def _pad(self) -> None:
        self._data += b"\0" * (-len(self._data) % 4)


def module_order(kernel: Kernel) -> list[str]:
    """Paths of MODULES and of what they depend on, in an order in which they can be loaded."""
    depends: dict[str, tuple[str, list[str]]] = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        depends[Path(path).name.split(".ko")[0]] = (path, needed.split())
    order: list[str] = []
    for name in MODULES:
        if name not in depends:
            continue  # Built into this kernel.
        path, needed = depends[name]
        # modules.dep lists the nearest need first, and the needs of needs behind it.
        for module in (*reversed(needed), path):
            if module not in order:
                order.append(module)
    return order


def initramfs(kernel: Kernel) -> Path:
    """The archive for this kernel and these scripts; made anew when either has changed."""
    need("busybox")
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    if b"/lib64/ld-linux" in busybox.read_bytes()[:4096]:
        raise Unavailable(f"{busybox} needs shared libraries: install busybox-static")
    frames = Path(__file__).parent / "frames.py"
    scripts = sorted(GUEST_FILES.iterdir()) + [frames]
    scripts = [script for script in scripts if script.is_file()]
    seen = hashlib.sha256(kernel.version.encode() + Path(__file__).read_bytes())
    for script in scripts:
        seen.update(script.read_bytes())
    target = CACHE / f"initramfs-{seen.hexdigest()[:16]}"
    if target.exists():
        return target
    archive = Archive()
    for folder in ("bin", "dev", "proc", "sys", "host", "memory", "root", "lab", "modules"):
        archive.folder(folder)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.file("bin/busybox", busybox, 0o755)
    archive.add("bin/sh", stat.S_IFLNK | 0o777, b"busybox")
    for script in scripts:
        if script.name == "init.sh":
            archive.file("init", script, 0o755)
        else:
            archive.file(f"lab/{script.name}", script)
    order = module_order(kernel)
    for path in order:
        content = (kernel.modules / path).read_bytes()
        if path.endswith(".gz"):
            content = gzip.decompress(content)
        archive.add(f"modules/{Path(path).name}", stat.S_IFREG | 0o644, content)
    names = "".join(f"{Path(path).name}\n" for path in order)
    archive.add("modules/order", stat.S_IFREG | 0o644, names.encode())
    for old in CACHE.glob("initramfs-*"):
        old.unlink()
    partial = target.with_suffix(f".{os.getpid()}")
    partial.write_bytes(archive.finish())
    partial.rename(target)
    return target

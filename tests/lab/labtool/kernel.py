"""The guests' kernel: Debian's package, unpacked into the cache and never installed, as installing
it would change what the user's machine boots."""
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from labtool.places import CACHE, LabError, Unavailable, say

METAPACKAGE = "linux-image-amd64"
PACKAGES_HINT = "run ./dev setup, or install what packages.txt lists"


class Kernel(NamedTuple):
    version: str
    image: Path
    modules: Path  # lib/modules/VERSION


def need(*programs: str) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [program for program in programs if not shutil.which(program, path=path)]
    if missing:
        raise Unavailable(f"{', '.join(missing)}: not installed; {PACKAGES_HINT}")


def kernel() -> Kernel:
    """The unpacked kernel, fetched at first use."""
    found = unpacked()
    if found:
        return found
    need("apt-get", "apt-cache", "dpkg", "depmod")
    fetch(newest_package())
    found = unpacked()
    if not found:
        raise LabError(f"no kernel in {CACHE / 'kernel'} after unpacking: remove it and try again")
    return found


def unpacked() -> "Kernel | None":
    root = CACHE / "kernel"
    for image in sorted(root.glob("boot/vmlinuz-*")):
        version = image.name[len("vmlinuz-"):]
        modules = root / "lib" / "modules" / version
        if (modules / "modules.dep").exists():
            return Kernel(version, image, modules)
    return None


def query(*argv: str) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          check=False, env={**os.environ, "LC_ALL": "C"}).stdout


def newest_package() -> str:
    depends = query("apt-cache", "depends", METAPACKAGE)
    match = re.search(r"Depends: (linux-image-[0-9]\S+)", depends)
    if not match:
        raise Unavailable(f"apt knows no {METAPACKAGE}: the lab takes its kernel from Debian's "
                          "package. Run apt-get update, or add a Debian source to apt")
    return match.group(1)


def fetch(package: str) -> None:
    """Downloads, verifies and unpacks; what is half done is never taken for whole."""
    say(f"fetching {package} (70 MB; unpacked into {CACHE}, not installed)")
    work = CACHE / "unpacking"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    result = subprocess.run(["apt-get", "download", package], cwd=work, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, check=False)
    archives = list(work.glob("*.deb"))
    if result.returncode != 0 or not archives:
        last = (result.stdout.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"cannot download {package}: {last}. Needed once, from the network; "
                          "apt-get update may help")
    verify(package, archives[0])
    subprocess.run(["dpkg", "-x", archives[0], work / "kernel"], check=True)
    version = next((work / "kernel" / "lib" / "modules").iterdir()).name
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    subprocess.run(["depmod", "-b", work / "kernel", version], check=True,
                   env={**os.environ, "PATH": path})
    shutil.rmtree(CACHE / "kernel", ignore_errors=True)
    (work / "kernel").rename(CACHE / "kernel")
    shutil.rmtree(work)


def verify(package: str, archive: Path) -> None:
    """Against the hashes of apt's signed lists."""
    known = re.findall(r"^SHA256: (\w+)$", query("apt-cache", "show", package), re.MULTILINE)
    with open(archive, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    if digest not in known:
        raise LabError(f"{archive.name} is not what apt's lists say: not used")

"""Where the lab keeps things, its errors, and how it speaks to its user."""
import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
GUEST_FILES = Path(__file__).resolve().parent.parent / "guest"
BUILD = Path(os.environ.get("GODWIT_LAB_DIR", PROJECT / "build" / "lab"))
CACHE = BUILD / "cache"      # kernel, initramfs, what the probe found
STATE = BUILD / "state"      # of the lab that `up` starts
TEST_STATE = BUILD / "test"  # of the lab that `test` starts
HOSTS = BUILD / "hosts"      # what `use` chose: machines instead of guests

MAX_NODES = 4


class LabError(Exception):
    """Something went wrong that the user is told in one line."""


class Unavailable(LabError):
    """This machine lacks what the lab needs; the text says what to do about it."""


def say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)

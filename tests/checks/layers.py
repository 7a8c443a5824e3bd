#!/usr/bin/env python3
"""Checks that a layer includes only the layers drawn below it.

usage: layers.py ROOT        print each violation; exit 1 if there is one
       layers.py --self-test plant violations of each kind in a small tree and find them

The order is that of docs/architecture.md: node > vos-servers > migrate > endpoints > coord, fabric.
The tests of a layer may include what the layer may.
"""
import os
import re
import sys
import tempfile

# What each folder may include besides itself. Two rules are stricter than the drawing: endpoints/
# asks a Resolver and never coord/, so that a program which links the library does not link
# ZooKeeper; servers of a virtual OS and the examples use the public API alone.
MAY_INCLUDE = {
    "fabric": set(),
    "coord": set(),
    "endpoints": {"fabric"},
    "migrate": {"endpoints", "coord", "fabric"},
    "vos-servers": {"endpoints"},
    "node": {"vos-servers", "migrate", "endpoints", "coord", "fabric"},
    "bench": {"node", "migrate", "endpoints", "coord", "fabric"},
    "examples": {"migrate", "endpoints"},
}
LAYERS = [name for name in MAY_INCLUDE if name not in ("bench", "examples")]

# Libraries that belong to one layer: the prefix of their headers, and who may include them.
FOREIGN = {
    "zookeeper/": {"coord"},
    "zookeeper.h": {"coord"},
    "sqlite3.h": {"coord"},
    "ucp/": {"fabric"},
    "uct/": {"fabric"},
    "ucs/": {"fabric"},
    "infiniband/": {"fabric"},
    "rdma/": {"fabric"},
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def owner_of_public(root, name):
    """The layer whose public header `godwit/...` is, or None."""
    for layer in LAYERS:
        if os.path.exists(os.path.join(root, layer, "include", name)):
            return layer
    # Not in the tree: a header that protoc makes, godwit/LAYER/NAME.pb.h.
    second = name.split("/")[1]
    return second if name.endswith(".pb.h") and second in LAYERS else None


def judge(root, folder, path, quote, name):
    """Why the include `name` of the file `path` in `folder` breaks the rule, or None."""
    allowed = MAY_INCLUDE[folder]
    if name.startswith("godwit/"):
        owner = owner_of_public(root, name)
        if owner is None:
            return "is no public header of any layer"
        if name.count("/") == 1 and "endpoints" in allowed:
            return None  # godwit/NAME.h is the public API, in whichever layer the file stands.
        if owner != folder and owner not in allowed:
            return f"is of {owner}/, which {folder}/ may not include"
        return None
    for prefix, owners in FOREIGN.items():
        if name.startswith(prefix) and folder in LAYERS and folder not in owners:
            return f"belongs to {' and '.join(sorted(owners))}/ alone"
    if quote == '"' and ".." in name.split("/"):
        target = os.path.relpath(os.path.join(os.path.dirname(path), name), root)
        top = target.split(os.sep)[0]
        if top in MAY_INCLUDE and top != folder:
            return f"reaches into {top}/ past its public headers"
    elif os.path.relpath(path, root).startswith("bench/micro/"):
        return None  # Measures single parts, private ones among them, as their tests test them.
    elif quote == '"' and not os.path.exists(os.path.join(root, folder, "src", name)):
        for layer in LAYERS:
            if layer != folder and os.path.exists(os.path.join(root, layer, "src", name)) and \
                    not os.path.exists(os.path.join(os.path.dirname(path), name)):
                return f"is a private header of {layer}/"
    return None


def sources(root):
    """(folder, path) of each C++ file that the rule covers, tests/FOLDER among them."""
    for folder in MAY_INCLUDE:
        for top in (os.path.join(root, folder), os.path.join(root, "tests", folder)):
            for where, _, names in os.walk(top):
                for name in sorted(names):
                    if name.endswith((".h", ".cc")):
                        yield folder, os.path.join(where, name)


def violations(root):
    for folder, path in sources(root):
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                include = INCLUDE.match(line)
                if include:
                    why = judge(root, folder, path, *include.groups())
                    if why:
                        yield f"{os.path.relpath(path, root)}:{number}: {include.group(2)} {why}"


def self_test():
    """Each planted violation must be found, and nothing in the same tree without it."""
    sound = {
        "fabric/include/godwit/fabric/engine.h": "#pragma once\n",
        "fabric/src/ring.h": "#include <ucp/api/ucp.h>\n",
        "coord/include/godwit/coord/coordinator.h": "",
        "coord/src/zk.cc": '#include <zookeeper/zookeeper.h>\n#include "godwit/coord/records.pb.h"\n',
        "fabric/include/godwit/error.h": "",
        "endpoints/include/godwit/process.h": '#include "godwit/fabric/engine.h"\n',
        "endpoints/src/channel.h": "",
        "endpoints/src/channel.cc": '#include "channel.h"\n#include <vector>\n',
        "node/src/agent.cc": '#include "godwit/process.h"\n#include "godwit/coord/coordinator.h"\n',
        "examples/echo/main.cc": '#include "godwit/process.h"\n#include "godwit/error.h"\n',
        "bench/micro/ring_micro.cc": '#include "ring.h"\n',
        "tests/coord/suite_test.cc": '#include "godwit/coord/coordinator.h"\n',
    }
    planted = {
        "fabric/src/a.cc": '#include "godwit/process.h"',
        "fabric/include/godwit/fabric/b.h": '#include <godwit/coord/coordinator.h>',
        "coord/src/c.cc": '#  include "godwit/fabric/engine.h"',
        "coord/src/m.cc": '#include "godwit/error.h"',
        "endpoints/src/d.cc": '#include "godwit/coord/coordinator.h"',
        "endpoints/src/e.cc": '#include "godwit/coord/records.pb.h"',
        "endpoints/src/f.cc": '#include "../../fabric/src/ring.h"',
        "endpoints/src/g.cc": '#include "ring.h"',
        "endpoints/src/h.cc": "#include <zookeeper/zookeeper.h>",
        "vos-servers/src/i.cc": '#include "godwit/coord/coordinator.h"',
        "examples/echo/j.cc": '#include "godwit/fabric/engine.h"',
        "node/src/k.cc": '#include "godwit/no_such_header.h"',
        "tests/endpoints/l_test.cc": '#include "godwit/coord/coordinator.h"',
    }
    with tempfile.TemporaryDirectory() as root:
        def write(path, text):
            path = os.path.join(root, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)

        for path, text in sound.items():
            write(path, text)
        assert not list(violations(root)), list(violations(root))
        for path, text in planted.items():
            write(path, "// A first line.\n" + text + "\n")
            found = list(violations(root))
            assert len(found) == 1 and found[0].startswith(path + ":2:"), (path, found)
            os.remove(os.path.join(root, path))
    print(f"found each of {len(planted)} planted violations, and none in the sound tree")
    return 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) != 1:
        sys.exit(__doc__)
    found = list(violations(arguments[0]))
    seen = sum(1 for _ in sources(arguments[0]))
    print("\n".join(found) if found else f"{seen} files keep to the layers")
    # A check that looked at nothing has proved nothing.
    return 1 if found or seen == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env bash
# Proves that an installed tree is usable: a program outside the project is built against it by
# find_package(godwit) and again by pkg-config, runs, and drags in neither ZooKeeper nor SQLite.
#
# usage: install.sh ROOT BUILD_FOLDER CXX_COMPILER
set -euo pipefail
readonly root=$1 build=$2 cxx=$3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
readonly prefix=$work/prefix

cmake --install "$build" --prefix "$prefix" >"$work/install.log" ||
  { cat "$work/install.log"; exit 1; }

# The program includes each public header that was installed.
(cd "$prefix/include" && find godwit -name '*.h' | sort | sed 's/.*/#include <&>/') \
  >"$work/all_headers.h"
[[ -s $work/all_headers.h ]] || { echo "no public header was installed"; exit 1; }

no_coordination_service() {
  if readelf -d "$1" | grep -E 'NEEDED.*(zookeeper|sqlite)'; then
    echo "$1 links a coordination service: endpoints/ must not"
    return 1
  fi
}

echo "-- find_package(godwit)"
cmake -S "$root/tests/checks/consumer" -B "$work/cmake" -G Ninja -DCMAKE_CXX_COMPILER="$cxx" \
  -DCMAKE_PREFIX_PATH="$prefix" -DALL_HEADERS_DIR="$work" >"$work/configure.log" ||
  { cat "$work/configure.log"; exit 1; }
cmake --build "$work/cmake"
"$work/cmake/consumer"
no_coordination_service "$work/cmake/consumer"

echo "-- pkg-config"
pc=$(find "$prefix" -name godwit.pc)
export PKG_CONFIG_PATH=${pc%/*}
read -ra cflags < <(pkg-config --cflags godwit)
read -ra libs < <(pkg-config --static --libs godwit)
"$cxx" -std=c++20 -I"$work" "${cflags[@]}" "$root/tests/checks/consumer/main.cc" \
  -o "$work/by_pkg_config" "${libs[@]}"
"$work/by_pkg_config"
no_coordination_service "$work/by_pkg_config"

# The examples were built inside the tree, but promise the same.
for example in "$build"/bin/example_*; do
  [[ ! -x $example ]] || no_coordination_service "$example"
done

echo "installed $(wc -l <"$work/all_headers.h") headers; both consumers run"

#!/usr/bin/env bash
# Fails if a C++ file of the tree is not formatted as .clang-format says. usage: format.sh ROOT
set -euo pipefail
cd "$1"

# Another major version formats some lines otherwise, so only this one can judge.
readonly VERSION=14
format=$(command -v clang-format-$VERSION || command -v clang-format || true)
if [[ -z $format ]] || ! "$format" --version | grep -q "version $VERSION\."; then
  echo "skipped: clang-format $VERSION is not installed"
  exit 77
fi
mapfile -d '' files < <(find . \( -path ./build -o -path './build-*' -o -path ./.git \) -prune -o \
  \( -name '*.h' -o -name '*.cc' \) -print0)
[[ ${#files[@]} -gt 0 ]] || { echo "no file found: the check is broken"; exit 1; }
if ! found=$("$format" --dry-run --Werror "${files[@]}" 2>&1); then
  # One line per file: where its first deviation is.
  grep ': error: ' <<<"$found" | sort -t: -k1,1 -u | cut -d: -f1,2
  echo "these files are not formatted: run ./dev format"
  exit 1
fi
echo "${#files[@]} files are formatted"

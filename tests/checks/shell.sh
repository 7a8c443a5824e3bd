#!/usr/bin/env bash
# Fails if a shell script of the tree does not parse or shellcheck finds fault with it.
# usage: shell.sh ROOT
set -euo pipefail
cd "$1"

# A script is known by its first line, so those without an ending are found as well.
mapfile -d '' scripts < <(
  find . \( -path ./build -o -path './build-*' -o -path ./.git \) -prune -o -type f -size -200k \
    -print0 | while IFS= read -r -d '' file; do
    IFS= read -r first <"$file" 2>/dev/null || true
    [[ ${first:-} =~ ^#!.*(bash|/sh)([[:space:]]|$) ]] && printf '%s\0' "$file"
    first=
  done
)
[[ ${#scripts[@]} -gt 0 ]] || { echo "no script found: the check is broken"; exit 1; }
for script in "${scripts[@]}"; do bash -n "$script"; done
if ! command -v shellcheck >/dev/null; then
  echo "skipped: ${#scripts[@]} scripts parse, but shellcheck is not installed"
  exit 77
fi
shellcheck -x "${scripts[@]}"
echo "${#scripts[@]} scripts are sound"

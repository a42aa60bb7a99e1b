#!/usr/bin/env bash
# Runs the native tests of a build with each instruction set that the CPU has. Every network and function gives the same
# bits with all of them: their golden lines must be equal, and equal to the file GOLDEN, which is written if absent.
#
#     run_native.sh BUILD GOLDEN [RUNNER ...]        RUNNER: what runs the programs, e.g. qemu-aarch64 -L /usr/...
set -euo pipefail
build=$1 golden=$2
shift 2
for isa in $("$@" "$build/isa_test" names); do
  export SUB3_FORCE_ISA=$isa
  "$@" "$build/isa_test" > "$build/isa_test.out" &  # the longest, beside the others
  "$@" "$build/search_test"
  "$@" "$build/native_test"
  "$@" "$build/threads_test"
  wait $! || { cat "$build/isa_test.out"; exit 1; }
  grep -v '^golden' "$build/isa_test.out"
  grep '^golden' "$build/isa_test.out" > "$build/golden.new"
  test -e "$golden" || cp "$build/golden.new" "$golden"
  diff "$golden" "$build/golden.new" || { echo "$isa gives other bits than the instruction sets before it"; exit 1; }
done
echo "golden lines are equal: $(wc -l < "$golden")"

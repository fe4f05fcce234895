#!/usr/bin/env bash
# installed.sh SOURCE BINARY CMAKE: installs the built libraries into a fresh prefix, builds a copy of
# examples/digits there, which knows of terse by find_package alone, and trains it on two ranks. Fails
# unless every run reads more than 95 % of the test images and both ranks end with the same weights.
# 77: this machine has no scikit-learn to take the digits from.
set -euo pipefail
source=$1 binary=$2 cmake=$3
python=$source/.venv-peers/bin/python
"$python" -c 'import sklearn' 2>/dev/null || {
  echo "no scikit-learn in .venv-peers: run scripts/setup --peers"
  exit 77
}
there=$(mktemp -d)
trap 'rm -rf "$there"' EXIT

"$cmake" --install "$binary" --component library --prefix "$there/prefix" >/dev/null
cp -r "$source/examples/digits" "$there/digits"
"$cmake" -S "$there/digits" -B "$there/build" -G Ninja -DCMAKE_PREFIX_PATH="$there/prefix" >"$there/log" ||
  { cat "$there/log"; exit 1; }
"$cmake" --build "$there/build"
if grep -q "$source/\(base\|comm\|optim\|parallel\)" "$there/build/build.ninja"; then
  echo "the installed targets still name the source tree"
  exit 1
fi
"$python" "$there/digits/digits.py" "$there/digits.bin"

port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
# one OPTIMIZER CODEC
one() {
  export MASTER_ADDR=127.0.0.1 MASTER_PORT WORLD_SIZE=2 OMP_NUM_THREADS=1
  MASTER_PORT=$(port)
  RANK=1 timeout 100 "$there/build/digits" "$there/digits.bin" "$1" "$2" >"$there/rank1" 2>&1 &
  local other=$!
  RANK=0 timeout 100 "$there/build/digits" "$there/digits.bin" "$1" "$2" >"$there/rank0" 2>&1 ||
    { cat "$there/rank0" "$there/rank1"; exit 1; }
  wait "$other"
  echo "== $1, $2"
  cat "$there/rank0" "$there/rank1"
  awk '$1 == "accuracy" {read = $2} END {exit !(read > 95)}' "$there/rank0" ||
    { echo "too few images were read"; exit 1; }
  [[ $(grep -ho 'weights .*' "$there/rank0" "$there/rank1" | sort -u | wc -l) == 1 ]] ||
    { echo "the ranks' weights differ"; exit 1; }
}
one adamw fp32
one onebit_adam onebit
one dgc topk

# Shared by the scripts of this folder: `source` it. Every script runs from the root of the tree.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Parallel jobs: cores that we may use, and 2 GB for each compiler that reads torch's headers.
build_jobs() {
  local cores memory_kb
  cores=$(nproc)
  memory_kb=$(awk '/MemAvailable/ {print $2}' /proc/meminfo)
  local by_memory=$((memory_kb / 2000000))
  ((by_memory < 1)) && by_memory=1
  echo $((cores < by_memory ? cores : by_memory))
}

# configure_and_build PRESET [TARGET...]
configure_and_build() {
  local preset=$1
  shift
  local targets=()
  (($#)) && targets=(--target "$@")
  local log
  log=$(cmake --preset "$preset" 2>&1) || { printf '%s\n' "$log"; return 1; }
  cmake --build --preset "$preset" -j "$(build_jobs)" "${targets[@]}"
}

# Open MPI refuses root without these two; they say nothing to other users.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

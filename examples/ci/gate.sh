#!/usr/bin/env bash
# Gate a change against the commit at which it left the branch that it is to be merged into. For any CI: it needs bash,
# git, and stepbench on the PATH.
#
#   examples/ci/gate.sh origin/main --execution graph --precision float32 --budget 10m
#
# What follows the branch goes to 'stepbench gate', or to pytest if GATE_JUNIT is set. From the environment:
#
#   GATE_RESULTS       the folder that keeps measurements and traces (default: gate-results)
#   GATE_SUMMARY       a file to append the verdict to, in markdown (default: GITHUB_STEP_SUMMARY, if set)
#   GATE_INCONCLUSIVE  'warn' (default) or 'fail': what an undecided gate does to the job
#   GATE_JUNIT         a file for JUnit's XML; the gate is then 'pytest --stepbench-gate' over GATE_TESTS
#   GATE_TESTS         the benchmarks to gate by pytest (default: bench)
#
# It exits as 'stepbench gate' does: 0 pass or improved, 1 a regression or a side that does not run, 2 wrong use,
# 3 undecided (only with GATE_INCONCLUSIVE=fail). To pytest an undecided case is a skipped test.
set -euo pipefail

target=${1:?"usage: gate.sh BRANCH [OPTION...], such as gate.sh origin/main --execution graph"}
shift
results=${GATE_RESULTS:-gate-results}
summary=${GATE_SUMMARY:-${GITHUB_STEP_SUMMARY:-}}
inconclusive=${GATE_INCONCLUSIVE:-warn}
case $inconclusive in
warn | fail) ;;
*)
  echo "gate.sh: GATE_INCONCLUSIVE is 'warn' or 'fail', not '$inconclusive'." >&2
  exit 2
  ;;
esac

# CI often clones the last commit alone; where the change left its branch lies further back.
if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
  git fetch --quiet --unshallow "${target%%/*}"
fi
if ! git rev-parse --verify --quiet "$target^{commit}" >/dev/null; then
  git fetch --quiet "${target%%/*}" "+refs/heads/${target#*/}:refs/remotes/$target"
fi
if ! base=$(git merge-base HEAD "$target"); then
  echo "gate.sh: HEAD and $target have no commit in common: name the branch that this change is to be merged into." >&2
  exit 2
fi

verdict=$(mktemp)
trap 'rm -f "$verdict"' EXIT
code=0
if [ -n "${GATE_JUNIT:-}" ]; then
  COLUMNS=${COLUMNS:-120} python -m pytest --quiet "${GATE_TESTS:-bench}" --stepbench-gate="$base" --stepbench-results="$results" \
    --junitxml="$GATE_JUNIT" "$@" >"$verdict" || code=$?
else
  stepbench gate --base "$base" --results "$results" --format markdown "$@" >"$verdict" || code=$?
fi
cat "$verdict"
if [ -n "$summary" ]; then
  if [ -n "${GATE_JUNIT:-}" ]; then
    { echo '```'; cat "$verdict"; echo '```'; } >>"$summary"
  else
    cat "$verdict" >>"$summary"
  fi
fi

if [ "$code" = 3 ] && [ "$inconclusive" = warn ]; then
  # GitHub makes an annotation of it; elsewhere it is a line like any other.
  echo "::warning title=stepbench gate::The gate is undecided: give it a longer --budget or a higher --threshold."
  exit 0
fi
exit "$code"

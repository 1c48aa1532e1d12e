#!/usr/bin/env bash
# Judge whether a change is slower than the commit at which it left the branch that it is to be merged into.
# For any CI: it needs bash, git, and stepbench and python on the PATH.
#
#   examples/ci/gate.sh origin/main --execution graph --precision float32 --budget 10m
#
# The options go to 'stepbench gate', or to pytest if GATE_JUNIT is set. From the environment:
#
#   GATE_RESULTS       the folder that keeps measurements and traces (default: results)
#   GATE_SUMMARY       a file to append the verdict to, in markdown (default: GITHUB_STEP_SUMMARY, if set)
#   GATE_INCONCLUSIVE  what an undecided gate does to the job: 'warn' (default) or 'fail'
#   GATE_JUNIT         a file for JUnit's XML: then pytest gates the benchmarks in GATE_TESTS; undecided ones are skipped
#   GATE_TESTS         a file or folder of benchmarks (default: bench)
#
# Exit codes are those of 'stepbench gate': 0 pass or improved, 1 a regression or a side that does not run, 2 wrong use,
# 3 undecided and GATE_INCONCLUSIVE=fail, 130 interrupted; or pytest's, to which an undecided case is a skipped test.
set -euo pipefail

refuse() {
  echo "gate.sh: $1" >&2
  exit 2
}

[ $# -ge 1 ] || refuse "name the branch that this change is to be merged into, such as origin/main."
target=$1
shift
remote=${target%%/*}
branch=${target#*/}
git remote get-url "$remote" >/dev/null 2>&1 || { remote=origin && branch=; }
results=${GATE_RESULTS:-results}
summary=${GATE_SUMMARY:-${GITHUB_STEP_SUMMARY:-}}
junit=${GATE_JUNIT:-}
inconclusive=${GATE_INCONCLUSIVE:-warn}
[ "$inconclusive" = warn ] || [ "$inconclusive" = fail ] || refuse "GATE_INCONCLUSIVE is warn or fail, not $inconclusive."
[ -z "$junit" ] || [ "$inconclusive" = warn ] || refuse "to pytest an undecided case is skipped: GATE_JUNIT takes no GATE_INCONCLUSIVE."

# CI often clones one commit of one branch; the commit in common lies further back.
if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
  git fetch --quiet --unshallow "$remote"
fi
# A workspace that is used again may hold the branch as it was days ago.
if [ -n "$branch" ] && ! git fetch --quiet "$remote" "+refs/heads/$branch:refs/remotes/$remote/$branch"; then
  git rev-parse --verify --quiet "$target^{commit}" >/dev/null || refuse "There is no branch $branch at $remote."
  echo "gate.sh: $target could not be fetched and is taken as it was fetched last." >&2
fi
base=$(git merge-base HEAD "$target") || refuse "HEAD and $target have no commit in common: name another branch."

verdict=$(mktemp)
trap 'rm -f "$verdict"' EXIT
code=0
if [ -n "$junit" ]; then
  python -m pytest --quiet "${GATE_TESTS:-bench}" --stepbench-gate="$base" --stepbench-results="$results" \
    --junitxml="$junit" "$@" >"$verdict" || code=$?
else
  stepbench gate --base "$base" --results "$results" --format markdown "$@" >"$verdict" || code=$?
fi
cat "$verdict"
if [ -n "$summary" ] && [ -n "$junit" ]; then
  { echo && sed 's/^/    /' "$verdict"; } >>"$summary" # Indented, it is shown as it is.
elif [ -n "$summary" ]; then
  cat "$verdict" >>"$summary"
fi

if [ "$code" = 3 ] && [ -z "$junit" ] && [ "$inconclusive" = warn ]; then
  # GitHub makes an annotation of this line.
  echo "::warning title=stepbench gate::The gate is undecided: give it a longer --budget or a higher --threshold."
  exit 0
fi
exit "$code"

#!/usr/bin/env bash
# Installs what the tests need, builds Hadal once, runs every test, and ends with one line: N passed, N failed, N skipped.
# Written for Debian 12; elsewhere it says what is missing and leaves the installing to you.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

usage() {
    cat <<'TEXT'
usage: ./test.sh [--yes] [--fast] [--help]

Installs what the tests need (it says what, and asks), builds the solution in Release,
runs the tests of tier 'fast' and then those of tier 'full', and ends with one line:

    N passed, N failed, N skipped

  --yes    install without asking (for machines that nobody watches)
  --fast   run only the tier 'fast' (under 8 minutes on 2 cores)
  --help   show this text

exit codes: 0 every test passed or was skipped by name, 1 something failed, 2 wrong use.

The tier 'soak' runs on demand, one project at a time, HADAL_SOAK_SECONDS (default 600) each test, for example:

    HADAL_SOAK_SECONDS=3600 artifacts/bin/Hadal.Formats.Tests/release/Hadal.Formats.Tests --filter-trait tier=soak
TEXT
}

yes=0
tiers=(fast full)
for argument in "$@"; do
    case "$argument" in
        --yes) yes=1 ;;
        --fast) tiers=(fast) ;;
        --help | -h) usage; exit 0 ;;
        *) printf 'test.sh: unknown option %s\n\n' "$argument" >&2; usage >&2; exit 2 ;;
    esac
done

export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 NO_COLOR=1
passed=0 failed=0 skipped=0
started=$SECONDS
logs=artifacts/test-logs reports=artifacts/test-reports
rm -rf "$reports"
mkdir -p "$logs" "$reports"

# What failed in a log: of each test its message and the first lines of its stack.
failures_of() {
    awk '/^failed / { shown = 1; text = 0; stack = 0 }
         /^(passed |skipped |Test run summary|  In process file)/ { shown = 0 }
         !shown || !NF || /^(running\.\.\.|\[slow\])/ { next }
         /^ +at / { if (++stack <= 6) print substr($0, 1, 400); next }
         { if (++text <= 20) print substr($0, 1, 1000) }' "$1"
}

failed_logs=()
finish() {
    # Once more at the end, where whoever reads only the last lines sees it.
    if [ ${#failed_logs[@]} -gt 0 ]; then
        printf '\nFailed:\n'
        for log in "${failed_logs[@]}"; do
            printf '  %s\n' "$log"
            failures_of "$log" | sed 's/^/    /'
        done | head -n 45
    fi
    printf '\n%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
    if [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]; then exit 0; else exit 1; fi
}

# Ends the run early: preparation that fails is one failure.
give_up() {
    printf '\n%s\n' "$1"
    failed=$((failed + 1))
    finish
}

# ---------------------------------------------------------------- what the tests need

if ! command -v dotnet > /dev/null || ! dotnet --list-sdks 2> /dev/null | grep -q '^10\.'; then
    give_up "The .NET 10 SDK was not found (dotnet --list-sdks). Install it from https://dot.net (package dotnet-sdk-10.0), then run this again."
fi

packages=()
need() { # package, a test that is true when it is there, what it is for
    if ! eval "$2" > /dev/null 2>&1; then
        packages+=("$1")
        printf '  %-12s Debian package: %s\n' "$1" "$3"
    fi
}

oracles=()
for install in tests/oracles/*/install.sh; do
    [ -f "$install" ] && oracles+=("$install")
done

printf 'Needed for the tests and not installed:\n'
need clang 'command -v clang' 'links the native (ahead-of-time) build that a test makes and runs'
need zlib1g-dev 'test -e /usr/include/zlib.h' 'the same'
need chromium 'test -x /usr/bin/chromium' 'the browser that the tests of the chat use'
need postgresql 'ls /usr/lib/postgresql/*/bin/initdb' 'the database that the tests of the server run on, beside SQLite'
need openmpi-bin 'command -v mpirun' 'mpirun and libmpi.so.40, for ranks that are processes'
need procps 'type -P kill' 'sends signals to the processes of tests'
need git 'command -v git' 'lists the files that the tests of the architecture read'
if [ ${#oracles[@]} -gt 0 ]; then
    need nodejs 'command -v node' 'runs the oracles, reference programs that our results are compared with'
    need npm 'command -v npm' 'installs the oracles'
fi
missing_oracles=()
for install in "${oracles[@]}"; do # each leaves the file "installed" beside a copy of its lock file
    folder=$(dirname "$install") name=$(basename "$(dirname "$install")")
    if [ ! -f "artifacts/oracles/$name/installed" ] || ! cmp -s "$folder/package-lock.json" "artifacts/oracles/$name/package-lock.json"; then
        missing_oracles+=("$install")
        printf '  %-12s npm packages of %s/package.json, into artifacts/oracles/%s\n' "$name" "$folder" "$name"
    fi
done

if [ ${#packages[@]} -eq 0 ] && [ ${#missing_oracles[@]} -eq 0 ]; then
    printf '  nothing\n'
elif [ "$yes" -eq 0 ]; then
    answer=n
    if [ -t 0 ]; then
        read -r -p 'Install this now? [y/N] ' answer || answer=n
    else
        printf 'There is no terminal to ask on: run ./test.sh --yes to install without being asked.\n'
    fi
    case "$answer" in
        y | Y | yes) ;;
        *) give_up 'Nothing was installed. The tests that need it would fail, so none was run.' ;;
    esac
fi

if [ ${#packages[@]} -gt 0 ]; then
    command="apt-get update && apt-get install -y --no-install-recommends ${packages[*]}"
    if ! command -v apt-get > /dev/null; then
        give_up "This is no Debian machine (no apt-get). Install the equivalents of: ${packages[*]}; then run this again."
    elif [ "$(id -u)" -eq 0 ]; then
        prefix=()
    elif command -v sudo > /dev/null && { [ -t 0 ] || sudo -n true 2> /dev/null; }; then
        prefix=(sudo)
    else
        give_up "Installing system packages needs root, and sudo cannot be used here. Run this as root, then ./test.sh again: $command"
    fi
    printf '\nInstalling: %s\n' "${packages[*]}"
    if ! "${prefix[@]}" env DEBIAN_FRONTEND=noninteractive sh -c "$command" < /dev/null > "$logs/apt.log" 2>&1; then
        tail -n 20 "$logs/apt.log"
        give_up "apt-get failed; its whole output is in $logs/apt.log."
    fi
fi

for install in "${missing_oracles[@]}"; do
    name=$(basename "$(dirname "$install")")
    printf '\nInstalling oracle: %s\n' "$name"
    if ! bash "$install" < /dev/null > "$logs/oracle-$name.log" 2>&1; then
        tail -n 20 "$logs/oracle-$name.log"
        give_up "$install failed; its whole output is in $logs/oracle-$name.log."
    fi
done
printf '\nReady after %s s.\n' "$((SECONDS - started))"

# ---------------------------------------------------------------- build, once

build_started=$SECONDS
printf '\nBuilding Hadal.slnx (Release)\n'
if ! dotnet build -c Release Hadal.slnx -v quiet -nologo < /dev/null > "$logs/build.log" 2>&1; then
    tail -n 40 "$logs/build.log"
    give_up "The build failed; its whole output is in $logs/build.log."
fi
if grep -q 'warning ' "$logs/build.log"; then
    grep 'warning ' "$logs/build.log" | sort -u | head -n 20
    give_up 'The build printed warnings; a clean build prints none.'
fi
printf 'Built in %s s, no warning.\n' "$((SECONDS - build_started))"

# ---------------------------------------------------------------- run

# One test program, one tier or lane. A lane is a part of the tier 'full' whose length is set by the clock: it runs beside programs that only compute.
start_program() {
    local project=$1 part=$2 filter how=()
    case "$part" in
        fast) filter=(--filter-not-trait tier=full --filter-not-trait tier=soak) ;;
        full) filter=(--filter-trait tier=full --filter-not-trait lane=beside) ;;
        beside) filter=(--filter-trait lane=beside) how=(exec nice -n 5) ;;
    esac
    "${how[@]}" timeout --kill-after=10 1500 "artifacts/bin/$project/release/$project" "${filter[@]}" --no-ansi --progress off \
        --report-xunit-xml --report-xunit-xml-filename "$project.$part.xml" --results-directory "$PWD/$reports" < /dev/null > "$logs/$project.$part.log" 2>&1
}

# The sums come from the program's own summary; a program that ends without one, or whose exit code does not fit its summary, has crashed and counts as a failure.
count_program() {
    local project=$1 part=$2 code=$3 seconds=$4 log="$logs/$1.$2.log" name=$1 p f s note=''
    if [ "$part" = beside ]; then name="$project, beside"; fi
    p=$(sed -n 's/^  succeeded: \([0-9]*\)$/\1/p' "$log" | tail -n 1)
    f=$(sed -n 's/^  failed: \([0-9]*\)$/\1/p' "$log" | tail -n 1)
    s=$(sed -n 's/^  skipped: \([0-9]*\)$/\1/p' "$log" | tail -n 1)
    if [ -z "$p" ] || [ -z "$f" ] || [ -z "$s" ]; then
        p=0 f=1 s=0
        note="the program ended with code $code and without a summary"
        if [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; then note='still running after 25 minutes: stopped'; fi
    elif [ "$code" -eq 8 ] && [ "$p" -eq 0 ] && [ "$f" -eq 0 ]; then
        code=0 # code 8: no test of this tier in this project
    fi
    if [ "$code" -ne 0 ] && [ "$f" -eq 0 ]; then
        f=1
        note="the program ended with code $code although no test failed"
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    tier_passed=$((tier_passed + p)) tier_failed=$((tier_failed + f)) tier_skipped=$((tier_skipped + s))
    if [ $((p + f + s)) -gt 0 ]; then
        printf '  %-28s %5d passed %4d failed %4d skipped %6d s\n' "$name" "$p" "$f" "$s" "$seconds"
    fi
    if [ "$s" -gt 0 ]; then grep -E '^skipped ' "$log" | sed 's/^/      /'; fi
    if [ "$f" -gt 0 ]; then
        if [ -n "$note" ]; then
            printf '\nfailed %s: %s\n' "$project" "$note" >> "$log"
            printf '      %s\n' "$note"
            grep -vE '^ *$' "$log" | tail -n 30 | sed 's/^/      /'
        fi
        failures_of "$log" | head -n 60 | sed 's/^/      /'
        printf '      (whole output: %s)\n' "$log"
        failed_logs+=("$log")
    fi
}

run_program() {
    local begun=$SECONDS code
    start_program "$1" "$2"
    code=$?
    count_program "$1" "$2" "$code" "$((SECONDS - begun))"
}

# The lane: two minutes of many streams, which need a part of the processors only, while Tensors, Text and Training compute.
beside=Hadal.Server.Tests beside_process='' beside_began=0
trap 'if [ -n "$beside_process" ]; then kill "$beside_process"; fi' EXIT
start_beside() {
    beside_began=$(date +%s)
    start_program "$beside" beside &
    beside_process=$!
}

end_beside() {
    local code
    wait "$beside_process"
    code=$?
    beside_process=''
    count_program "$beside" beside "$code" "$(($(stat -c %Y "$logs/$beside.beside.log") - beside_began))"
}

for tier in "${tiers[@]}"; do
    tier_started=$SECONDS tier_passed=0 tier_failed=0 tier_skipped=0
    printf '\nTier %s\n' "$tier"
    for project in tests/*/*.csproj; do
        project=$(basename "$project" .csproj)
        if [ "$tier" = full ] && [ "$project" = Hadal.Tensors.Tests ]; then start_beside; fi
        run_program "$project" "$tier"
    done
    if [ -n "$beside_process" ]; then end_beside; fi
    printf '  %-28s %5d passed %4d failed %4d skipped %6d s\n' "tier $tier" "$tier_passed" "$tier_failed" "$tier_skipped" "$((SECONDS - tier_started))"
done

# ---------------------------------------------------------------- the page that says what is proved

partial=()
[ ${#tiers[@]} -eq 1 ] && partial=(--partial)
printf '\n'
if ! artifacts/bin/Hadal.ConformancePage/release/Hadal.ConformancePage "${partial[@]}"; then failed=$((failed + 1)); else passed=$((passed + 1)); fi

printf '\nWhole run: %s s.\n' "$((SECONDS - started))"
finish

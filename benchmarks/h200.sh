#!/usr/bin/env bash
# What only a Hopper GPU can show, in one run: checks, cold starts, replayed graphs, the cost of the language, figures beside their peer, registers.
#
#   benchmarks/h200.sh [--out FOLDER] [--program FILE] [--limit SECONDS] [--list] [PART…]
#
# Without parts all run: the checks on the last GPU, the figures on the first one beside them, when there are two; else one after the other. Every part has a limit of its own and the
# whole one of 570 seconds; a part that fails or ends late is named in summary.txt, and the others go on. FOLDER gets summary.txt and results.tar.xz with the files of
# benchmarks/results/h200 (checks.txt, cold.txt, language.txt, registers.txt, kernels.txt, gemm.txt, quantize.txt, ladder.txt, experiments.txt, peers.json, peers.txt, machine.txt).
#
# The program is built where .NET is and needs nothing but the driver where it runs:
#   dotnet publish benchmarks/Hadal.Kernels.Device -c Release -r linux-x64 -o artifacts/device
# Used if they are there: ptxas (registers), compute-sanitizer, python3 with PyTorch 2.11 (peers). compute-sanitizer and ncu want a machine whose hypervisor lets them at the counters:
# on one that does not ("Device not supported") the part says so.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=artifacts/h200 program=artifacts/device/Hadal.Kernels.Device limit=570 listed= chosen=()

# NAME LIMIT GROUP: group 1 runs on the last GPU, group 0 on the first.
parts="
kernels 60 1
registers 150 1
cold 90 1
refuse 30 1
replay 90 1
conformance 240 1
sanitizers 240 1
language 60 0
gemm 150 0
peers 120 0
quantize 60 0
ladder 90 0
experiments 110 0"

while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2; shift 2 ;;
    --program) program=$2; shift 2 ;;
    --limit) limit=$2; shift 2 ;;
    --list) listed=1; shift ;;
    -h|--help) sed -n '2,15p' "$0" | cut -c3-; exit 0 ;;
    -*) echo "h200.sh: $1 is no option; --help names them" >&2; exit 2 ;;
    *) grep -q "^$1 " <<<"$parts" || { echo "h200.sh: $1 is no part; --list names them" >&2; exit 2; }; chosen+=("$1"); shift ;;
  esac
done
wanted() { [ ${#chosen[@]} -eq 0 ] || printf '%s\n' "${chosen[@]}" | grep -qx "$1"; }
if [ -n "$listed" ]; then
  while read -r name seconds group; do [ -n "$name" ] && wanted "$name" && echo "$name: at most $seconds s, $([ "$group" = 1 ] && echo checks || echo figures)"; done <<<"$parts"
  exit 0
fi
case $program in *.dll) device=(dotnet "$program") ;; *) device=("$program") ;; esac
[ -e "$program" ] || { echo "h200.sh: $program is not there: build it with 'dotnet publish benchmarks/Hadal.Kernels.Device -c Release -r linux-x64 -o artifacts/device', or name it with --program" >&2; exit 2; }
command -v nvidia-smi >/dev/null || { echo "h200.sh: no nvidia-smi: these measurements need an NVIDIA H100 or H200 and its driver" >&2; exit 2; }
export PATH=$PATH:/usr/local/cuda/bin PYTHONUNBUFFERED=1

work=$(mktemp -d) began=$SECONDS
mkdir -p "$out"
summary=$out/summary.txt; : >"$summary"
export HADAL_HOME=$work/home
gpus=$(nvidia-smi -L | wc -l)
card=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1) driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1)
{ date -u +%F; nvidia-smi --query-gpu=index,name,driver_version,power.limit,clocks.max.sm,temperature.gpu --format=csv; uname -r; } >"$work/machine.txt"
say() { echo "[$((SECONDS - began)) s] $*" | tee -a "$summary"; }

# part NAME FILE HEADING COMMAND…: runs it within its limit and what is left of the whole, and adds what it says to FILE.
part() {
  local name=$1 file=$2 heading=$3; shift 3
  wanted "$name" || return 0
  local seconds left=$((limit - (SECONDS - began))) code
  seconds=$(awk -v n="$name" '$1 == n { print $2 }' <<<"$parts")
  [ "$left" -lt 5 ] && { say "$name: not run, the time is over"; return 0; }
  [ "$seconds" -gt "$left" ] && seconds=$left
  [ -n "$heading" ] && printf '\n== %s\n' "$heading" >>"$work/$file"
  timeout "$seconds" "$@" >>"$work/$file" 2>&1
  code=$?
  say "$name${heading:+ ($heading)}: $(case $code in 0) echo done ;; 124) echo "STOPPED at its limit of $seconds s" ;; *) echo "FAILED with $code" ;; esac)"
}

registers() {
  command -v ptxas >/dev/null || { echo "no ptxas here"; return 1; }
  mkdir -p "$work/ptx"
  "${device[@]}" dump "$work/ptx" || return 1
  echo "# ptxas $(ptxas --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p') -v -arch=sm_90a of every kernel of the cases (Hadal.Kernels.Device dump), $(date -u +%F). Registers are those at launch; roles move them (setmaxnreg)."
  (cd "$work/ptx" && printf '%s\n' *.ptx | xargs -P 8 -I{} sh -c 'ptxas -v -arch=sm_90a {} -o /dev/null >{}.log 2>&1')
  for log in "$work"/ptx/*.log; do
    echo "$(basename "$log" .ptx.log): $(tr '\n' ' ' <"$log" | sed -E 's/.* ([0-9]+ bytes spill stores, [0-9]+ bytes spill loads).* Used ([0-9]+) registers.*/\2 registers, \1/')"
  done
}

sanitizer() {
  command -v compute-sanitizer >/dev/null || { echo "no compute-sanitizer here"; return 1; }
  compute-sanitizer --tool "$1" --print-limit 20 "${device[@]}" small 1
}

checks() {
  [ "$gpus" -gt 1 ] && export CUDA_VISIBLE_DEVICES=$((gpus - 1))
  part kernels kernels.txt "" "${device[@]}" digests
  wanted conformance && echo "Checks on an $card ($gpus GPUs, driver $driver), $(date -u +%F): Hadal.Kernels.Device conformance 1000; refuse; replay 20; compute-sanitizer --tool T Hadal.Kernels.Device small 1. Outputs start poisoned; shapes have tails; values are normal, outliers, all equal, zeros, tiny (subnormal), not finite." >>"$work/checks.txt"
  part conformance checks.txt "conformance 1000" "${device[@]}" conformance 1000
  part refuse checks.txt refuse "${device[@]}" refuse
  part replay checks.txt "replay 20" "${device[@]}" replay 20
  local tool
  for tool in memcheck synccheck initcheck racecheck; do
    (part sanitizers "sanitizer-$tool.txt" "compute-sanitizer $tool" sanitizer_of "$tool") &
  done
  wait
  for tool in memcheck synccheck initcheck racecheck; do [ -e "$work/sanitizer-$tool.txt" ] && cat "$work/sanitizer-$tool.txt" >>"$work/checks.txt"; done
  part registers registers.txt "" registers_of
}

# timeout starts programs, not functions: this file once more.
export -f registers sanitizer
export work
device_text=$(printf '%q ' "${device[@]}"); export device_text
cat >"$work/sanitizer_of" <<'INNER'
#!/usr/bin/env bash
eval "device=($device_text)"; sanitizer "$1"
INNER
cat >"$work/registers_of" <<'INNER'
#!/usr/bin/env bash
eval "device=($device_text)"; registers
INNER
chmod +x "$work/sanitizer_of" "$work/registers_of"
PATH=$PATH:$work

figures() {
  [ "$gpus" -gt 1 ] && export CUDA_VISIBLE_DEVICES=0
  local d=("${device[@]}") shapes=(4096x2112x7168 4096x24576x1536 4096x32768x512 4096x7168x16384 4096x4096x7168 4096x7168x2048 64x2112x7168 64x24576x1536 64x32768x512 64x7168x16384 64x4096x7168
    64x7168x2048 128x2112x7168 128x24576x1536 128x32768x512 128x7168x16384 128x4096x7168 128x7168x2048 8192x8192x8192)
  part language language.txt "" "${d[@]}" hand 40
  part gemm gemm.txt "" "${d[@]}" bench fp8_gemm,fp8_gradient,bf16_gemm check sustained
  part peers peers.txt "" python3 benchmarks/peers/gemm.py --fp8 "${shapes[@]}" --wgrad 7168x4096x4096 2048x7168x4096 16384x7168x4096 \
    --bf16 8192x8192x8192 4096x256x7168 4096x16160x7168 4096x16896x7168 64x16160x7168 --json "$work/peers.json"
  part quantize quantize.txt "" "${d[@]}" bench cast_,retile_,e5m6_ check sustained
  part experiments experiments.txt "" "${d[@]}" bench "parts*head,parts*pack,parts*retile" check
  part ladder ladder.txt "" "${d[@]}" bench "ladder 01,ladder 02,ladder 03,ladder 05,ladder 06,ladder 07,ladder 08,ladder 09,ladder 10,ladder 11,ladder 12" check
}

# Starts are timed alone: they take all processors.
for model in medium medium v3-671b v3-671b; do part cold cold.txt "" "${device[@]}" cold $model; done
if [ "$gpus" -gt 1 ]; then
  checks & first=$!
  figures & second=$!
  wait $first $second
else
  # The figures want the GPU alone. With one GPU both do not fit ten minutes: name parts, or raise --limit.
  checks
  figures
fi
rm -rf "$work/home" "$work/ptx" "$work/sanitizer_of" "$work/registers_of" "$work"/sanitizer-*.txt
tar cJf "$out/results.tar.xz" -C "$work" .
rm -rf "$work"
say "results in $out"
! grep -qE 'FAILED|STOPPED|not run' "$summary"

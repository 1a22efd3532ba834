"""The peer of `hadal bench gemm`: cuBLASLt through PyTorch, measured as GraphTimer measures.

usage: gemm.py [--fp8 MxNxK ...] [--wgrad MxNxK ...] [--bf16 MxNxK ...] [--single] [--json FILE]

Launches inside replayed CUDA graphs, inputs N(0, 1) on sets of buffers that together are four times the L2, a fill of memory ahead of each burst,
medians: burst (11 replays of about 2 ms, each after 40 ms of rest) and sustained (the second half of 600 ms back to back).
fp8: D bf16 = A e4m3 (1x128 scales) times B e4m3 transposed (128x128 scales); wgrad: both 1x128, D float32; bf16: `@`.
--single: also single launches between events, each after 8 GB were filled, as published logs of other libraries do.
"""
import argparse
import json
import statistics
import time

import torch
from torch.nn.functional import ScalingType, SwizzleType, scaled_mm

FILL = torch.empty(768 << 20, dtype=torch.uint8, device="cuda")
L2 = torch.cuda.get_device_properties(0).L2_cache_size


def quantised(rows, columns, block):
    """N(0, 1) as e4m3 with one scale for `block` rows by 128 columns; rows are padded to whole blocks for the scales."""
    x = torch.randn(rows, columns, device="cuda")
    padded = torch.nn.functional.pad(x, (0, 0, 0, -rows % block))
    tiles = padded.view(-1, block, columns // 128, 128)
    scale = tiles.abs().amax(dim=(1, 3)) / 448
    codes = (tiles / scale[:, None, :, None]).to(torch.float8_e4m3fn).view(-1, columns)[:rows].contiguous()
    return codes, scale


def scales_by_column(scale, multiple):
    """The layout cuBLASLt wants: along the rows of the operand first, K padded to a multiple for 128x128 blocks."""
    if multiple > 1:
        return torch.nn.functional.pad(scale, (0, -scale.shape[1] % multiple)).t()
    return scale.t().contiguous().t()


def fp8(m, n, k, b_block):
    a, a_scale = quantised(m, k, 1)
    b, b_scale = quantised(n, k, b_block)
    a_scale = scales_by_column(a_scale, 1)
    recipe, b_scale = (ScalingType.BlockWise128x128, scales_by_column(b_scale, 4)) if b_block == 128 else (ScalingType.BlockWise1x128, scales_by_column(b_scale, 1))
    kind = torch.bfloat16 if b_block == 128 else torch.float32
    out = []

    def run():
        out[:] = [scaled_mm(a, b.t(), a_scale, ScalingType.BlockWise1x128, b_scale, recipe, swizzle_a=SwizzleType.NO_SWIZZLE, swizzle_b=SwizzleType.NO_SWIZZLE,
                            output_dtype=kind, use_fast_accum=False)]

    return run, m * k + n * k + m * n * (2 if b_block == 128 else 4)


def bf16(m, n, k):
    a, b = torch.randn(m, k, device="cuda", dtype=torch.bfloat16), torch.randn(n, k, device="cuda", dtype=torch.bfloat16)
    out = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
    return (lambda: torch.mm(a, b.t(), out=out)), 2 * (m * k + n * k + m * n)


def replay(graph):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    FILL.zero_()
    begin.record()
    graph.replay()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end)


def capture(runs, count):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(count):
            runs[i % len(runs)]()
    return graph


def measure_single(runs, repetitions=30):
    filled = torch.empty(8_000_000_000, dtype=torch.uint8, device="cuda")
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(2 * repetitions)]
    for i in range(repetitions):
        filled.zero_()
        marks[2 * i].record()
        runs[i % len(runs)]()
        marks[2 * i + 1].record()
    torch.cuda.synchronize()
    return statistics.median(marks[2 * i].elapsed_time(marks[2 * i + 1]) * 1000 for i in range(repetitions))


def measure(make, single):
    first, size = make()
    runs = [first] + [make()[0] for _ in range(max(2, -(-4 * L2 // size)) - 1)]
    for run in runs:
        run()
    torch.cuda.synchronize()
    trial = replay(capture(runs, len(runs))) / len(runs)
    rounds = min(max(1, -(-int(2000 / trial) // 1000 // len(runs))), max(1, 600 // len(runs)))
    count = rounds * len(runs)
    graph = capture(runs, count)
    replay(graph)
    bursts = []
    for _ in range(11):
        time.sleep(0.04)
        bursts.append(replay(graph) / count * 1000)
    one = replay(graph)
    replays = min(max(4, int(600 / one)), 2000)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(replays + 1)]
    for i in range(replays):
        marks[i].record()
        graph.replay()
    marks[replays].record()
    torch.cuda.synchronize()
    steady = [marks[i].elapsed_time(marks[i + 1]) / count * 1000 for i in range(replays // 2, replays)]
    return statistics.median(bursts), statistics.median(steady), count, measure_single(runs) if single else None


def main():
    parser = argparse.ArgumentParser()
    for kind in ("fp8", "wgrad", "bf16"):
        parser.add_argument("--" + kind, nargs="*", default=[])
    parser.add_argument("--single", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.manual_seed(1)
    print(f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, {torch.cuda.get_device_name(0)}", flush=True)
    rows = []
    for kind in ("fp8", "wgrad", "bf16"):
        for text in getattr(options, kind):
            m, n, k = map(int, text.split("x"))
            make = {"fp8": lambda: fp8(m, n, k, 128), "wgrad": lambda: fp8(m, n, k, 1), "bf16": lambda: bf16(m, n, k)}[kind]
            try:
                burst, steady, count, single = measure(make, options.single)
            except Exception as error:  # a shape or recipe that the library refuses is a result
                print(f"{kind} {text}: refused: {str(error).splitlines()[0][:200]}", flush=True)
                continue
            flop = 2 * m * n * k
            rows.append({"kind": kind, "m": m, "n": n, "k": k, "burst_us": burst, "sustained_us": steady, "launches": count, "single_us": single})
            print(f"{kind} {text}: burst {burst:.2f} us {flop / burst / 1e6:.0f} TFLOP/s, sustained {steady:.2f} us {flop / steady / 1e6:.0f}"
                  + (f", single {single:.2f} us {flop / single / 1e6:.0f}" if single else ""), flush=True)
            torch.cuda.empty_cache()
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"torch": torch.__version__, "cuda": torch.version.cuda, "device": torch.cuda.get_device_name(0), "rows": rows}, file, indent=1)


main()

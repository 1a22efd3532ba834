using Hadal.Kernels.Driver;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Library.Ladder;
using Hadal.Kernels.Measure;

namespace Hadal.Kernels.Device;

/// <summary>Graphs captured once and replayed with other counts and offsets in worst-case buffers; and a graph whose scratch memory comes from the pool.</summary>
static class Replay
{
    public static int Run(int rounds)
    {
        using CudaContext context = CudaContext.Open();
        Console.WriteLine($"{context.Info.Name}, {context.Info.Multiprocessors} SMs, CUDA {CudaDriver.Look().VersionText}");
        int wrong = 0;
        using (var runner = new CaseRunner(context))
        {
            foreach (IReadOnlyList<KernelCase> cases in ReplayCases.Small().Concat(ReplayCases.Large()))
            {
                (KernelCase last, CaseResult result) = runner.Replay(cases, rounds);
                if (!result.Passed) wrong++;
                Console.WriteLine(result.Passed
                    ? $"right: {cases[0].Build().Name}, one graph, {rounds} rounds of {cases.Count} contents, largest error {result.Error:E2}"
                    : $"WRONG {last.Name}: error {result.Error:E2} of {result.Tolerance:E2}; {result.Detail}");
            }
        }

        if (!Pool(context, rounds)) wrong++;
        return wrong == 0 ? 0 : 1;
    }

    /// <summary>y = x by way of memory that is allocated and freed on the stream, plainly and inside a graph; the pool must not grow once it is warm.</summary>
    static bool Pool(CudaContext context, int rounds)
    {
        const int Count = 1 << 22;
        Kernel copy = CopyKernel.Build();
        LoadedKernel kernel = context.Load(copy);
        using CudaStream stream = context.CreateStream();
        using DeviceMemory x = context.Allocate(4L * Count), y = context.Allocate(4L * Count);
        float[] numbers = [.. Enumerable.Range(0, Count).Select(i => (float)i)], back = new float[Count];
        x.Upload<float>(numbers);
        long warm = 0;
        for (int round = 0; round < Math.Max(3, rounds); round++)
        {
            Through();
            stream.Synchronize("Copying by way of the pool");
            if (round == 0) warm = context.Pool.ReservedBytes;
        }

        bool kept = context.Pool.ReservedBytes == warm && context.Pool.UsedBytes == 0, right = Arrived();
        var launches = new List<PreparedLaunch>();
        using (CudaGraph graph = stream.Capture(() => launches.AddRange(Through(keep: true))))
        {
            stream.Fill(y.Address, 0xFF, y.Bytes);
            for (int round = 0; round < rounds; round++) stream.Launch(graph);
            stream.Synchronize("Replaying a graph that allocates");
        }

        foreach (PreparedLaunch launch in launches) launch.Dispose();
        bool captured = Arrived();
        Console.WriteLine($"{(kept && right && captured ? "right" : "WRONG")}: memory pool, {warm} bytes held after the first of {rounds} rounds, {context.Pool.ReservedBytes} at the end, {context.Pool.UsedBytes} in use; contents {(right ? "right" : "wrong")}, in a graph {(captured ? "right" : "wrong")}");
        return kept && right && captured;

        PreparedLaunch[] Through(bool keep = false)
        {
            ulong scratch = context.Pool.Allocate(4L * Count, stream);
            PreparedLaunch there = kernel.Prepare(CopyKernel.Blocks(Count), [x.Address, scratch, (uint)Count]), on = kernel.Prepare(CopyKernel.Blocks(Count), [scratch, y.Address, (uint)Count]);
            there.Launch(stream);
            on.Launch(stream);
            context.Pool.Free(scratch, stream);
            if (keep) return [there, on];
            there.Dispose();
            on.Dispose();
            return [];
        }

        bool Arrived()
        {
            y.Download<float>(back);
            return back.AsSpan().SequenceEqual(numbers);
        }
    }
}

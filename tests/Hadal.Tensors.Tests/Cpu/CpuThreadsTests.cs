using System.Diagnostics;
using Hadal.Tensors.Cpu;

namespace Hadal.Tensors.Tests.Cpu;

public sealed unsafe class CpuThreadsTests
{
    sealed class Counts
    {
        public int[] PerItem = [];
        public CpuThreads? Threads;
    }

    // The context is an unmanaged pointer, so the managed state of these tests travels beside it.
    static Counts s_counts = new();
    static readonly Lock s_oneTest = new();

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(7)]
    public void Every_item_runs_once(int count)
    {
        lock (s_oneTest)
        {
            using var threads = new CpuThreads(count);
            for (int items = 0; items < 300; items++)
            {
                s_counts = new Counts { PerItem = new int[items] };
                threads.Run(items, &CountItem, null);
                Assert.All(s_counts.PerItem, n => Assert.Equal(1, n));
                if (items % 100 == 99) Thread.Sleep(2); // the workers are asleep when the next loop opens
            }
        }
    }

    [Fact]
    public void A_loop_inside_a_loop_runs_on_the_calling_thread()
    {
        lock (s_oneTest)
        {
            using var threads = new CpuThreads(3);
            s_counts = new Counts { PerItem = new int[40], Threads = threads };
            threads.Run(10, &RunInner, null);
            Assert.Equal(400, s_counts.PerItem.Sum());
        }
    }

    [Fact]
    public void Loops_of_two_callers_do_not_disturb_each_other()
    {
        lock (s_oneTest)
        {
            using var threads = new CpuThreads(2);
            s_counts = new Counts { PerItem = new int[50] };
            var callers = new Thread[3];
            for (int i = 0; i < callers.Length; i++)
            {
                callers[i] = new Thread(() =>
                {
                    for (int repeat = 0; repeat < 200; repeat++) threads.Run(50, &CountItem, null);
                });
                callers[i].Start();
            }

            foreach (Thread caller in callers) caller.Join();
            Assert.All(s_counts.PerItem, n => Assert.Equal(600, n));
        }
    }

    [Fact]
    public void An_exception_in_a_body_reaches_the_caller_and_the_next_loop_runs()
    {
        lock (s_oneTest)
        {
            using var threads = new CpuThreads(2);
            for (int repeat = 0; repeat < 20; repeat++)
            {
                InvalidOperationException? thrown = null;
                try
                {
                    threads.Run(100, &ThrowAtSeventy, null);
                }
                catch (InvalidOperationException exception)
                {
                    thrown = exception;
                }

                Assert.Equal("item 70", thrown?.Message);
                s_counts = new Counts { PerItem = new int[30] };
                threads.Run(30, &CountItem, null);
                Assert.All(s_counts.PerItem, n => Assert.Equal(1, n));
            }
        }
    }

    [Fact]
    public void A_call_allocates_nothing()
    {
        lock (s_oneTest)
        {
            using var threads = new CpuThreads(2);
            s_counts = new Counts { PerItem = new int[8] };
            for (int i = 0; i < 100; i++) threads.Run(8, &CountItem, null);
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 100; i++) threads.Run(8, &CountItem, null);
            Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        }
    }

    /// <summary>
    /// Run alone, on demand: the processor time of the whole process grows by other tests too. The quietest of several windows counts.
    /// </summary>
    [Fact]
    [Trait("tier", "soak")]
    public void Idle_workers_burn_no_processor_time()
    {
        lock (s_oneTest)
        {
            using var threads = new CpuThreads(9);
            s_counts = new Counts { PerItem = new int[64] };
            double least = double.MaxValue;
            for (int attempt = 0; attempt < 30 && least > 20; attempt++)
            {
                threads.Run(64, &CountItem, null);
                Thread.Sleep(20);
                TimeSpan before = Process.GetCurrentProcess().TotalProcessorTime;
                Thread.Sleep(100);
                least = Math.Min(least, (Process.GetCurrentProcess().TotalProcessorTime - before).TotalMilliseconds);
            }

            Assert.True(least <= 20, $"An idle pool used {least} ms of processor time in 100 ms.");
        }
    }

    [Fact]
    public void Parts_cover_the_range_once_at_multiples_of_the_granule()
    {
        foreach (int length in (int[])[0, 1, 15, 16, 17, 100, 1000])
        {
            foreach (int parts in (int[])[1, 2, 3, 64])
            {
                int next = 0;
                for (int part = 0; part < parts; part++)
                {
                    (int start, int end) = CpuThreads.Part(length, part, parts, 16);
                    Assert.Equal(next, start);
                    Assert.True(end == length || end % 16 == 0);
                    next = end;
                }

                Assert.Equal(length, next);
            }
        }
    }

    [Fact]
    public void The_environment_is_read_and_refused_with_a_reason()
    {
        Assert.Equal(new CpuOptions(3, InstructionSet.Scalar), CpuOptions.Parse("3", "scalar"));
        Assert.Equal(new CpuOptions(Environment.ProcessorCount, InstructionSets.Best), CpuOptions.Parse(null, ""));
        Assert.Contains("HADAL_THREADS", Assert.Throws<ArgumentException>(() => CpuOptions.Parse("0", null)).Message, StringComparison.Ordinal);
        Assert.Contains("scalar, 128", Assert.Throws<ArgumentException>(() => CpuOptions.Parse(null, "1024")).Message, StringComparison.Ordinal);
        foreach (InstructionSet set in Enum.GetValues<InstructionSet>())
        {
            if (InstructionSets.IsAvailable(set)) Assert.Equal(set, InstructionSets.Parse(InstructionSets.Name(set)));
            else Assert.Contains("this machine has only", Assert.Throws<NotSupportedException>(() => InstructionSets.Require(set)).Message, StringComparison.Ordinal);
        }
    }

    static void CountItem(void* context, int item) => Interlocked.Increment(ref s_counts.PerItem[item]);

    static void RunInner(void* context, int item) => s_counts.Threads!.Run(40, &CountItem, null);

    static void ThrowAtSeventy(void* context, int item)
    {
        if (item == 70) throw new InvalidOperationException("item 70");
    }
}

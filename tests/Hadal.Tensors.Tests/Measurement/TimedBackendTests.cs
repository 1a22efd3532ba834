using System.Reflection;
using Hadal.Tensors.Conformance;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Measurement;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Reference;

namespace Hadal.Tensors.Tests.Measurement;

/// <summary>A backend that is timed computes what the backend inside it computes, and says what was called.</summary>
public sealed class TimedBackendTests
{
    [Fact]
    public void Timed_operations_agree_with_the_reference()
    {
        using var inner = new CpuBackend(new CpuOptions(2, InstructionSets.Best));
        using var timed = new TimedBackend(inner);
        string failures = string.Join('\n', ConformanceSuite.Run(timed, 1).Where(r => !r.Passed));
        Assert.True(failures.Length == 0, failures);
    }

    [Fact]
    public void The_profile_counts_calls_seconds_and_multiply_adds()
    {
        using var inner = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
        using var timed = new TimedBackend(inner);
        Tensor x = New(timed, 5, 7), w = New(timed, 11, 7), y = New(timed, 5, 11), dw = New(timed, 11, 7);
        using PreparedWeight weight = timed.Operations.Matrix.Prepare([w], ProductUses.Training);
        for (int i = 0; i < 3; i++) timed.Operations.Matrix.Forward(x, weight, y);
        timed.Operations.Matrix.BackwardWeight(y, x, dw, accumulate: false);
        timed.Operations.Elementwise.Fill(y, 1);

        OperationTime forward = timed.Profile.Times.Single(t => t is { Group: "matrix", Name: "forward" });
        Assert.Equal(3, forward.Calls);
        Assert.Equal(3 * 2.0 * 5 * 7 * 11, forward.Flop);
        Assert.True(forward.Seconds > 0);
        Assert.Equal(2.0 * 5 * 7 * 11, timed.Profile.Times.Single(t => t is { Group: "matrix", Name: "weight gradient" }).Flop);
        Assert.Equal(1, timed.Profile.Times.Single(t => t.Name is "fill").Calls);
        Assert.Equal(3, timed.Profile.Products.Single(t => t.Name is "forward 5x11x7").Calls);
        Assert.Equal(1, timed.Profile.Products.Single(t => t.Name is "weight gradient 11x7x5").Calls);
        timed.Profile.Clear();
        Assert.Empty(timed.Profile.Times);
        Assert.Empty(timed.Profile.Products);
    }

    [Fact]
    public void Timing_allocates_nothing_once_warm()
    {
        using var inner = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
        using var timed = new TimedBackend(inner);
        Tensor x = New(timed, 5, 7), w = New(timed, 11, 7), y = New(timed, 5, 11);
        using PreparedWeight weight = timed.Operations.Matrix.Prepare([w], ProductUses.Forward);
        for (int i = 0; i < 100; i++) timed.Operations.Matrix.Forward(x, weight, y);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++) timed.Operations.Matrix.Forward(x, weight, y);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    /// <summary>A concern that is added to the vocabulary must be timed too: one left out would fall to the default member, or to nothing.</summary>
    [Fact]
    public void Every_concern_of_the_vocabulary_is_wrapped()
    {
        using var inner = new ReferenceBackend();
        using var timed = new TimedBackend(inner);
        foreach (PropertyInfo concern in typeof(IOperations).GetProperties())
        {
            object? given = concern.GetValue(timed.Operations), plain = concern.GetValue(inner.Operations);
            Assert.NotNull(given);
            Assert.NotSame(plain, given);
            Assert.StartsWith("Timed", given.GetType().Name, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_disposed_measurement_leaves_the_backend_usable()
    {
        using var inner = new CpuBackend(new CpuOptions(2, InstructionSets.Best));
        new TimedBackend(inner).Dispose();
        Tensor y = New(inner, 3, 4);
        inner.Operations.Elementwise.Fill(y, 2);
        Assert.Equal(2, y.Row<float>(2)[3]);
    }

    static Tensor New(IBackend backend, int rows, int columns)
    {
        Tensor tensor = Tensor.View(backend.Allocate(4L * rows * columns), 0, DType.F32, rows, columns);
        for (int i = 0; i < rows * columns; i++) tensor.AsSpan<float>()[i] = i % 5;
        return tensor;
    }
}

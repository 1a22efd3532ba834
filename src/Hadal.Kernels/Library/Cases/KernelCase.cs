using System.Runtime.InteropServices;
using Hadal.Kernels.Interpreter;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Launch;

namespace Hadal.Kernels.Library.Cases;

/// <summary>Global memory that a case needs. Whoever runs the case allocates it (256-byte aligned), fills it and reads it back.</summary>
/// <param name="Name">Name by which arguments and checks refer to it.</param>
/// <param name="Bytes">Size.</param>
/// <param name="Content">Makes the bytes it starts with, all of them; null for an output that starts poisoned (every byte 0xFF).</param>
public sealed record CaseBuffer(string Name, long Bytes, Func<byte[]>? Content = null)
{
    /// <summary>A buffer that starts with the elements that <paramref name="make"/> returns; they are made when first asked for, each time anew.</summary>
    public static CaseBuffer Of<T>(string name, long count, Func<T[]> make)
        where T : unmanaged => new(name, count * Marshal.SizeOf<T>(), () => MemoryMarshal.AsBytes(make().AsSpan()).ToArray());
}

/// <summary>An argument of a case's launch, before its buffers have addresses.</summary>
public abstract record CaseArgument
{
    /// <summary>A word.</summary>
    public sealed record Word(uint Value) : CaseArgument;

    /// <summary>The address of a buffer, moved by bytes.</summary>
    public sealed record Address(string Buffer, long ByteOffset = 0) : CaseArgument;

    /// <summary>A row-major matrix in a buffer, for a tensor map.</summary>
    public sealed record Matrix(string Buffer, ElementType Element, long Rows, long Columns, long RowStrideBytes, long ByteOffset = 0) : CaseArgument;
}

/// <summary>What a check found.</summary>
/// <param name="Passed">All of it was as defined.</param>
/// <param name="Error">The largest error met, relative as the check defines it; 0 where bits are compared.</param>
/// <param name="Tolerance">The largest error allowed.</param>
/// <param name="Detail">The first thing wrong: where, what it is, what was expected. Empty when passed.</param>
public sealed record CaseResult(bool Passed, double Error, double Tolerance, string Detail);

/// <summary>
/// One launch of a kernel with inputs and what must come out: run by the interpreter in unit tests, and on a device by the conformance run and the benchmarks.
/// Every family of kernels in the library offers its cases, so that they appear there without other work.
/// </summary>
public sealed record KernelCase
{
    /// <summary>Name, unique among all cases: family, shape, configuration.</summary>
    public required string Name { get; init; }

    /// <summary>Builds the kernel.</summary>
    public required Func<Kernel> Build { get; init; }

    /// <summary>Blocks to launch on a device of so many multiprocessors; a multiple of the kernel's cluster.</summary>
    public required Func<int, int> Blocks { get; init; }

    /// <summary>The memory it needs.</summary>
    public required IReadOnlyList<CaseBuffer> Buffers { get; init; }

    /// <summary>The kernel's arguments, in order.</summary>
    public required IReadOnlyList<CaseArgument> Arguments { get; init; }

    /// <summary>Compares results with the definition, after one launch from the initial contents. It is given a function from a buffer's name to its bytes.</summary>
    public required Func<Func<string, byte[]>, CaseResult> Check { get; init; }

    /// <summary>Floating-point operations of a launch (a multiply-add counts two); 0 for a copy-like kernel.</summary>
    public double Operations { get; init; }

    /// <summary>Bytes that must be read from and written to global memory once, at least.</summary>
    public double Bytes { get; init; }

    /// <summary>A launch changes what the next one finds, so repeated launches need the initial contents again before they can be compared.</summary>
    public bool Accumulates { get; init; }

    /// <summary>The arguments of a launch whose buffers lie at the given addresses (in the order of <see cref="Buffers"/>).</summary>
    public LaunchArgument[] Resolve(ReadOnlySpan<ulong> addresses)
    {
        var result = new LaunchArgument[Arguments.Count];
        for (int i = 0; i < result.Length; i++)
        {
            result[i] = Arguments[i] switch
            {
                CaseArgument.Word word => word.Value,
                CaseArgument.Address address => addresses[IndexOf(address.Buffer)] + (ulong)address.ByteOffset,
                CaseArgument.Matrix m => new TensorDescription(addresses[IndexOf(m.Buffer)] + (ulong)m.ByteOffset, m.Element, m.Rows, m.Columns, m.RowStrideBytes),
                _ => throw new InvalidOperationException($"Case {Name}: argument {i} is of no known kind."),
            };
        }

        return result;
    }

    /// <summary>Runs the case in the interpreter and checks it.</summary>
    /// <param name="seed">Seed of the interpreter's order of events.</param>
    /// <param name="multiprocessors">Multiprocessors to pretend: few, since the interpreter is slow.</param>
    /// <param name="accumulation">Arithmetic of matrix instructions; exact by default.</param>
    public CaseResult Interpret(ulong seed, int multiprocessors = 2, IAccumulationModel? accumulation = null)
    {
        var memory = new SimulatedMemory();
        var addresses = new ulong[Buffers.Count];
        for (int i = 0; i < addresses.Length; i++)
            addresses[i] = Buffers[i].Content is { } content ? memory.Upload<byte>(content()) : memory.Allocate(Buffers[i].Bytes);
        InterpreterOptions options = new() { Seed = seed, Accumulation = accumulation ?? new ExactAccumulation() };
        KernelInterpreter.Run(Build(), Blocks(multiprocessors), memory, Resolve(addresses), options);
        return Check(name => memory.Download<byte>(addresses[IndexOf(name)], Buffers[IndexOf(name)].Bytes));
    }

    int IndexOf(string buffer)
    {
        for (int i = 0; i < Buffers.Count; i++)
            if (string.Equals(Buffers[i].Name, buffer, StringComparison.Ordinal)) return i;
        throw new ArgumentException($"Case {Name} has no buffer '{buffer}': it has {string.Join(", ", Buffers.Select(b => b.Name))}.");
    }

    /// <inheritdoc/>
    public override string ToString() => Name;
}

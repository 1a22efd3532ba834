using Hadal.Numerics;
using Hadal.Tensors.Reference;

namespace Hadal.Tensors.Conformance;

/// <summary>Makes operands for a case, runs an operation on both sides, and keeps the largest difference.</summary>
public sealed class ConformanceContext : IDisposable
{
    /// <summary>Lies in memory that no operation may touch, and in outputs before they are written.</summary>
    const double Sentinel = 320; // exact in every element type

    readonly IBackend _candidate;
    readonly ReferenceBackend _reference = new();
    readonly ulong _seed;
    readonly TensorArena _device, _host;
    readonly List<Operand> _guarded = [];
    uint _stream;
    ulong _choices;

    /// <summary>A context for one run of one case.</summary>
    /// <param name="candidate">The backend under test.</param>
    /// <param name="seed">Chooses shapes and values.</param>
    /// <param name="type">Element type of activations.</param>
    public ConformanceContext(IBackend candidate, ulong seed, DType type)
    {
        ArgumentNullException.ThrowIfNull(candidate);
        _candidate = candidate;
        _seed = seed;
        Type = type;
        _device = new TensorArena(candidate);
        _host = new TensorArena(_reference);
        Tolerance = BaseTolerance;
    }

    /// <summary>Element type of activations.</summary>
    public DType Type { get; }

    /// <summary>Largest relative error so far.</summary>
    public double Error { get; private set; }

    /// <summary>The tolerance of the output with the largest tolerance.</summary>
    public double Tolerance { get; private set; }

    /// <summary>What was wrong; empty so far if nothing was.</summary>
    public string Failure { get; private set; } = "";

    /// <summary>Relative error (Frobenius) that rounding to the type of activations explains: 16 units of the last place.</summary>
    public double BaseTolerance => Type switch
    {
        DType.F64 => 1e-13,
        DType.F32 => 2e-6,
        DType.F16 => 2e-3,
        DType.BF16 => 1.2e-2,
        _ => throw new NotSupportedException($"Conformance cases run with activations in F64, F32, F16 or BF16; {Type} was asked."),
    };

    /// <summary>One of the values, by the seed.</summary>
    public int Pick(params ReadOnlySpan<int> values) => values[new CounterRandom(_seed, RandomPurpose.TestData, uint.MaxValue).Below(_choices++, values.Length)];

    /// <summary>A fresh stream of random numbers.</summary>
    public CounterRandom Random() => new(_seed, RandomPurpose.TestData, _stream++);

    /// <summary>Normally distributed elements of the activation type.</summary>
    public Operand Normal(string name, ReadOnlySpan<int> shape, double deviation = 1, int apart = 0, DType? type = null)
    {
        CounterRandom random = Random();
        return Input(name, shape, i => deviation * random.Normal((ulong)i), apart, type);
    }

    /// <summary>An input with the same elements on both sides; rows <paramref name="apart"/> extra elements apart on the candidate's.</summary>
    public Operand Input(string name, ReadOnlySpan<int> shape, Func<long, double> element, int apart = 0, DType? type = null)
    {
        Tensor reference = _host.Allocate(type ?? Type, shape);
        Write(reference, element);
        return Place(name, reference, reference, apart);
    }

    /// <summary>Integers, equal on both sides.</summary>
    public Operand Integers(string name, ReadOnlySpan<int> shape, ReadOnlySpan<int> values)
    {
        Tensor reference = _host.Allocate(DType.I32, shape);
        values.CopyTo(reference.AsSpan<int>());
        return Place(name, reference, reference, apart: 0);
    }

    /// <summary>An output full of values that the operation must overwrite. On the reference's side it is F64.</summary>
    public Operand Output(string name, ReadOnlySpan<int> shape, int apart = 0, DType? type = null) => Accumulator(name, shape, _ => Sentinel, apart, type);

    /// <summary>An integer output full of values that the operation must overwrite.</summary>
    public Operand IntegerOutput(string name, params ReadOnlySpan<int> shape)
    {
        Tensor reference = _host.Allocate(DType.I32, shape);
        reference.AsSpan<int>().Fill((int)Sentinel);
        return Place(name, reference, reference, apart: 0);
    }

    /// <summary>An output that already holds values, to be added to or partly kept.</summary>
    public Operand Accumulator(string name, ReadOnlySpan<int> shape, Func<long, double> element, int apart = 0, DType? type = null)
    {
        Tensor initial = _host.Allocate(type ?? Type, shape), reference = _host.Allocate(DType.F64, shape);
        Write(initial, element);
        _reference.Operations.Elementwise.Copy(initial, reference);
        return Place(name, initial, reference, apart);
    }

    /// <summary>An output that already holds normally distributed values.</summary>
    public Operand NormalAccumulator(string name, ReadOnlySpan<int> shape, int apart = 0, DType? type = null)
    {
        CounterRandom random = Random();
        return Accumulator(name, shape, i => random.Normal((ulong)i), apart, type);
    }

    /// <summary>The backend whose operations these are: for memory of one side alone.</summary>
    public IBackend BackendOf(IOperations operations) => ReferenceEquals(operations, _candidate.Operations) ? _candidate : _reference;

    /// <summary>Runs the operation on the candidate, then on the reference.</summary>
    /// <param name="operation">Gets the operations, and the function that gives an operand's tensor on that side (the absent tensor for null).</param>
    public void Run(Action<IOperations, Func<Operand?, Tensor>> operation)
    {
        ArgumentNullException.ThrowIfNull(operation);
        operation(_candidate.Operations, operand => operand is null ? default : operand.Candidate);
        _candidate.Synchronize();
        operation(_reference.Operations, operand => operand is null ? default : operand.Reference);
    }

    /// <summary>The output's relative Frobenius error stays below <paramref name="factor"/> times the tolerance of the type, and no element is off by
    /// more than 64 times that, measured against the root mean square of the output.</summary>
    public void Compare(Operand output, double factor = 1)
    {
        ArgumentNullException.ThrowIfNull(output);
        CompareWithin(output, factor * BaseTolerance, 64 * factor * BaseTolerance);
    }

    /// <summary>As <see cref="Compare"/> with both limits given: Frobenius error, and largest element error over the root mean square.</summary>
    public void CompareWithin(Operand output, double tolerance, double elementTolerance)
    {
        ArgumentNullException.ThrowIfNull(output);
        double[] candidate = Read(Fetch(output.Candidate)), reference = Read(output.Reference);
        Tolerance = Math.Max(Tolerance, tolerance);
        if (candidate.Length == 0) return;
        double frobenius = RelativeDifference.Frobenius<double>(candidate, reference), squares = 0, largest = 0;
        int place = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            squares += reference[i] * reference[i];
            double difference = Math.Abs(candidate[i] - reference[i]);
            if (difference <= largest) continue;
            largest = difference;
            place = i;
        }

        if (!(Error >= frobenius)) Error = frobenius;
        double rms = Math.Sqrt(squares / reference.Length);
        if (!(frobenius <= tolerance) || !(largest <= elementTolerance * rms))
        {
            Fail($"{output.Name} {output.Candidate}: relative error {frobenius:E2} (tolerance {tolerance:E1}); worst at element {place}: "
                + $"{candidate[place]:R}, expected {reference[place]:R} (root mean square {rms:G3})");
        }
    }

    /// <summary>Every element of the output equals the reference's, rounded to the candidate's type.</summary>
    public void Exact(Operand output)
    {
        ArgumentNullException.ThrowIfNull(output);
        Tensor candidate = Fetch(output.Candidate), reference = output.Reference;
        if (reference.DType != candidate.DType)
        {
            reference = _host.Allocate(candidate.DType, candidate.Rows, candidate.Columns);
            _reference.Operations.Elementwise.Copy(output.Reference, reference);
        }

        double[] given = Read(candidate), expected = Read(reference);
        for (int i = 0; i < given.Length; i++)
        {
            if (given[i].Equals(expected[i])) continue;
            Error = double.PositiveInfinity;
            Fail($"{output.Name} {output.Candidate}: element {i} is {given[i]:R}, expected exactly {expected[i]:R}");
            return;
        }
    }

    /// <summary>Records what was wrong.</summary>
    public void Fail(string what) => Failure = Failure.Length == 0 ? what : Failure + "; " + what;

    /// <summary>Nothing between rows that lie apart was touched.</summary>
    public void CheckGuards()
    {
        foreach (Operand operand in _guarded)
        {
            int columns = operand.Candidate.Columns;
            Tensor between = Fetch(operand.Backing.SliceColumns(columns, operand.Backing.Columns - columns));
            foreach (double value in Read(between))
            {
                if (value == Sentinel) continue;
                Fail($"{operand.Name}: memory between the rows was overwritten with {value:R}");
                break;
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _device.Dispose();
        _host.Dispose();
        _reference.Dispose();
    }

    Operand Place(string name, Tensor values, Tensor reference, int apart)
    {
        if (apart == 0)
        {
            Span<int> shape = stackalloc int[values.Rank];
            for (int axis = 0; axis < shape.Length; axis++) shape[axis] = values[axis];
            Tensor plain = _device.Allocate(values.DType, shape);
            Send(values, plain);
            return new Operand(name, plain, reference, plain);
        }

        Span<int> wide = stackalloc int[values.Rank];
        for (int axis = 0; axis < wide.Length; axis++) wide[axis] = values[axis];
        wide[^1] += apart;
        Tensor backing = _device.Allocate(values.DType, wide), guard = _host.Allocate(values.DType, wide);
        _reference.Operations.Elementwise.Fill(guard, Sentinel);
        _reference.Operations.Elementwise.Copy(values, guard.SliceColumns(0, values.Columns));
        Send(guard, backing);
        var operand = new Operand(name, backing.SliceColumns(0, values.Columns), reference, backing);
        _guarded.Add(operand);
        return operand;
    }

    void Send(Tensor host, Tensor candidate)
    {
        (candidate.IsHost ? _reference.Operations : _candidate.Operations).Elementwise.Copy(host, candidate);
        if (!candidate.IsHost) _candidate.Synchronize();
    }

    Tensor Fetch(Tensor candidate)
    {
        if (candidate.IsHost) return candidate;
        Tensor host = _host.Allocate(candidate.DType, candidate.Rows, candidate.Columns);
        _candidate.Operations.Elementwise.Copy(candidate, host);
        _candidate.Synchronize();
        return host;
    }

    static void Write(Tensor tensor, Func<long, double> element)
    {
        double[] row = new double[tensor.Columns];
        for (int r = 0; r < tensor.Rows; r++)
        {
            for (int c = 0; c < row.Length; c++) row[c] = element(((long)r * row.Length) + c);
            ElementConversion.Store(row, tensor, r);
        }
    }

    static double[] Read(Tensor tensor)
    {
        double[] values = new double[checked((int)tensor.Length)];
        for (int r = 0; r < tensor.Rows; r++)
        {
            Span<double> row = values.AsSpan(r * tensor.Columns, tensor.Columns);
            if (tensor.DType != DType.I32) ElementConversion.Load(tensor, r, row);
            else for (int c = 0; c < row.Length; c++) row[c] = tensor.Row<int>(r)[c];
        }

        return values;
    }
}

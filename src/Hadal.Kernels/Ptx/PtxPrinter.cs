using System.Globalization;
using System.Text;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Ptx;

/// <summary>
/// Writes a kernel as PTX for sm_90a. One method an operation; every line of C# that recorded instructions is noted behind the first of them. Values and variables
/// become virtual registers: ptxas allocates them well, and moves between them cost nothing.
/// </summary>
public sealed partial class PtxPrinter
{
    readonly StringBuilder _body = new();
    readonly Kernel _kernel;
    readonly Dictionary<int, string> _values = [];
    readonly Dictionary<int, string> _literals = [];
    readonly Dictionary<int, string> _variables = [];
    readonly SortedDictionary<int, FragmentRegisters> _fragments = [];
    int _words, _longs, _floats, _predicates, _halves, _labels;
    bool _usesWgmma, _usesVectorReduction;
    SourceLine _noted, _current;

    PtxPrinter(Kernel kernel) => _kernel = kernel;

    /// <summary>The PTX text of a kernel, ASCII, ending in a newline. The kernel is verified first, unless told otherwise.</summary>
    /// <exception cref="Verify.KernelVerificationException">The kernel does not verify.</exception>
    public static string Print(Kernel kernel, bool verify = true)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        if (verify) Verify.KernelVerifier.Require(kernel);
        return new PtxPrinter(kernel).Run();
    }

    string Run()
    {
        Print(_kernel.Body);
        Line("ret;");
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $".version {(_usesVectorReduction ? "8.1" : "8.0")}\n.target sm_90a\n.address_size 64\n\n");
        if (_kernel.SharedBytes > 0) text.Append(".extern .shared .align 1024 .b8 smem[];\n\n");
        text.Append(CultureInfo.InvariantCulture, $".visible .entry {_kernel.Name}(\n");
        for (int i = 0; i < _kernel.Parameters.Count; i++)
            text.Append("  ").Append(Declare(_kernel.Parameters[i], i)).Append(i == _kernel.Parameters.Count - 1 ? ")\n" : ",\n");
        if (_kernel.Parameters.Count == 0) text.Append(")\n");
        text.Append(CultureInfo.InvariantCulture, $".maxntid {_kernel.ThreadsPerBlock}, 1, 1\n.minnctapersm {_kernel.BlocksPerMultiprocessor}\n");
        if (_kernel.ClusterSize > 1) text.Append(CultureInfo.InvariantCulture, $".explicitcluster\n.reqnctapercluster {_kernel.ClusterSize}, 1, 1\n");
        text.Append("{\n");
        DeclareRegisters(text, ".pred", "%p", _predicates);
        DeclareRegisters(text, ".b16", "%h", _halves);
        DeclareRegisters(text, ".b32", "%r", _words);
        DeclareRegisters(text, ".b64", "%rd", _longs);
        DeclareRegisters(text, ".f32", "%f", _floats);
        foreach (FragmentRegisters fragment in _fragments.Values)
            text.Append(CultureInfo.InvariantCulture, $"  .reg .f32 %{fragment.Name}{fragment.Id}_<{fragment.RegistersPerThread}>;\n");
        if (_usesWgmma)
        {
            text.Append("  .reg .pred %accumulate, %overwrite;\n  .reg .b32 %descriptor_high;\n");
            text.Append("  setp.eq.u32 %accumulate, 0, 0;\n  setp.ne.u32 %overwrite, 0, 0;\n");

            // K-major, 128-byte swizzle (bit 62), 1024 bytes from one group of 8 rows to the next.
            text.Append("  mov.u32 %descriptor_high, 0x40000040;\n");
        }

        return text.Append(_body).Append("}\n").ToString();
    }

    static void DeclareRegisters(StringBuilder text, string type, string prefix, int count)
    {
        if (count > 0) text.Append(CultureInfo.InvariantCulture, $"  .reg {type} {prefix}<{count}>;\n");
    }

    string Declare(KernelParameter parameter, int index) => parameter switch
    {
        TensorMapParameter => $".param .align 64 .b8 {ParameterName(index)}[128]",
        PointerParameter => $".param .u64 {ParameterName(index)}",
        ScalarParameter { Type: ScalarType.F32 } => $".param .f32 {ParameterName(index)}",
        ScalarParameter { Type: ScalarType.U64 } => $".param .u64 {ParameterName(index)}",
        _ => $".param .u32 {ParameterName(index)}",
    };

    string ParameterName(int index) => "parameter_" + _kernel.Parameters[index].Name;

    void Line(string text)
    {
        _body.Append("  ").Append(text);
        if (_current.File is not null && _current != _noted)
        {
            _body.Append("  // ").Append(_current);
            _noted = _current;
        }

        _body.Append('\n');
    }

    void Label(string label) => _body.Append(label).Append(":\n");

    string NewLabel(string hint) => string.Create(CultureInfo.InvariantCulture, $"L{_labels++}_{hint}");

    string New(ScalarType type) => type switch
    {
        ScalarType.Predicate => $"%p{_predicates++}",
        ScalarType.U32 => $"%r{_words++}",
        ScalarType.U64 => $"%rd{_longs++}",
        _ => $"%f{_floats++}",
    };

    string NewHalf() => $"%h{_halves++}";

    /// <summary>The register a result is written to.</summary>
    string Define(Value value) => _values[value.Id] = New(value.Type);

    /// <summary>An operand: a register, or the literal of a constant.</summary>
    string Use(Value value) => _literals.TryGetValue(value.Id, out string? literal) ? literal : Named(value);

    /// <summary>An operand where PTX takes registers only.</summary>
    string UseRegister(Value value)
    {
        if (!_literals.TryGetValue(value.Id, out string? literal)) return Named(value);
        string register = New(value.Type);
        Line($"mov.{Suffix(value.Type)} {register}, {literal};");
        return register;
    }

    string Named(Value value) => _values.TryGetValue(value.Id, out string? name)
        ? name
        : throw new InvalidOperationException($"Kernel {_kernel.Name}: {value} is used at {_current} before it is defined. Verify the kernel before printing it.");

    string Use(Variable variable)
    {
        if (!_variables.TryGetValue(variable.Id, out string? name)) _variables[variable.Id] = name = New(variable.Type);
        return name;
    }

    string Element(FragmentRegisters fragment, int element)
    {
        _fragments.TryAdd(fragment.Id, fragment);
        return $"%{fragment.Name}{fragment.Id}_{element}";
    }

    static string Guard(string? predicate) => predicate is null ? "" : $"@{predicate} ";

    static string Suffix(ScalarType type) => type switch
    {
        ScalarType.Predicate => "pred",
        ScalarType.U32 => "u32",
        ScalarType.U64 => "u64",
        _ => "f32",
    };

    static string BitSuffix(ScalarType type) => type switch
    {
        ScalarType.Predicate => "pred",
        ScalarType.U64 => "b64",
        ScalarType.F32 => "f32",
        _ => "b32",
    };

    void Print(Block block)
    {
        foreach (Operation operation in block.Operations)
        {
            _current = operation.Source;
            Print(operation);
        }
    }

    void Print(Operation operation)
    {
        switch (operation)
        {
            case Constant o: PrintConstant(o); break;
            case ReadSpecial o: PrintReadSpecial(o); break;
            case ReadParameter o: PrintReadParameter(o); break;
            case SharedAddress o: PrintSharedAddress(o); break;
            case Binary o: PrintBinary(o); break;
            case Unary o: PrintUnary(o); break;
            case MultiplyWide o: PrintMultiplyWide(o); break;
            case FusedMultiplyAdd o: PrintFusedMultiplyAdd(o); break;
            case Compare o: PrintCompare(o); break;
            case Select o: PrintSelect(o); break;
            case PackBF16 o: PrintPackBF16(o); break;
            case PackE4M3 o: PrintPackE4M3(o); break;
            case UnpackE4M3 o: PrintUnpackE4M3(o); break;
            case Shuffle o: PrintShuffle(o); break;
            case ReadVariable o: PrintReadVariable(o); break;
            case WriteVariable o: PrintWriteVariable(o); break;
            case LoadGlobal o: PrintLoadGlobal(o); break;
            case StoreGlobal o: PrintStoreGlobal(o); break;
            case StoreGlobalHalf o: PrintStoreGlobalHalf(o); break;
            case AddGlobal o: PrintAddGlobal(o); break;
            case LoadShared o: PrintLoadShared(o); break;
            case StoreShared o: PrintStoreShared(o); break;
            case StoreMatrix o: PrintStoreMatrix(o); break;
            case LoadMatrix o: PrintLoadMatrix(o); break;
            case MultiplySync o: PrintMultiplySync(o); break;
            case AtomicAdd o: PrintAtomicAdd(o); break;
            case FillFragment o: PrintFillFragment(o); break;
            case ScaleFragment o: PrintScaleFragment(o); break;
            case ReadFragment o: PrintReadFragment(o); break;
            case PackFragment o: PrintPackFragment(o); break;
            case Wgmma o: PrintWgmma(o); break;
            case WgmmaFence: Line("wgmma.fence.sync.aligned;"); break;
            case WgmmaCommit: Line("wgmma.commit_group.sync.aligned;"); break;
            case WgmmaWait o: Line($"wgmma.wait_group.sync.aligned {o.Pending};"); break;
            case BarrierInitialize o: PrintBarrierInitialize(o); break;
            case BarrierArrive o: PrintBarrierArrive(o); break;
            case BarrierExpect o: PrintBarrierExpect(o); break;
            case BarrierWait o: PrintBarrierWait(o); break;
            case FenceBarrierInitialize: Line("fence.mbarrier_init.release.cluster;"); break;
            case FenceProxyAsync: Line("fence.proxy.async.shared::cta;"); break;
            case TensorLoad o: PrintTensorLoad(o); break;
            case TensorStore o: PrintTensorStore(o); break;
            case PrefetchTensorMap o: PrintPrefetchTensorMap(o); break;
            case BulkCommit: Line("cp.async.bulk.commit_group;"); break;
            case BulkWait o: Line($"cp.async.bulk.wait_group{(o.ReadOnly ? ".read" : "")} {o.Pending};"); break;
            case MapToPeer o: PrintMapToPeer(o); break;
            case WarpSync: Line("bar.warp.sync 0xffffffff;"); break;
            case NamedBarrier o: Line($"bar.{(o.Wait ? "sync" : "arrive")} {o.Index}, {o.Threads};"); break;
            case ClusterSync: PrintClusterSync(); break;
            case Refuse o: Line($"@{UseRegister(o.Condition)} trap;"); break;
            case GridDependencyWait: Line("griddepcontrol.wait;"); break;
            case GridDependencyLaunch: Line("griddepcontrol.launch_dependents;"); break;
            case If o: PrintIf(o); break;
            case Loop o: PrintLoop(o); break;
            case RoleSwitch o: PrintRoleSwitch(o); break;
            default: throw new InvalidOperationException($"The PTX printer has no rule for '{operation.Mnemonic}' ({operation.Source}): add one beside its record.");
        }
    }
}

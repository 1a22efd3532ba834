using System.Runtime.CompilerServices;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Verify;

/// <summary>
/// Finds, without running it, what is wrong with a kernel: types, alignment, budgets of shared memory and registers, fences, barriers and products, divergence.
/// Numbers that only a launch knows (word parameters, loaded values) are trusted; what they break the interpreter finds.
/// </summary>
public static class KernelVerifier
{
    static readonly ConditionalWeakTable<Kernel, IReadOnlyList<VerifierFinding>> Known = [];

    /// <summary>Everything wrong, in the order of the rules; empty for a good kernel. A kernel object is looked at once.</summary>
    public static IReadOnlyList<VerifierFinding> Verify(Kernel kernel)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        return Known.GetValue(kernel, Examine);
    }

    /// <summary>Throws when the kernel does not verify.</summary>
    /// <exception cref="KernelVerificationException">Something is wrong.</exception>
    public static void Require(Kernel kernel)
    {
        IReadOnlyList<VerifierFinding> findings = Verify(kernel);
        if (findings.Count > 0) throw new KernelVerificationException(kernel.Name, findings);
    }

    static IReadOnlyList<VerifierFinding> Examine(Kernel kernel)
    {
        var findings = new Findings();
        LaunchRules.Check(kernel, findings);
        DefinitionRules.Check(kernel, findings);
        TypeRules.Check(kernel, findings);

        // The rules below read types and definitions.
        if (findings.List.Count > 0) return findings.List;
        var facts = new ValueFacts(kernel);
        AlignmentRules.Check(kernel, facts, findings);
        BarrierRules.Check(kernel, facts, findings);
        TurnRules.Check(kernel, facts, findings);
        FlowRules.Check(kernel, facts, findings);
        return findings.List;
    }
}

/// <summary>Findings without repetition.</summary>
sealed class Findings
{
    readonly HashSet<VerifierFinding> _known = [];

    public List<VerifierFinding> List { get; } = [];

    public void Add(VerifierRule rule, SourceLine source, string what, string mend)
    {
        var finding = new VerifierFinding(rule, source, what, mend);
        if (_known.Add(finding)) List.Add(finding);
    }
}

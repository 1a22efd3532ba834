namespace Hadal.Tensors.Cpu;

/// <summary>
/// What every concern of the CPU backend is built from: the threads and the instruction set. A concern is written once, generic over
/// <see cref="Lanes.ILanes{TSelf}"/>, and chosen when the backend is made, for example
/// <c>context.InstructionSet switch { InstructionSet.Vector512 => new CpuElementwise&lt;Lanes512&gt;(context), … }</c>.
/// </summary>
/// <param name="Threads">The workers.</param>
/// <param name="InstructionSet">Available on this machine.</param>
public sealed record CpuContext(CpuThreads Threads, InstructionSet InstructionSet);

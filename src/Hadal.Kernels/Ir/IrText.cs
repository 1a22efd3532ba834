using System.Globalization;
using System.Text;

namespace Hadal.Kernels.Ir;

/// <summary>Writes a kernel as text for people and for comparisons: everything but the C# lines, so that kernels with equal texts are equal but for these.</summary>
static class IrText
{
    public static string Write(Kernel kernel)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"kernel {kernel.Name} threads {kernel.ThreadsPerBlock} cluster {kernel.ClusterSize} shared {kernel.SharedBytes} blocks_per_multiprocessor {kernel.BlocksPerMultiprocessor}\n");
        for (int i = 0; i < kernel.Parameters.Count; i++) text.Append(CultureInfo.InvariantCulture, $"  parameter {i} {Describe(kernel.Parameters[i])}\n");
        foreach (SharedRegion region in kernel.SharedRegions)
            text.Append(CultureInfo.InvariantCulture, $"  shared {region.Name} at {region.ByteOffset} bytes {region.Bytes} aligned {region.Alignment}\n");
        foreach (PipelineDeclaration pipeline in kernel.Pipelines)
        {
            text.Append(CultureInfo.InvariantCulture, $"  pipeline {pipeline.Name} stages {pipeline.Stages} bytes {pipeline.BytesPerStage} arrivals {pipeline.ConsumerArrivals} full at {pipeline.FullOffset} empty at {pipeline.EmptyOffset}");
            text.Append(CultureInfo.InvariantCulture, $" filled as slots {pipeline.ProducerSlots} read as slots {pipeline.ConsumerSlots} shares {pipeline.Shares}\n");
        }

        Append(text, kernel.Body, 1);
        return text.ToString();
    }

    static string Describe(KernelParameter parameter) => parameter switch
    {
        ScalarParameter scalar => $"{scalar.Name} {Names.Of(scalar.Type)}",
        PointerParameter pointer => $"{pointer.Name} pointer to {pointer.Element}",
        TensorMapParameter map => $"{map.Name} tensor map of {map.Element} box {map.BoxRows}x{map.BoxColumns} swizzle {map.Swizzle}",
        _ => parameter.Name,
    };

    /// <summary>One operation without its blocks.</summary>
    public static string Line(Operation operation)
    {
        var text = new StringBuilder();
        if (operation.Results.Count > 0) text.Append(operation.Results).Append(" = ");
        text.Append(operation.Mnemonic);
        if (operation.Operands.Count > 0) text.Append(' ').Append(operation.Operands);
        if (operation.Attributes.Length > 0) text.Append(" {").Append(operation.Attributes).Append('}');
        return text.ToString();
    }

    static void Append(StringBuilder text, Block block, int depth)
    {
        foreach (Operation operation in block.Operations)
        {
            text.Append(' ', 2 * depth).Append(Line(operation)).Append('\n');
            switch (operation)
            {
                case If branch:
                    Append(text, branch.Then, depth + 1);
                    if (branch.Otherwise is { } otherwise)
                    {
                        text.Append(' ', 2 * depth).Append("else\n");
                        Append(text, otherwise, depth + 1);
                    }

                    break;
                case Loop loop:
                    Append(text, loop.Test, depth + 1);
                    text.Append(' ', 2 * depth).Append("do\n");
                    Append(text, loop.Body, depth + 1);
                    break;
                case RoleSwitch roles:
                    foreach (Role role in roles.Roles)
                    {
                        text.Append(' ', 2 * depth + 1).Append(CultureInfo.InvariantCulture, $"role {role.Name} warpgroups {role.FirstWarpgroup}..{role.FirstWarpgroup + role.Warpgroups - 1} registers {role.Registers}\n");
                        Append(text, role.Body, depth + 1);
                    }

                    break;
                default:
                    break;
            }
        }
    }
}

using System.Security.Cryptography;
using System.Text;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Ptx;

/// <summary>What tells one form of a kernel from another: figures are those of the form that was measured.</summary>
public static class PtxDigest
{
    /// <summary>SHA-256 of the kernel's PTX in hexadecimal, without the notes of C# lines: code that only moves in its file stays the same kernel.</summary>
    public static string Of(Kernel kernel)
    {
        var text = new StringBuilder();
        foreach (string line in PtxPrinter.Print(kernel).Split('\n'))
        {
            int note = line.IndexOf("  // ", StringComparison.Ordinal);
            text.Append(note < 0 ? line : line.AsSpan(0, note)).Append('\n');
        }

        return Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes(text.ToString())));
    }
}

using System.Runtime.InteropServices;

namespace Hadal.Kernels.Driver;

/// <summary>An error that the NVIDIA driver reported, or a use that it would refuse.</summary>
public sealed class CudaException : Exception
{
    internal CudaException(string message, int code = 0)
        : base(message) => Code = code;

    /// <summary>The driver's number of the error (CUresult), or zero.</summary>
    public int Code { get; }

    /// <summary>
    /// True when the error leaves the context unusable (illegal address, launch failure, misaligned access, assertion): only a new process helps.
    /// </summary>
    public bool IsSticky => Code is 700 or 702 or 709 or 710 or (>= 714 and <= 719);
}

/// <summary>Turns codes of the driver into exceptions.</summary>
static unsafe class CudaCheck
{
    /// <summary>Throws unless <paramref name="code"/> is zero. <paramref name="what"/> says what was being done, with its kernel or sizes.</summary>
    public static void Ok(int code, string what)
    {
        if (code != 0) throw Failure(code, what);
    }

    public static CudaException Failure(int code, string what) => new($"{what}: the NVIDIA driver says {Describe(code)}", code);

    public static string Describe(int code)
    {
        byte* name = null, text = null;
        if (CudaLibrary.cuGetErrorName(code, &name) != 0 || name == null) return $"error {code}, unknown to it.";
        _ = CudaLibrary.cuGetErrorString(code, &text);
        string hint = code is 715 or 719 ? " So ends a kernel that refuses what it was given, such as offsets of groups that are not multiples of what its documentation says." : "";
        return $"{Marshal.PtrToStringUTF8((nint)name)} ({code}): {Marshal.PtrToStringUTF8((nint)text)}.{hint}";
    }
}

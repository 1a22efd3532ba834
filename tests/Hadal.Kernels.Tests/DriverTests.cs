using Hadal.Kernels.Driver;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Ladder;

namespace Hadal.Kernels.Tests;

/// <summary>What the driver's side says and does on machines without a GPU, and its parts that need none.</summary>
public sealed class DriverTests
{
    [Fact]
    public void A_machine_without_the_library_is_told_what_is_missing()
    {
        CudaState state = CudaDriver.Examine("libcuda-that-is-not-there.so.1");
        Assert.False(state.IsUsable);
        Assert.Empty(state.Devices);
        Assert.Contains("libcuda-that-is-not-there.so.1 was not found", state.Refusal, StringComparison.Ordinal);
        Assert.Contains("cpu", state.Refusal, StringComparison.Ordinal);
    }

    [Fact]
    public void Another_library_is_refused()
    {
        if (!OperatingSystem.IsLinux()) return;
        Assert.Contains("has no cuDriverGetVersion", CudaDriver.Examine("libm.so.6").Refusal, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(11080, "11.8")]
    [InlineData(12000, "12.0")]
    public void An_old_driver_is_refused_with_both_versions(int version, string said)
    {
        string refusal = CudaDriver.RefusalOf(version)!;
        Assert.Contains($"CUDA {said};", refusal, StringComparison.Ordinal);
        Assert.Contains("12.1", refusal, StringComparison.Ordinal);
    }

    [Fact]
    public void A_new_enough_driver_is_not_refused() => Assert.Null(CudaDriver.RefusalOf(CudaDriver.OldestVersion));

    [Theory]
    [InlineData(8, 0, false)]
    [InlineData(9, 0, true)]
    [InlineData(10, 0, false)]
    public void Only_Hopper_is_used(int major, int minor, bool used)
    {
        var device = new CudaDeviceInfo(0, "Some GPU", "", major, minor, 100, 1L << 34, 1 << 25, 232448);
        Assert.Equal(used, device.Refusal is null);
        if (!used) Assert.Contains($"{major}.{minor}", device.Refusal, StringComparison.Ordinal);
    }

    [Fact]
    public void Opening_a_GPU_where_there_is_none_is_an_error_with_the_reason()
    {
        CudaState state = CudaDriver.Look();
        if (state.IsUsable) return;
        CudaException error = Assert.Throws<CudaException>(() => CudaContext.Open());
        Assert.Equal(state.Refusal, error.Message);
    }

    [Theory]
    [InlineData("CUDA_CACHE_PATH=/told,HADAL_HOME=/data", "/told")]
    [InlineData("HADAL_HOME=/data", "/data/kernels")]
    public void Compiled_kernels_lie_where_the_user_says(string variables, string folder)
    {
        var set = variables.Split(',').Select(v => v.Split('=')).ToDictionary(v => v[0], v => v[1], StringComparer.Ordinal);
        Assert.Equal(folder, ModuleCache.FolderOf(name => set.GetValueOrDefault(name)));
    }

    [Fact]
    public void Without_a_folder_of_their_own_compiled_kernels_lie_in_the_users_data() =>
        Assert.EndsWith(Path.Combine("hadal", "kernels"), ModuleCache.FolderOf(_ => null), StringComparison.Ordinal);

    [Fact]
    public void What_was_compiled_is_kept_by_text_card_and_driver()
    {
        string mark = ModuleCache.MarkOf("text", "a card", 13000);
        Assert.Equal(mark, ModuleCache.MarkOf("text", "a card", 13000));
        Assert.StartsWith(ModuleCache.Folder, mark, StringComparison.Ordinal);
        Assert.Equal(4, new[] { mark, ModuleCache.MarkOf("other", "a card", 13000), ModuleCache.MarkOf("text", "another", 13000), ModuleCache.MarkOf("text", "a card", 12000) }.Distinct(StringComparer.Ordinal).Count());
    }

    [Fact]
    public void Kernels_are_printed_in_their_order()
    {
        Kernel[] kernels = [CopyKernel.Build(), AddKernel.Build(), CopyKernel.Build()];
        IReadOnlyList<PrintedKernel> printed = PrintedKernel.Of(kernels);
        Assert.Equal(string.Join(" ", kernels.Select(k => k.Name)), string.Join(" ", printed.Select(p => p.Kernel.Name)));
        Assert.All(printed, p => Assert.Equal(Ptx.PtxPrinter.Print(p.Kernel), p.Text));
    }
}

using Hadal.Kernels.Library.Gemm;
using Hadal.Kernels.Ptx;

if (args.Length < 2 || args[0] is not "dump") return 2;
Directory.CreateDirectory(args[1]);
var kernels = new List<Hadal.Kernels.Ir.Kernel>();
foreach (var config in new GemmConfig[] { new(), new() { LateEpilogue = false }, new() { Cluster = 2 }, new() { Cluster = 2, LateEpilogue = false }, new() { Warpgroups = 3, Waves = 1, Cluster = 2 }, new() { Waves = 1, TileN = 64, Stages = 8 } })
    kernels.Add(Fp8GemmKernel.Build(new(7168, 16384), config));
kernels.Add(Fp8GemmKernel.Build(new(4096, 7168, GemmGrouping.Contiguous, 8), new()));
kernels.Add(Fp8GemmKernel.Build(new(4096, 7168, GemmGrouping.Masked, 4), new()));
foreach (var kernel in kernels) File.WriteAllText(Path.Combine(args[1], kernel.Name + ".ptx"), PtxPrinter.Print(kernel));
return 0;

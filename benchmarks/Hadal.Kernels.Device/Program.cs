// The GPU harness: kernels on a device, checked, repeated and timed; experiments with tiles that the product does not choose.
//   dump FOLDER                      writes the PTX of the kernels of all cases (needs no GPU)
//   conformance [TIMES] [FILTER]     every case against its definition, then some of them TIMES times with identical bits
//   small [TIMES] [FILTER]           the same with the small cases and a few tiles of each chosen configuration, for compute-sanitizer
//   replay [ROUNDS]                  graphs captured once, replayed with other counts and offsets in worst-case buffers; memory from the pool
//   digests                          names every kernel that is benchmarked with the SHA-256 of its PTX (needs no GPU): kept beside figures, it says which form they are of
//   refuse                           a weight gradient with offsets that are not multiples of 128: its launch has to fail
//   launch PREFIX,… TIMES            launches the library's benchmark cases plainly, for a profiler; their diagnostics with "parts*TEXT"
//   tune FILE                        lines "MxNxK tile|tile|…" (GemmConfig.Parse), "c G MxNxK …" contiguous and "m G MxNxK …" masked groups
//   bench PREFIX,…                   times the library's benchmark cases; kernels with parts left out with "parts*TEXT"
//   cold MODEL [PROCESSES]           loads the kernels that a model of a named size needs (medium, v3-671b, …): run twice, the second finds them compiled
//   kernels MODEL                    names them (needs no GPU)
//   hand [TURNS [FOLDER]]            the hand-written PTX of the product beside the library's kernels and beside what files of a folder try, in turns
//   compile-kernels GPU              a process of a cold start: compiles the PTX that it is sent
//   calibrate FILE                   runs the tensor core on chosen tiles and keeps what it gave
//   instructions FILE                runs single instructions on chosen inputs and keeps what they gave
using System.Globalization;
using Hadal.Kernels.Device;
using Hadal.Kernels.Driver;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
try
{
    return Run(args);
}
catch (CudaException error)
{
    Console.Error.WriteLine(error.Message);
    return 1;
}
catch (ArgumentException error)
{
    Console.Error.WriteLine(error.Message);
    return 2;
}

static int Run(string[] args) => args switch
{
    ["dump", var folder, ..] => Dump.Run(folder, args.Skip(2).FirstOrDefault()),
    ["conformance", ..] => Conformance.Run(args.Length > 1 ? int.Parse(args[1], NumberStyles.None, CultureInfo.InvariantCulture) : 1000, args.Skip(2).FirstOrDefault(), smallOnly: false),
    ["small", ..] => Conformance.Run(args.Length > 1 ? int.Parse(args[1], NumberStyles.None, CultureInfo.InvariantCulture) : 1, args.Skip(2).FirstOrDefault(), smallOnly: true),
    ["launch", var prefixes, var times] => Tuning.Launch(prefixes, int.Parse(times, NumberStyles.None, CultureInfo.InvariantCulture)),
    ["refuse"] => Conformance.Refuse(),
    ["tune", var file, ..] => Tuning.Run(file, args.Skip(2).ToArray()),
    ["bench", var prefixes, ..] => Tuning.Benchmarks(prefixes, args.Skip(2).ToArray()),
    ["replay", ..] => Replay.Run(args.Length > 1 ? int.Parse(args[1], NumberStyles.None, CultureInfo.InvariantCulture) : 20),
    ["digests"] => Dump.Digests(),
    ["cold", var model] => Cold.Run(model),
    ["cold", var model, var count] => Cold.Run(model, int.Parse(count, NumberStyles.None, CultureInfo.InvariantCulture)),
    [ModuleCompiler.Verb, ..] => ModuleCompiler.Serve(args),
    ["kernels", var model] => Cold.List(model),
    ["hand", ..] => Hand.Run(args.Length > 1 ? int.Parse(args[1], NumberStyles.None, CultureInfo.InvariantCulture) : 40, args.Skip(2).FirstOrDefault()),
    ["calibrate", var file] => Calibration.Run(file),
    ["instructions", var file] => Instructions.Run(file),
    _ => Usage(),
};

static int Usage()
{
    Console.Error.WriteLine("dump FOLDER [TUNEFILE] | conformance [TIMES] [FILTER] | small [TIMES] [FILTER] | refuse | replay [ROUNDS] | launch PREFIX,… TIMES | tune FILE [check] [sustained] [pdl] [single] | bench PREFIX,… [check] [sustained] [pdl] [single] | cold MODEL [PROCESSES] | kernels MODEL | digests | hand [TURNS [FOLDER]] | calibrate FILE | instructions FILE");
    return 2;
}

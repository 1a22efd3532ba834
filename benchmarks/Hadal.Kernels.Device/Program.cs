// The GPU harness: kernels on a device, checked, repeated and timed; experiments with tiles that the product does not choose.
//   dump FOLDER                      writes the PTX of the kernels of all cases (needs no GPU)
//   conformance [TIMES] [FILTER]     every case against its definition, then some of them TIMES times with identical bits
//   small [TIMES] [FILTER]           the same with the small cases only, for compute-sanitizer
//   refuse                           a weight gradient with offsets that are not multiples of 128: its launch has to fail
//   launch PREFIX,… TIMES            launches the library's benchmark cases plainly, for a profiler; their diagnostics with "parts*TEXT"
//   tune FILE                        lines "MxNxK tile|tile|…" (GemmConfig.Parse), "c G MxNxK …" contiguous and "m G MxNxK …" masked groups
//   bench PREFIX,…                   times the library's benchmark cases; kernels with parts left out with "parts*TEXT"
//   cold FILE                        loads the kernels of a tune file: run twice, the second finds them compiled
//   hand FILE MxNxK TILE BYTES       a hand-written PTX of the product beside the library's kernel, BYTES of shared memory
//   calibrate FILE                   runs the tensor core on chosen tiles and keeps what it gave
//   instructions FILE                runs single instructions on chosen inputs and keeps what they gave
using System.Globalization;
using Hadal.Kernels.Device;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
return args switch
{
    ["dump", var folder, ..] => Dump.Run(folder, args.Skip(2).FirstOrDefault()),
    ["conformance", ..] => Conformance.Run(args.Length > 1 ? int.Parse(args[1], NumberStyles.None, CultureInfo.InvariantCulture) : 1000, args.Skip(2).FirstOrDefault(), smallOnly: false),
    ["small", ..] => Conformance.Run(args.Length > 1 ? int.Parse(args[1], NumberStyles.None, CultureInfo.InvariantCulture) : 1, args.Skip(2).FirstOrDefault(), smallOnly: true),
    ["launch", var prefixes, var times] => Tuning.Launch(prefixes, int.Parse(times, NumberStyles.None, CultureInfo.InvariantCulture)),
    ["refuse"] => Conformance.Refuse(),
    ["tune", var file, ..] => Tuning.Run(file, args.Skip(2).ToArray()),
    ["bench", var prefixes, ..] => Tuning.Benchmarks(prefixes, args.Skip(2).ToArray()),
    ["cold", var file] => Tuning.Cold(file),
    ["hand", var file, var shape, var tile, var shared] => Hand.Run(file, shape, tile, int.Parse(shared, NumberStyles.None, CultureInfo.InvariantCulture)),
    ["calibrate", var file] => Calibration.Run(file),
    ["instructions", var file] => Instructions.Run(file),
    _ => Usage(),
};

static int Usage()
{
    Console.Error.WriteLine("dump FOLDER [TUNEFILE] | conformance [TIMES] [FILTER] | small [TIMES] [FILTER] | launch PREFIX,… TIMES | tune FILE [check] [sustained] [pdl] | bench PREFIX,… [same] | cold FILE | calibrate FILE | instructions FILE");
    return 2;
}

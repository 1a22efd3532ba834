using System.Diagnostics;
using System.Text;
using Hadal.Numerics;

namespace Hadal.Formats.Tests;

/// <summary>
/// Valid files, mutated: whatever comes in, the outcome is success or the format's own exception. Mutations are functions of a seed, so a failure names the case that
/// repeats it. A case that takes ten seconds is a failure, a hang is caught by the runner's time limit, a huge allocation by the bound on allocated bytes.
/// </summary>
public sealed class FuzzTests
{
    const int Short = 12_000;

    static readonly byte[] Index = Encoding.UTF8.GetBytes("""{"metadata":{"total_size":12},"weight_map":{"model.a":"model-00001-of-00002.safetensors","model.b":"model-00002-of-00002.safetensors"}}""");

    static readonly byte[] File = TestFiles.Safetensors(
        Encoding.UTF8.GetBytes("""{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b.weight":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"F8_E4M3","shape":[],"data_offsets":[32,33]}}"""),
        new byte[33]);

    /// <summary>Pieces that hostile JSON is made of.</summary>
    static readonly byte[][] Tokens =
    [
        .. new[]
        {
            "{", "}", "[", "]", ",", ":", "\"", "null", "true", "-1", "0", "1e400", "9223372036854775807", "18446744073709551616", "4294967296", "1.5", "\"\\ud800\"", "\\u0000",
            "\"dtype\"", "\"shape\"", "\"data_offsets\"", "\"a\"", "../", "\"F32\"", "\"weight_map\"", "\"yarn\"", "{\"type\":\"yarn\",\"factor\":-1}", "[[[[[[[[[[[[[[[[", "\u0000", "\uFEFF", "2147483648", "16777216",
        }.Select(Encoding.UTF8.GetBytes),
        [0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80],
    ];

    [Fact]
    public void Mutated_safetensors_files_never_surprise() => FuzzFiles(Short, seed: 1);

    [Fact]
    public void Mutated_indexes_never_surprise() => FuzzIndexes(Short, seed: 2);

    [Fact]
    public void Mutated_configurations_never_surprise() => FuzzConfigurations(Short, seed: 3);

    [Fact]
    [Trait("tier", "soak")]
    public void Long_safetensors_run() => Soak.Run("safetensors headers and indexes", round =>
    {
        FuzzFiles(Short, round);
        FuzzIndexes(Short, round + (1UL << 32));
        return 2 * Short;
    });

    [Fact]
    [Trait("tier", "soak")]
    public void Long_configuration_run() => Soak.Run("config.json", round =>
    {
        FuzzConfigurations(Short, round);
        return Short;
    });

    static void FuzzFiles(int cases, ulong seed) => Run(cases, seed, File, bytes => SafetensorsFile.ReadHeader(bytes, "fuzz"));

    static void FuzzIndexes(int cases, ulong seed) => Run(cases, seed, Index, bytes => Checkpoint.ParseIndex(bytes, "fuzz"));

    static void FuzzConfigurations(int cases, ulong seed)
    {
        List<string> warnings = [];
        Run(cases, seed, Encoding.UTF8.GetBytes(ModelConfigurationTests.V3), bytes =>
        {
            warnings.Clear();
            ModelConfigurationReader.Parse(bytes, "fuzz", warnings).CountParameters();
        });
    }

    static void Run(int cases, ulong seed, byte[] valid, Action<byte[]> read)
    {
        read(valid);
        int accepted = 0, refused = 0;
        for (int i = 0; i < cases; i++)
        {
            byte[] mutated = Mutate(valid, new CounterRandom(seed, RandomPurpose.Fuzzing, (uint)i));
            long before = GC.GetAllocatedBytesForCurrentThread(), began = Stopwatch.GetTimestamp();
            try
            {
                read(mutated);
                accepted++;
            }
            catch (Exception error) when (error is CheckpointFormatException or ConfigurationException)
            {
                refused++;
                if (error.Message.Length > 2000) Assert.Fail($"seed {seed}, case {i}: the message has {error.Message.Length} characters");
            }
            catch (Exception error)
            {
                Assert.Fail($"seed {seed}, case {i}: {error.GetType().Name} {error.Message}\n{Convert.ToHexString(mutated)}");
            }
            if (Stopwatch.GetElapsedTime(began).TotalSeconds > 60) Assert.Fail($"seed {seed}, case {i}: took {Stopwatch.GetElapsedTime(began)}\n{Convert.ToHexString(mutated)}");
            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            if (allocated > 2_000_000) Assert.Fail($"seed {seed}, case {i}: {allocated} bytes allocated for an input of {mutated.Length}");
        }
        // Both outcomes occur, so the mutations are neither harmless nor hopeless.
        Assert.True(accepted > cases / 1000 && refused > cases / 3, $"{accepted} accepted, {refused} refused of {cases}");
    }

    static byte[] Mutate(byte[] valid, CounterRandom random)
    {
        List<byte> bytes = [.. valid];
        ulong draw = 0;
        int rounds = 1 + random.Below(draw++, 4);
        for (int round = 0; round < rounds && bytes.Count > 0; round++)
        {
            int position = random.Below(draw++, bytes.Count);
            switch (random.Below(draw++, 7))
            {
                case 0:
                    bytes[position] ^= (byte)(1 << random.Below(draw++, 8));
                    break;
                case 1:
                    bytes[position] = (byte)random.UInt32(draw++);
                    break;
                case 2:
                    bytes.InsertRange(position, Tokens[random.Below(draw++, Tokens.Length)]);
                    break;
                case 3:
                    bytes.RemoveRange(position, Math.Min(1 + random.Below(draw++, 20), bytes.Count - position));
                    break;
                case 4:
                    bytes.InsertRange(position, bytes.GetRange(position, Math.Min(1 + random.Below(draw++, 80), bytes.Count - position)));
                    break;
                case 5:
                    ReplaceNumber(bytes, position, Tokens[random.Below(draw++, Tokens.Length)]);
                    break;
                default:
                    if (random.Below(draw++, 4) == 0) bytes.RemoveRange(position, bytes.Count - position);
                    else bytes[random.Below(draw++, Math.Min(8, bytes.Count))] = (byte)random.UInt32(draw++);
                    break;
            }
        }
        return [.. bytes];
    }

    /// <summary>Replaces the first run of digits after a position.</summary>
    static void ReplaceNumber(List<byte> bytes, int position, byte[] token)
    {
        int start = position;
        while (start < bytes.Count && bytes[start] is < (byte)'0' or > (byte)'9') start++;
        int end = start;
        while (end < bytes.Count && bytes[end] is >= (byte)'0' and <= (byte)'9') end++;
        bytes.RemoveRange(start, end - start);
        bytes.InsertRange(start, token);
    }
}

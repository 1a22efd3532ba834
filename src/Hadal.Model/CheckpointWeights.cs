using System.Runtime.InteropServices;
using Hadal.Formats;
using Hadal.Numerics;
using Hadal.Tensors;

namespace Hadal.Model;

/// <summary>What a load found besides the weights it took.</summary>
/// <param name="Warnings">Tensors of the file the model has no use for, absent selection biases.</param>
public sealed record LoadReport(IReadOnlyList<string> Warnings);

/// <summary>A public tensor and the region of a flat buffer it stands for.</summary>
/// <param name="Name">Public name.</param>
/// <param name="Parameter">The parameter it belongs to.</param>
/// <param name="Region">Its place.</param>
public readonly record struct PublicTensor(string Name, Parameter Parameter, PublicRegion Region)
{
    /// <summary>The region's view of a flat buffer of the parameter set.</summary>
    public Tensor View(Tensor flat) => Parameter.View(Parameter.View(flat), Region);
}

/// <summary>
/// Weights by public name [model spec §6]: loading BF16, F16, F32, F64 and FP8 with block scales, single and sharded; enumerating for export.
/// </summary>
public static class CheckpointWeights
{
    const int Block = TileQuantizer.Tile;

    /// <summary>All public tensors of the model in order of declaration.</summary>
    public static IEnumerable<PublicTensor> Public(Transformer model) =>
        model.Parameters.All.SelectMany(p => p.Regions.Select(r => new PublicTensor(r.Name, p, r)));

    /// <summary>Number of MTP modules whose weights the checkpoint holds, counted from the first.</summary>
    public static int MtpDepth(Checkpoint checkpoint, TransformerShape shape)
    {
        int depth = 0;
        while (depth < shape.MtpDepth && checkpoint.Find($"model.layers.{shape.Layers + depth}.eh_proj.weight") is not null) depth++;
        return depth;
    }

    /// <summary>Fills all weights of <paramref name="model"/>.</summary>
    /// <exception cref="CheckpointFormatException">A tensor is absent, or has another shape or a type that no weight can have.</exception>
    public static LoadReport Load(Transformer model, Checkpoint checkpoint)
    {
        var warnings = new List<string>(checkpoint.Warnings);
        var used = new HashSet<string>(StringComparer.Ordinal);
        var absent = new List<string>();
        foreach (PublicTensor tensor in Public(model))
        {
            TensorEntry? entry = checkpoint.Find(tensor.Name);
            if (entry is null)
            {
                if (tensor.Parameter.Kind == ParameterKind.SelectionBias) warnings.Add($"{tensor.Name} is not in the checkpoint; zero is used.");
                else absent.Add(tensor.Name);
                continue;
            }

            used.Add(tensor.Name);
            CheckType(entry);
            Tensor destination = tensor.View(model.Parameters.Values);
            CheckShape(entry, destination.Rank == 1 ? [destination.Columns] : [destination.Rows, destination.Columns]);
            if (entry.Type == ElementType.F8E4M3) used.Add(ReadScaled(checkpoint, entry, destination));
            else ReadPlain(checkpoint, entry, destination);
        }

        RequireNone(checkpoint, absent);
        var extra = checkpoint.Entries.Select(e => e.Name).Where(n => !used.Contains(n) && !IsKnownExtra(n, model.Shape)).ToList();
        if (extra.Count > 0) warnings.Add($"{extra.Count} tensors of the checkpoint have no place in the model and are ignored: {Some(extra)}.");
        model.Refresh();
        return new LoadReport(warnings);
    }

    /// <summary>Refuses a shape that needs tensors the checkpoint lacks, or of other shapes, before any memory is taken.</summary>
    /// <exception cref="CheckpointFormatException">As <see cref="Load"/>.</exception>
    public static void RequireEnough(Checkpoint checkpoint, TransformerShape shape)
    {
        var absent = new List<string>();
        foreach (Parameter parameter in Transformer.Declare(shape))
        {
            foreach (PublicRegion region in parameter.Regions)
            {
                if (parameter.Kind == ParameterKind.SelectionBias) continue;
                TensorEntry? entry = checkpoint.Find(region.Name);
                if (entry is null)
                {
                    absent.Add(region.Name);
                    continue;
                }

                CheckType(entry);
                CheckShape(entry, parameter.Shape.Count == 1 ? [region.Rows] : [region.Rows, parameter.Shape[^1]]);
            }
        }

        RequireNone(checkpoint, absent);
    }

    static void RequireNone(Checkpoint checkpoint, List<string> absent)
    {
        if (absent.Count > 0)
            throw new CheckpointFormatException($"{absent.Count} tensors of the model are not in the checkpoint: {Some(absent)}", checkpoint.Path,
                "Compare config.json with the checkpoint, or fetch the missing shard.", absent[0]);
    }

    static string Some(List<string> names) => string.Join(", ", names.Take(4)) + (names.Count > 4 ? $" and {names.Count - 4} more" : "");

    /// <summary>MTP layers may be left out by choice, their copies of embedding and head are shared here, and a tied head needs no tensor.</summary>
    internal static bool IsKnownExtra(string name, TransformerShape shape)
    {
        if (shape.TiedEmbeddings && string.Equals(name, "lm_head.weight", StringComparison.Ordinal)) return true;
        if (name.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal)) return true;
        const string Prefix = "model.layers.";
        if (!name.StartsWith(Prefix, StringComparison.Ordinal)) return false;
        int dot = name.IndexOf('.', Prefix.Length);
        return dot > 0 && int.TryParse(name.AsSpan(Prefix.Length, dot - Prefix.Length), out int layer) && layer >= shape.Layers;
    }

    static void CheckType(TensorEntry entry)
    {
        if (entry.Type is not (ElementType.F64 or ElementType.F32 or ElementType.F16 or ElementType.BF16 or ElementType.F8E4M3))
        {
            throw new CheckpointFormatException($"{entry} cannot be a weight.", entry.File,
                $"Expected F32, BF16, F16, F64, or F8_E4M3 with {entry.Name}_scale_inv: convert the tensor, or take the checkpoint from another place.", entry.Name);
        }
    }

    static void CheckShape(TensorEntry entry, ReadOnlySpan<int> expected)
    {
        bool fits = entry.Shape.Length == expected.Length;
        for (int axis = 0; fits && axis < expected.Length; axis++) fits = entry.Shape[axis] == expected[axis];
        if (!fits)
            throw new CheckpointFormatException($"{entry} does not fit the model, which expects [{string.Join(", ", expected.ToArray())}]", entry.File,
                "config.json and checkpoint belong to different models: take both from one place.", entry.Name);
    }

    static void ReadPlain(Checkpoint checkpoint, TensorEntry entry, Tensor destination)
    {
        int columns = destination.Columns;
        var row = new float[columns];
        int rowBytes = checked(columns * ElementTypes.Size(entry.Type));
        for (int r = 0; r < destination.Rows; r++)
        {
            ReadOnlySpan<byte> bytes = checkpoint.View(entry, (long)r * rowBytes, rowBytes);
            switch (entry.Type)
            {
                case ElementType.F32: MemoryMarshal.Cast<byte, float>(bytes).CopyTo(row); break;
                case ElementType.BF16: BF16.ToSingle(MemoryMarshal.Cast<byte, BF16>(bytes), row); break;
                case ElementType.F16: F16.ToSingle(MemoryMarshal.Cast<byte, Half>(bytes), row); break;
                case ElementType.F64:
                    ReadOnlySpan<double> wide = MemoryMarshal.Cast<byte, double>(bytes);
                    for (int c = 0; c < columns; c++) row[c] = (float)wide[c];
                    break;
                default: throw new InvalidOperationException($"{entry} was not checked.");
            }

            Write(row, destination, r);
        }
    }

    /// <summary>W = code·scale over blocks of 128×128; despite its name the scale multiplies. Returns the scale's name.</summary>
    static string ReadScaled(Checkpoint checkpoint, TensorEntry entry, Tensor destination)
    {
        string name = entry.Name + "_scale_inv";
        TensorEntry scaleEntry = checkpoint.Find(name)
            ?? throw new CheckpointFormatException($"{entry} has no scales", entry.File, $"Expected {name} F32 beside it.", entry.Name);
        int rows = destination.Rows, columns = destination.Columns, blockRows = (rows + Block - 1) / Block, blockColumns = (columns + Block - 1) / Block;
        if (destination.Rank != 2 || scaleEntry.Shape.Length != 2 || scaleEntry.Shape[0] != blockRows || scaleEntry.Shape[1] != blockColumns || scaleEntry.Type != ElementType.F32)
            throw new CheckpointFormatException($"{scaleEntry} does not fit {entry}", scaleEntry.File,
                $"Expected F32 [{blockRows}, {blockColumns}], one scale per 128×128 block.", scaleEntry.Name);
        float[] scales = MemoryMarshal.Cast<byte, float>(checkpoint.View(scaleEntry)).ToArray();
        var codes = new E4M3[columns];
        var row = new float[columns];
        for (int r = 0; r < rows; r++)
        {
            checkpoint.Read(entry, (long)r * columns, MemoryMarshal.AsBytes(codes.AsSpan()));
            for (int c = 0; c < columns; c++) row[c] = codes[c].ToSingle() * scales[(r / Block * blockColumns) + (c / Block)];
            Write(row, destination, r);
        }

        return name;
    }

    static void Write(float[] row, Tensor destination, int r)
    {
        if (destination.DType == DType.F32)
        {
            row.CopyTo(destination.Row<float>(r));
            return;
        }

        Span<double> wide = destination.Row<double>(r);
        for (int c = 0; c < row.Length; c++) wide[c] = row[c];
    }
}

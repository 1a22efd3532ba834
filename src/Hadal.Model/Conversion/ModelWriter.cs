using System.Runtime.InteropServices;
using Hadal.Formats;
using Hadal.Numerics;
using Hadal.Tensors;

namespace Hadal.Model.Conversion;

/// <summary>
/// Writes the weights of a model as a checkpoint of the public layout: binary32, bfloat16, or as the published V3, projections in E4M3 with one scale per block of 128×128
/// (<c>weight_scale_inv</c>). Blocks are those of each public matrix, cut at ragged edges. The files appear whole or not at all.
/// </summary>
public static class ModelWriter
{
    /// <summary>Writes safetensors and config.json.</summary>
    /// <param name="folder">Made if absent; weights of the same sharding are replaced.</param>
    /// <param name="model">Float32 weights in host memory.</param>
    /// <param name="configuration">Its config.json; element type and quantisation are set to what is written.</param>
    /// <param name="format">F32, BF16 or Fp8.</param>
    /// <param name="scales">Of Fp8: plain, or powers of two (<c>ue8m0</c>).</param>
    /// <exception cref="ArgumentException">The format is none of the three.</exception>
    /// <exception cref="CheckpointFormatException">A weight that is to become FP8 is not finite.</exception>
    /// <exception cref="IOException">The disk is full, or weights of another sharding are there.</exception>
    public static void Write(string folder, Transformer model, ModelConfiguration configuration, WeightFormat format, ScaleKind scales = ScaleKind.Plain)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(configuration);
        if (format is not (WeightFormat.F32 or WeightFormat.BF16 or WeightFormat.Fp8)) throw new ArgumentException($"A model is written as F32, BF16 or Fp8, not as {format}.", nameof(format));
        PublicTensor[] tensors = [.. CheckpointWeights.Public(model)];
        Directory.CreateDirectory(folder);
        using (var writer = new CheckpointWriter(folder, tensors.SelectMany(t => Declarations(t, model, format))))
        {
            foreach (PublicTensor tensor in tensors) Write(writer, folder, tensor, tensor.View(model.Parameters.Values), TypeOf(tensor, format), scales);
            writer.Commit();
        }

        (configuration with
        {
            TorchType = format == WeightFormat.F32 ? "float32" : "bfloat16",
            Quantization = format == WeightFormat.Fp8 ? new QuantizationConfiguration(PowerOfTwoScales: scales == ScaleKind.PowerOfTwo) : null,
        }).Save(Path.Combine(folder, "config.json"));
    }

    static ElementType TypeOf(PublicTensor tensor, WeightFormat format) =>
        ConversionPlan.StoredType(tensor.Name, tensor.Parameter.Kind, tensor.Parameter.Shape.Count == 1 ? 1 : 2, format);

    static IEnumerable<TensorDeclaration> Declarations(PublicTensor tensor, Transformer model, WeightFormat format)
    {
        Tensor values = tensor.View(model.Parameters.Values);
        ElementType type = TypeOf(tensor, format);
        long[] shape = values.Rank == 1 ? [values[0]] : [values[0], values[1]];
        yield return new TensorDeclaration(tensor.Name, type, shape);
        if (type == ElementType.F8E4M3)
            yield return new TensorDeclaration(tensor.Name + ConversionPlan.ScaleSuffix, ElementType.F32, [TileQuantizer.TileCount(values[0]), TileQuantizer.TileCount(values[1])]);
    }

    static void Write(CheckpointWriter writer, string folder, PublicTensor tensor, Tensor values, ElementType type, ScaleKind scales)
    {
        switch (type)
        {
            case ElementType.F32:
                for (int row = 0; row < values.Rows; row++) writer.Append(tensor.Name, MemoryMarshal.AsBytes(values.Row<float>(row)));
                break;
            case ElementType.BF16:
                var rounded = new BF16[values.Columns];
                for (int row = 0; row < values.Rows; row++)
                {
                    BF16.FromSingle(values.Row<float>(row), rounded);
                    writer.Append(tensor.Name, MemoryMarshal.AsBytes(rounded.AsSpan()));
                }

                break;
            default:
                WriteBlocks(writer, folder, tensor.Name, values, scales);
                break;
        }
    }

    /// <summary>128 rows at a time: their codes, and their row of scales.</summary>
    static void WriteBlocks(CheckpointWriter writer, string folder, string name, Tensor values, ScaleKind kind)
    {
        int columns = values.Columns;
        var piece = new float[TileQuantizer.Tile * columns];
        var codes = new E4M3[piece.Length];
        var scales = new float[TileQuantizer.TileCount(columns)];
        for (int first = 0; first < values.Rows; first += TileQuantizer.Tile)
        {
            int rows = Math.Min(TileQuantizer.Tile, values.Rows - first);
            for (int row = 0; row < rows; row++) values.Row<float>(first + row).CopyTo(piece.AsSpan(row * columns));
            long fault = TileQuantizer.QuantizeBlocks(piece.AsSpan(0, rows * columns), rows, columns, columns, kind, codes, scales);
            if (fault >= 0)
                throw new CheckpointFormatException($"element {((long)first * columns) + fault} is {piece[(int)fault]}; FP8 blocks hold finite numbers only.", folder, "Write it as f32 or bf16, or go back to an earlier checkpoint.", name);
            writer.Append(name, MemoryMarshal.AsBytes(codes.AsSpan(0, rows * columns)));
            writer.Append(name + ConversionPlan.ScaleSuffix, MemoryMarshal.AsBytes(scales.AsSpan()));
        }
    }
}

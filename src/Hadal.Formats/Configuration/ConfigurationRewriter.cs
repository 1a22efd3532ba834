using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Hadal.Formats;

/// <summary>The two spellings of <c>config.json</c> in the wild.</summary>
public enum ConfigurationStyle
{
    /// <summary>As the published models: <c>rope_theta</c>, <c>rope_scaling</c> and <c>torch_dtype</c>.</summary>
    Hub,
    /// <summary>As newer libraries write: <c>rope_parameters</c> and <c>dtype</c>.</summary>
    RopeParameters,
}

/// <summary>
/// Changes what a conversion changes in a <c>config.json</c> (type of the weights, quantisation, spelling) and keeps every other key as it is, those that are not understood here
/// among them.
/// </summary>
public static class ConfigurationRewriter
{
    /// <summary>The changed file.</summary>
    /// <param name="path">An existing config.json.</param>
    /// <param name="torchType">Type of the unquantised weights, such as <c>bfloat16</c>; null keeps it.</param>
    /// <param name="quantization">What the weights will be; null for unquantised.</param>
    /// <param name="style">The spelling; null keeps it.</param>
    /// <returns>UTF-8 JSON.</returns>
    /// <exception cref="ConfigurationException">The file says something impossible or unsupported.</exception>
    public static byte[] Rewrite(string path, string? torchType, QuantizationConfiguration? quantization, ConfigurationStyle? style)
    {
        byte[] json = File.ReadAllBytes(path);
        ModelConfiguration old = ModelConfigurationReader.Parse(json, path, warnings: null);
        ModelConfiguration wanted = old with { TorchType = torchType ?? old.TorchType, Quantization = quantization };
        if (json.AsSpan().StartsWith("\uFEFF"u8)) json = json[3..];
        JsonObject root = JsonNode.Parse(json)!.AsObject();
        SetType(root, wanted.TorchType, style);
        if (quantization != old.Quantization) SetQuantization(root, quantization);
        if (style is { } spelling) SetRotary(root, wanted, spelling);
        byte[] result = Write(root);

        // What comes out must mean what was asked for.
        byte[] meaning = ModelConfigurationWriter.Write(ModelConfigurationReader.Parse(result, path, warnings: null));
        if (!meaning.AsSpan().SequenceEqual(ModelConfigurationWriter.Write(wanted)))
            throw new ConfigurationException(path, "", "the file cannot be respelled without changing its meaning", "Keep its spelling.");
        return result;
    }

    static void SetType(JsonObject root, string type, ConfigurationStyle? style)
    {
        string key = style switch
        {
            ConfigurationStyle.Hub => "torch_dtype",
            ConfigurationStyle.RopeParameters => "dtype",
            _ => root.ContainsKey("dtype") && !root.ContainsKey("torch_dtype") ? "dtype" : "torch_dtype",
        };
        root.Remove("dtype");
        root.Remove("torch_dtype");
        root[key] = type;
    }

    static void SetQuantization(JsonObject root, QuantizationConfiguration? quantization)
    {
        root.Remove("quantization_config");
        if (quantization is null) return;
        var section = new JsonObject
        {
            ["activation_scheme"] = "dynamic",
            ["fmt"] = "e4m3",
            ["quant_method"] = "fp8",
            ["weight_block_size"] = new JsonArray(quantization.BlockRows, quantization.BlockColumns),
        };
        if (quantization.PowerOfTwoScales) section["scale_fmt"] = "ue8m0";
        root["quantization_config"] = section;
    }

    static void SetRotary(JsonObject root, ModelConfiguration configuration, ConfigurationStyle style)
    {
        foreach (string key in (string[])["rope_theta", "rope_scaling", "rope_parameters"]) root.Remove(key);
        JsonObject? scaling = configuration.RopeScaling is { } yarn
            ? new JsonObject
            {
                ["beta_fast"] = yarn.BetaFast, ["beta_slow"] = yarn.BetaSlow, ["factor"] = yarn.Factor, ["mscale"] = yarn.MScale, ["mscale_all_dim"] = yarn.MScaleAllDim,
                ["original_max_position_embeddings"] = yarn.OriginalMaxPositionEmbeddings,
            }
            : null;
        if (style == ConfigurationStyle.Hub)
        {
            if (scaling is not null) scaling["type"] = "yarn";
            root["rope_scaling"] = scaling;
            root["rope_theta"] = configuration.RopeTheta;
            return;
        }

        JsonObject parameters = scaling ?? [];
        parameters["rope_theta"] = configuration.RopeTheta;
        parameters["rope_type"] = scaling is null ? "default" : "yarn";
        root["rope_parameters"] = parameters;
    }

    static byte[] Write(JsonObject root)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, NewLine = "\n" })) root.WriteTo(json);
        return [.. buffer.WrittenSpan, (byte)'\n'];
    }
}

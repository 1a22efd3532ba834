using System.Security.Cryptography;
using System.Text.Json;
using Hadal.Inference;
using Hadal.Inference.Serving;

namespace Hadal.Server.Api;

/// <summary>What chat and text completions have in common.</summary>
sealed record SamplingFields
{
    public required string Model { get; init; }

    public required int? MaxTokens { get; init; }

    public required double? Temperature { get; init; }

    public required double? TopP { get; init; }

    public required double FrequencyPenalty { get; init; }

    public required double PresencePenalty { get; init; }

    public required IReadOnlyList<string> Stop { get; init; }

    public required bool Stream { get; init; }

    public required bool IncludeUsage { get; init; }

    public required ulong? Seed { get; init; }

    /// <summary>Fields that would change the answer and are not supported are refused, not overlooked; others that this server does not know are overlooked, as by the original.</summary>
    public static SamplingFields Take(JsonFields body)
    {
        if (body.Integer("n", 1, 128) is > 1 and long n) throw body.Refused("n", $"n is {n}; expected 1: ask several times for several answers, with other seeds.");
        if (body.TryGet("logit_bias", out JsonElement bias) && !(bias.ValueKind == JsonValueKind.Object && !bias.EnumerateObject().Any()))
            throw body.Refused("logit_bias", "logit_bias is not supported; expected it to be absent.");
        bool stream = body.Flag("stream");
        JsonFields? streamOptions = body.Object("stream_options");
        if (streamOptions is not null && !stream) throw body.Refused("stream_options", "stream_options is given without stream; expected \"stream\": true beside it.");
        long? most = body.Integer("max_tokens", 1, int.MaxValue) ?? body.Integer("max_completion_tokens", 1, int.MaxValue);
        double? topP = body.Number("top_p", 0, 1);
        if (topP == 0) throw body.Refused("top_p", "top_p is 0; expected a number above 0 and up to 1.");
        return new SamplingFields
        {
            Model = body.RequiredText("model"),
            MaxTokens = (int?)most,
            Temperature = body.Number("temperature", 0, 2),
            TopP = topP,
            FrequencyPenalty = body.Number("frequency_penalty", -2, 2) ?? 0,
            PresencePenalty = body.Number("presence_penalty", -2, 2) ?? 0,
            Stop = TakeStop(body),
            Stream = stream,
            IncludeUsage = streamOptions?.Flag("include_usage") ?? false,
            Seed = body.Integer("seed", long.MinValue, long.MaxValue) is long seed ? unchecked((ulong)seed) : null,
        };
    }

    /// <summary>How tokens are chosen. Without a seed one is drawn: two equal requests may be answered differently.</summary>
    /// <param name="thinks">Whether the reasoner's usual values hold: temperature 0.6, top-p 0.95 [DeepSeek-R1 README].</param>
    /// <param name="fixedByModel">Whether the client's values are overlooked, as by the original reasoner.</param>
    public SamplingParameters Sampling(bool thinks, bool fixedByModel)
    {
        double temperature = (fixedByModel ? null : Temperature) ?? (thinks ? 0.6 : 1);
        double topP = (fixedByModel ? null : TopP) ?? (thinks ? 0.95 : 1);
        return new SamplingParameters(temperature, topP, Seed ?? BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(8)));
    }

    static IReadOnlyList<string> TakeStop(JsonFields body)
    {
        if (!body.TryGet("stop", out JsonElement value)) return [];
        string expected = $"a text or up to {RequestChecks.MostStops} texts of 1 to {RequestChecks.LongestStop} characters";
        JsonElement[] items = value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray()] : [value];
        if (items.Length > RequestChecks.MostStops) throw body.Refused("stop", $"stop has {items.Length} texts; expected {expected}.");
        var stops = new List<string>();
        foreach (JsonElement item in items)
        {
            if (item.ValueKind != JsonValueKind.String || item.GetString() is not { Length: > 0 and <= RequestChecks.LongestStop } text) throw body.Wrong("stop", value, expected);
            stops.Add(text);
        }

        return stops;
    }
}

using System.Text.Json;
using Hadal.Inference.Serving;

namespace Hadal.Server.Api;

/// <summary>The body of a text completion.</summary>
sealed record TextRequest
{
    public required SamplingFields Sampling { get; init; }

    /// <summary>The text to go on with; null when <see cref="Tokens"/> is given.</summary>
    public required string? Prompt { get; init; }

    /// <summary>Ids to go on with; nothing is added to them.</summary>
    public required int[]? Tokens { get; init; }

    /// <summary>What comes after the text that is asked for; null to go on from the prompt.</summary>
    public required string? Suffix { get; init; }

    /// <summary>Whether the answer begins with the prompt.</summary>
    public required bool Echo { get; init; }

    public required int? TopLogProbabilities { get; init; }

    public static TextRequest Take(JsonFields body)
    {
        SamplingFields sampling = SamplingFields.Take(body);
        if (body.Integer("best_of", 1, 128) is > 1 and long best) throw body.Refused("best_of", $"best_of is {best}; expected 1: every answer that is generated is sent.");
        string? prompt = null, suffix = body.Text("suffix");
        int[]? tokens = null;
        if (!body.TryGet("prompt", out JsonElement value)) throw body.Missing("prompt", "a text, or token ids");
        if (value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 1 && value[0].ValueKind is JsonValueKind.String or JsonValueKind.Array) value = value[0];
        if (value.ValueKind == JsonValueKind.String) prompt = value.GetString();
        else if (value.ValueKind == JsonValueKind.Array) tokens = TakeTokens(body, "prompt", value);
        else throw body.Wrong("prompt", value, "a text, or token ids");
        if (suffix is not null && tokens is not null) throw body.Refused("suffix", "suffix is given with token ids; expected the prompt to be a text.");
        bool echo = body.Flag("echo");
        int? top = (int?)body.Integer("logprobs", 0, RequestChecks.MostTopLogProbabilities);
        if (echo && top is not null) throw body.Refused("echo", "echo and logprobs are given together; expected one of both: the prompt's tokens have no log probabilities here.");
        return new TextRequest { Sampling = sampling, Prompt = prompt, Tokens = tokens, Suffix = suffix, Echo = echo, TopLogProbabilities = top };
    }

    /// <summary>Ids of an array.</summary>
    public static int[] TakeTokens(JsonFields body, string name, JsonElement array)
    {
        var tokens = new int[array.GetArrayLength()];
        int place = 0;
        foreach (JsonElement item in array.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.Number || !item.TryGetInt32(out tokens[place]) || tokens[place] < 0) throw body.Wrong(name, array, "one text, or token ids");
            place++;
        }

        return tokens.Length > 0 ? tokens : throw body.Refused(name, $"{name} is empty; expected at least one token id.");
    }
}

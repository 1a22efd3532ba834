namespace Hadal.Inference.Serving;

/// <summary>What a request must be for a model to serve it.</summary>
public static class RequestChecks
{
    /// <summary>Most stop texts.</summary>
    public const int MostStops = 16;

    /// <summary>Most characters of a stop text.</summary>
    public const int LongestStop = 1024;

    /// <summary>Most log probabilities at a position.</summary>
    public const int MostTopLogProbabilities = 20;

    /// <summary>Refuses a request that the model cannot serve.</summary>
    /// <param name="request">The request.</param>
    /// <param name="model">The model.</param>
    /// <param name="vocabulary">Rows of its embedding.</param>
    /// <exception cref="RequestRefusedException">The message says what was given and what is expected.</exception>
    public static void Require(GenerationRequest request, ServedModel model, int vocabulary)
    {
        ArgumentNullException.ThrowIfNull(request);
        ReadOnlySpan<int> prompt = request.Prompt.Span;
        if (prompt.IsEmpty) throw new RequestRefusedException("The prompt has no token; expected at least one.");
        if (prompt.Length >= model.MaxPositions)
            throw new RequestRefusedException($"The prompt has {prompt.Length} tokens; {model.Name} takes at most {model.MaxPositions - 1}, so that one may follow.");
        foreach (int token in prompt)
            if ((uint)token >= (uint)vocabulary) throw new RequestRefusedException($"Token id {token} is outside the vocabulary of {vocabulary}.");
        if (request.MaxNewTokens < 1) throw new RequestRefusedException($"{request.MaxNewTokens} new tokens were asked for; expected at least 1.");
        RequireRoom(request, model, vocabulary);
        RequireSampling(request.Sampling);
        Penalty("The frequency penalty", request.FrequencyPenalty);
        Penalty("The presence penalty", request.PresencePenalty);
        if (request.Stop.Count > MostStops) throw new RequestRefusedException($"{request.Stop.Count} stop texts were given; expected at most {MostStops}.");
        foreach (string stop in request.Stop)
            if (string.IsNullOrEmpty(stop) || stop.Length > LongestStop)
                throw new RequestRefusedException($"A stop text has {stop?.Length ?? 0} characters; expected 1 to {LongestStop}.");
        if (request.TopLogProbabilities is not null and not (>= 0 and <= MostTopLogProbabilities))
            throw new RequestRefusedException($"{request.TopLogProbabilities} log probabilities at each position were asked for; expected 0 to {MostTopLogProbabilities}.");
    }

    /// <summary>Tokens of the shortest text of a request's form: for a JSON object, those of <c>{}</c>; every byte is a token, so that two always do.</summary>
    internal static int LeastFormTokens(GenerationRequest request, ServedModel model)
    {
        if (request.Form != OutputForm.JsonObject) return 0;
        int[] shortest = model.Tokenizer.Encode("{}");
        return shortest.Length == 1 && model.Tokenizer.TokenBytes(shortest[0]).SequenceEqual("{}"u8) ? 1 : 2;
    }

    // A form is always completed, so there must be room for the shortest text that has it.
    static void RequireRoom(GenerationRequest request, ServedModel model, int vocabulary)
    {
        int least = LeastFormTokens(request, model);
        if (least == 0) return;
        if (request.FormBeginsAfter is int begin)
        {
            if ((uint)begin >= (uint)vocabulary) throw new RequestRefusedException($"Token id {begin}, after which JSON begins, is outside the vocabulary of {vocabulary}.");
            least++;
        }

        int room = Math.Min(request.MaxNewTokens, model.MaxPositions - request.Prompt.Length);
        if (room < least)
        {
            throw new RequestRefusedException(
                $"A JSON object was asked for, and there is room for {room} token{(room == 1 ? "" : "s")}; expected at least {least}, which {{}} needs{(request.FormBeginsAfter is null ? "" : " after the end of the thought")}. Raise max_tokens, or shorten the prompt.");
        }
    }

    static void RequireSampling(SamplingParameters sampling)
    {
        try
        {
            sampling.Validate();
        }
        catch (ArgumentException impossible)
        {
            throw new RequestRefusedException(impossible.Message, impossible);
        }
    }

    static void Penalty(string name, double value)
    {
        if (!(value is >= -2 and <= 2)) throw new RequestRefusedException($"{name} is {value}; expected -2 to 2.");
    }
}

namespace Hadal.Inference;

/// <summary>Why generation ended.</summary>
public enum StopReason
{
    /// <summary>As many tokens as were asked for.</summary>
    Length,
    /// <summary>An end token was chosen; it is the last token reported.</summary>
    EndToken,
    /// <summary>The receiver asked to stop.</summary>
    Stopped,
}

/// <summary>Continues a text token by token.</summary>
public static class Generator
{
    /// <summary>Appends <paramref name="prompt"/> to the session and generates. Nothing is added to the prompt.</summary>
    /// <param name="session">Its tokens so far are the context.</param>
    /// <param name="prompt">At least one token.</param>
    /// <param name="maxNewTokens">Most tokens to choose.</param>
    /// <param name="parameters">How.</param>
    /// <param name="endTokens">Ids that end the text; empty to ignore them.</param>
    /// <param name="receive">Called with each chosen id; false stops.</param>
    /// <exception cref="InvalidDataException">The model computes no numbers: its weights are damaged.</exception>
    public static StopReason Generate(GenerationSession session, ReadOnlySpan<int> prompt, int maxNewTokens, SamplingParameters parameters,
        ReadOnlySpan<int> endTokens, Func<int, bool> receive)
    {
        parameters.Validate();
        ArgumentOutOfRangeException.ThrowIfNegative(maxNewTokens);
        session.Append(prompt);
        var sampler = new Sampler(session.Logits.Length);
        Span<int> one = stackalloc int[1];
        for (int n = 0; n < maxNewTokens; n++)
        {
            Serving.TokenPicker.RequireNumbers(session.Logits, session.Length);
            int token = sampler.Choose(session.Logits, parameters, (ulong)session.Length);
            if (!receive(token)) return StopReason.Stopped;
            if (endTokens.Contains(token)) return StopReason.EndToken;
            if (n + 1 == maxNewTokens || session.Length == session.Capacity) break;
            one[0] = token;
            session.Append(one);
        }

        return StopReason.Length;
    }
}

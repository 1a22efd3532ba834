using Hadal.Text;

namespace Hadal.Training.Supervised;

/// <summary>
/// A conversation as tokens, as the server sends it to the model: the plain mode in DeepSeek-V3's template, the thinking mode in R1's, whose answers begin inside
/// <c>&lt;think&gt;</c>. Only the tokens of the last answer, trace and end of sentence included, are learned.
/// </summary>
/// <param name="Tokens">Prompt and answer.</param>
/// <param name="AnswerStart">Place of the first token of the answer.</param>
public sealed record ChatSample(int[] Tokens, int AnswerStart)
{
    /// <summary>The tokens before the answer.</summary>
    /// <param name="tokenizer">The model's.</param>
    /// <param name="turns">Questions; all but the last come with their answers, of which a thinking model too sees the result alone.</param>
    /// <param name="thinks">The mode.</param>
    public static List<int> Prompt(Tokenizer tokenizer, IReadOnlyList<TaskProblem> turns, bool thinks)
    {
        ArgumentNullException.ThrowIfNull(turns);
        var messages = new List<ChatMessage>(2 * turns.Count);
        for (int i = 0; i < turns.Count; i++)
        {
            messages.Add(new ChatMessage(ChatRole.User, turns[i].Question));
            if (i + 1 < turns.Count) messages.Add(new ChatMessage(ChatRole.Assistant, turns[i].Answer));
        }

        return (thinks ? ChatTemplate.R1 : ChatTemplate.V3).Encode(tokenizer, messages, addGenerationPrompt: true);
    }

    /// <summary>A sample: the prompt, and the right answer to the last question.</summary>
    /// <inheritdoc cref="Prompt" path="/param"/>
    public static ChatSample Create(Tokenizer tokenizer, IReadOnlyList<TaskProblem> turns, bool thinks)
    {
        List<int> tokens = Prompt(tokenizer, turns, thinks);
        int start = tokens.Count;
        if (thinks)
        {
            tokenizer.Encode(turns[^1].Trace + "\n", tokens);
            tokens.Add(tokenizer.RequireId(SpecialTokens.ThinkEnd));
            tokenizer.Encode("\n\n", tokens);
        }

        tokenizer.Encode(turns[^1].Answer, tokens);
        tokens.Add(tokenizer.RequireId(SpecialTokens.EndOfSentence));
        return new ChatSample([.. tokens], start);
    }

    /// <summary>What a model said, without its chain of thought; null when a thinking model never ended it.</summary>
    internal static string? AnswerOf(Tokenizer tokenizer, ReadOnlySpan<int> said, bool thinks)
    {
        if (thinks)
        {
            int end = said.IndexOf(tokenizer.RequireId(SpecialTokens.ThinkEnd));
            if (end < 0) return null;
            said = said[(end + 1)..];
        }

        return tokenizer.Decode(said, skipSpecial: true);
    }
}

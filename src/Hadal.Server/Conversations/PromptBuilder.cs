using Hadal.Inference.Serving;
using Hadal.Text;

namespace Hadal.Server.Conversations;

/// <summary>What is sent to a model.</summary>
/// <param name="Tokens">The prompt.</param>
/// <param name="MaxNewTokens">Room for the answer.</param>
/// <param name="IsTrimmed">Whether older messages were left out.</param>
sealed record ChatPrompt(int[] Tokens, int MaxNewTokens, bool IsTrimmed);

/// <summary>
/// Renders a branch of a conversation as the models were trained to read it: no system text, questions and answers alone (a chain of thought is never sent again),
/// the template of the mode chosen for the new answer.
/// </summary>
static class PromptBuilder
{
    const int LongestAnswer = 8192;
    const int LongestThoughtAndAnswer = 32_768;

    /// <summary>Builds the prompt; older turns are left out when the model cannot read them all.</summary>
    /// <returns>Null when the last question alone is too long; <paramref name="needed"/> then says how long it is.</returns>
    public static ChatPrompt? Build(ServedModel model, IReadOnlyList<Message> branch, bool deepThink, out int needed)
    {
        ChatTemplate template = deepThink ? ChatTemplate.R1 : ChatTemplate.V3;
        var turns = new List<ChatMessage>();
        foreach (Message message in branch)
        {
            if (message.Role == MessageRole.Assistant && message.Text.Length == 0) continue; // stopped before its first word
            turns.Add(new ChatMessage(message.Role == MessageRole.User ? ChatRole.User : ChatRole.Assistant, message.Text));
        }

        int longest = Math.Min(deepThink ? LongestThoughtAndAnswer : LongestAnswer, model.MaxPositions);
        int room = Math.Max(1, Math.Min(longest, model.MaxPositions / 4));
        bool trimmed = false;
        while (true)
        {
            List<int> tokens = template.Encode(model.Tokenizer, turns, addGenerationPrompt: true);
            needed = tokens.Count;
            if (tokens.Count + room <= model.MaxPositions) return new ChatPrompt([.. tokens], Math.Min(longest, model.MaxPositions - tokens.Count), trimmed);
            int next = turns.FindIndex(1, turn => turn.Role == ChatRole.User);
            if (turns.Count > 1 && next > 0)
            {
                turns.RemoveRange(0, next);
                trimmed = true;
                continue;
            }

            // The last question alone: it may use the room of the answer, down to one token of it.
            if (tokens.Count < model.MaxPositions) return new ChatPrompt([.. tokens], Math.Min(longest, model.MaxPositions - tokens.Count), trimmed);
            return null;
        }
    }
}

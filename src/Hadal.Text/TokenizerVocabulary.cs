namespace Hadal.Text;

/// <summary>A tokenizer as other programs' formats want it: spelled-out tokens and merges.</summary>
/// <param name="Tokens">By id, in the printable spelling of byte-level tokenizers; added tokens as they are; null where no token has the id.</param>
/// <param name="Merges">Pairs in order of rank: two tokens with a space between them.</param>
/// <param name="IsDeepSeek">Whether text is split as DeepSeek-V3's tokenizer splits it.</param>
public sealed record TokenizerVocabulary(IReadOnlyList<string?> Tokens, IReadOnlyList<string> Merges, bool IsDeepSeek)
{
    internal static TokenizerVocabulary Of(TokenizerDefinition definition)
    {
        var tokens = new string?[definition.Size];
        definition.Vocabulary.CopyTo(tokens, 0);
        foreach (AddedToken token in definition.Added) tokens[token.Id] = token.Content;
        (int[] left, int[] right, int[] _) = definition.Merges;
        string[] merges = [.. left.Select((id, rank) => $"{definition.Vocabulary[id]} {definition.Vocabulary[right[rank]]}")];
        bool deepSeek = definition.PreTokenizer.Splits.Select(split => split.Source).SequenceEqual(PreTokenizer.DeepSeek.Splits.Select(split => split.Source), StringComparer.Ordinal);
        return new TokenizerVocabulary(tokens, merges, deepSeek);
    }
}
